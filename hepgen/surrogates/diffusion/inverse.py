r"""A diffusion as the prior of an inverse problem: y = A x + noise, noise ~ N(0, R).

Of the noise of y, a part that is alike in all directions of x can be split off,

.. math:: y = A z + \epsilon', \quad z = x + \rho\,\epsilon, \qquad
          \epsilon \sim N(0, 1), \quad \epsilon' \sim N(0, R - \rho^2 A A^\mathsf{T}),

and z is then a latent variable of the very same model. A Gibbs sampler of (x, z) has two steps,
and both are known:

* z given x and y is normal, of mean :math:`x + \rho^2 A^\mathsf{T} R^{-1} (y - A x)`, a step up
  the gradient of ln p(y | x), and covariance :math:`\rho^2 (1 - \rho^2 A^\mathsf{T} R^{-1} A)`;
* x given z is what a diffusion does: z is x with noise of width ρ, and the reverse process from
  the level γ = 2 ln ρ takes it away.

Its stationary law is p(x | y), exactly, as long as ρ²λ ≤ 1 for every eigenvalue λ of AᵀR⁻¹A. A
larger ρ inflates the noise in the directions that are known better, to ρ²; so a falling ρ anneals
from the prior to the posterior. Split Gibbs samplers (Vono, Dobigeon and Chainais,
arXiv:1804.05809; with a diffusion: Xu and Chi, arXiv:2403.17042, Wu et al., arXiv:2405.18782)
*add* the noise ρ to that of y, so that they are right for ρ → 0 only; the gradient of diffusion
posterior sampling (Chung et al., arXiv:2209.14687) has no such limit.

What remains is the number of sweeps, the step of the reverse process, and what the score has
learned wrong. For x ~ N(0, 1) a sweep multiplies a deviation by (1 − ρ²λ)/(1 + ρ²): where y knows
some directions much better than others, ρ is small, and the others hardly leave in one sweep where
the annealing brought them. Noise below 2 exp(γ₀/2), the diffusion's finest level, is taken as that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import DataError, SurrogateError
from hepgen.surrogates.diffusion.log_snr import LogSNR
from hepgen.surrogates.diffusion.model import Diffusion
from hepgen.surrogates.diffusion.prediction import Velocity
from hepgen.surrogates.diffusion.process import fixed
from hepgen.surrogates.diffusion.samplers import ancestral
from hepgen.surrogates.surrogate import Surrogate

_WIDEST = 30.0
"""ρ at the start, in widths of the prior."""


@dataclass(frozen=True)
class LinearMeasurement:
    """y = A x + noise of independent normal numbers.

    Arguments:
        operator: A, shape ``(m, d)``.
        observed: y, shape ``(m,)``.
        variance: Of the noise of each, shape ``(m,)``.
    """

    operator: Tensor
    observed: Tensor
    variance: Tensor

    def __post_init__(self) -> None:
        m = len(self.observed)
        if self.operator.shape[:1] != (m,) or self.variance.shape != (m,):
            raise DataError(
                f"an operator of shape {tuple(self.operator.shape)} and variances of shape "
                f"{tuple(self.variance.shape)} for {m} observed numbers; expected ({m}, d), ({m},)"
            )
        finite = all(bool(v.isfinite().all()) for v in (self.operator, self.observed))
        if not finite or not bool((self.variance.isfinite() & (self.variance > 0)).all()):
            raise DataError("a measurement that is not finite, or without noise: give its variance")

    def of(self, offset: Tensor, matrix: Tensor) -> LinearMeasurement:
        """The same of u, where x = offset + matrix u."""
        rest = self.observed - self.operator @ offset
        return LinearMeasurement(self.operator @ matrix, rest, self.variance)

    @property
    def gradient(self) -> tuple[Tensor, Tensor, Tensor]:
        """Eigenvectors V ``(d, d)`` and eigenvalues λ ``(d,)`` of AᵀR⁻¹A, and VᵀAᵀR⁻¹y ``(d,)``.

        So that Vᵀ∇ ln p(y | x) = VᵀAᵀR⁻¹y − λ Vᵀx.
        """
        scaled = self.operator / self.variance.sqrt()[:, None]
        values, vectors = torch.linalg.eigh(scaled.T @ scaled)
        pull = vectors.T @ (scaled.T @ (self.observed / self.variance.sqrt()))
        return vectors, values.clamp(min=0), pull


def sample_posterior(
    velocity: Velocity,
    measurement: LinearMeasurement,
    n: int,
    *,
    sweeps: int = 50,
    annealing: int = 20,
    steps: int = 8,
    low: float = -12.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """n draws of p(x | y), shape ``(n, d)``, each the end of a chain of its own.

    Arguments:
        velocity: Of the prior, see :mod:`hepgen.surrogates.diffusion.prediction`; x has mean 0 and
            covariance 1 about.
        measurement: Of x.
        n: How many.
        sweeps: At the ρ at which the law is exact.
        annealing: Before them, with ρ falling.
        steps: Of the reverse process in each.
        low: γ at which noise is none.
        generator: Of all random numbers.
    """
    if min(n, sweeps, steps) < 1 or annealing < 0:
        raise DataError(
            f"n = {n}, sweeps = {sweeps}, steps = {steps}, annealing = {annealing}: expected "
            "positive numbers"
        )
    vectors, values, pull = measurement.gradient
    x = torch.zeros(n, len(values), dtype=values.dtype)
    for rho in _widths(float(values.max()), low, annealing, sweeps):
        step = torch.clamp(1 / values.clamp(min=1e-30), max=rho**2)
        width = rho * (1 - rho**2 * values).clamp(min=0).sqrt()
        fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        z = x + (step * (pull - values * (x @ vectors)) + width * fresh) @ vectors.T
        x = denoise(velocity, z, rho, steps, low, generator)
    return x


def denoise(
    velocity: Velocity,
    z: Tensor,
    rho: float,
    steps: int,
    low: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A draw of p(x | z) for each z = x + ρ ε, shape ``(n, d)``.

    By ancestral steps with the variance β, which for x ~ N(0, 1) are exact, however long, and for
    any other law become so as they shorten.
    """
    levels = LogSNR("edm", low, 2 * math.log(rho)).nodes(steps + 1, z)
    noise = torch.randn(len(z), len(levels), z.shape[-1], generator=generator, dtype=z.dtype)
    noise[:, 0] = z / math.sqrt(1 + rho**2)
    return ancestral(velocity, noise, levels, fixed("beta"))


@torch.no_grad()
def restore(
    prior: Surrogate,
    measurement: LinearMeasurement,
    n: int,
    *,
    context: Tensor | None = None,
    seed: int = 0,
    sweeps: int = 50,
    annealing: int = 20,
    steps: int = 8,
) -> Tensor:
    """n draws of x given y, in physical variables, shape ``(n, d)``, float64.

    Arguments:
        prior: p(x) or p(x | c), a diffusion of features without bounds.
        measurement: Of x, in the units of its features.
        n: How many.
        context: c, shape ``(C,)``.
        seed: Of the draws.
        sweeps, annealing, steps: See :func:`sample_posterior`.

    Raises:
        SurrogateError: The prior is of another family, or its features have bounds.
    """
    model = prior.model
    if not isinstance(model, Diffusion):
        raise SurrogateError(
            f"{prior} as the prior of a measurement: expected one of method 'diffusion'"
        )
    offset, matrix = _affine(prior, model)
    if measurement.operator.shape[-1] != len(offset):
        raise DataError(
            f"an operator of shape {tuple(measurement.operator.shape)} on {len(offset)} features"
        )
    c = torch.zeros(0) if context is None else context
    rows = prior._standardised(c.double().expand(n, -1))
    inner = model.velocity(rows)

    def velocity(x: Tensor, gamma: Tensor) -> Tensor:
        return inner(x.to(rows), gamma.to(rows)).to(x)

    x = sample_posterior(
        velocity, measurement.of(offset, matrix), n, sweeps=sweeps, annealing=annealing,
        steps=steps, low=float(model.schedule.low),
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    return offset + x @ matrix.T


def _widths(most: float, low: float, annealing: int, sweeps: int) -> Iterator[float]:
    """ρ of each sweep, falling to the largest that is exact, 1/√λ."""
    least = math.exp(0.5 * low)
    last = min(max(1 / math.sqrt(most) if most > 0 else _WIDEST, 2 * least), _WIDEST)
    for i in range(annealing):
        yield _WIDEST * (last / _WIDEST) ** (i / annealing)
    for _ in range(sweeps):
        yield last


def _affine(prior: Surrogate, model: Diffusion) -> tuple[Tensor, Tensor]:
    """x = offset + matrix u, from the network's variables to physical ones."""
    d = len(prior.features)
    if any(math.isfinite(f.low) or math.isfinite(f.high) for f in prior.features.features):
        raise SurrogateError(
            f"{prior} has features with bounds: a measurement that is linear in them is not linear "
            "in the prior's variables; learn them without bounds"
        )
    to_physical: Callable[[Tensor], Tensor] = lambda u: prior.features.inverse(  # noqa: E731
        model.whitening.inverse(u).double()
    )
    offset = to_physical(torch.zeros(1, d))[0]
    return offset, (to_physical(torch.eye(d)) - offset).T
