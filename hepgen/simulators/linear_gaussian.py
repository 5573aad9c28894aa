r"""A chain of linear maps with Gaussian noise: everything about it is known in closed form.

.. math:: z_1 = A\theta + b_1 + \sigma_1 \epsilon_1, \quad
          z_k = W_k z_{k-1} + b_k + \sigma_k \epsilon_k, \quad
          x = W z_L + b + s\,\sigma\,\epsilon

with independent standard normal ε and a nuisance s. All of v = (z₁, …, z_L, x) obeys
v = Bv + c + ε with B below the diagonal, hence is Gaussian with mean (1 − B)⁻¹c and the precision
matrix (1 − B)ᵀ S⁻¹ (1 − B), S the covariance of the noise. What follows is Gaussian conditioning
(Bishop, Pattern Recognition and Machine Learning (2006), section 2.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from hepgen.errors import DataError


class LinearGaussian:
    r"""The closed forms of one chain. θ has shape ``(*, P)``, x ``(*, D)``, z ``(*, Z)``.

    z is (z₁, …, z_L) in a row, Z numbers in all. θ and x broadcast; s is a number.

    Arguments:
        matrices: A, W₂, …, W_L, W: the first reads θ, each further one what it follows.
        offsets: b of each link, shape ``(rows of its matrix,)``.
        sigmas: σ of each link.

    Raises:
        DataError: The links do not fit together.

    >>> model = LinearGaussian.standard(depth=3, dimension=2)
    >>> model.depth, model.latents, model.marginal(torch.zeros(2)).event_shape
    (3, 6, torch.Size([2]))
    """

    def __init__(
        self, matrices: Sequence[Tensor], offsets: Sequence[Tensor], sigmas: Sequence[float]
    ) -> None:
        _check(matrices, offsets, sigmas)
        self.matrices = tuple(matrix.double() for matrix in matrices)
        self.offsets = tuple(offset.double() for offset in offsets)
        self.sigmas = tuple(map(float, sigmas))
        self._lower = torch.eye(self.latents + self.dimension, dtype=torch.float64)
        row = column = 0
        for before, matrix in zip(self.matrices, self.matrices[1:], strict=False):
            row, start, column = row + len(before), column, column + len(before)
            self._lower[row : row + len(matrix), start:column] = -matrix

    @classmethod
    def standard(
        cls, depth: int, dimension: int, parameters: int = 2, noise: float = 0.5
    ) -> LinearGaussian:
        r"""L = ``depth`` latents of ``dimension`` D each, unit noise but for the last link's.

        Every matrix is a scaled cosine transform, so that each number depends on all before it
        and no matrix has a condition number above 1.6:

        .. math:: (W_k)_{ij} = 1.25^{\cos(k + i)} \sqrt{\frac{2 - \delta_{i0}}{D}}
                  \cos\frac{\pi i (2j + 1)}{2D}, \qquad (b_k)_i = 0.2 \sin(k + i)

        A is the first P columns of such a matrix.
        """
        i = torch.arange(dimension, dtype=torch.float64)
        cosine = torch.cos(math.pi * i[:, None] * (2 * i + 1) / (2 * dimension))
        cosine *= ((1 + (i > 0).double()) / dimension).sqrt()[:, None]
        matrices = [1.25 ** torch.cos(k + i)[:, None] * cosine for k in range(depth + 1)]
        matrices[0] = matrices[0][:, :parameters]
        offsets = [0.2 * torch.sin(k + i) for k in range(depth + 1)]
        return cls(matrices, offsets, [1.0] * depth + [noise])

    @property
    def depth(self) -> int:
        """L, the number of latents."""
        return len(self.matrices) - 1

    @property
    def parameters(self) -> int:
        """P, the length of θ."""
        return self.matrices[0].shape[1]

    @property
    def dimension(self) -> int:
        """D, the length of x."""
        return len(self.matrices[-1])

    @property
    def latents(self) -> int:
        """Z, the length of all latents in a row."""
        return sum(map(len, self.matrices[:-1]))

    def joint(self, theta: Tensor, noise_scale: float = 1.0) -> MultivariateNormal:
        """p(z, x | θ), event shape ``(Z + D,)``."""
        mean = self._mean(theta)
        return _normal(mean, torch.linalg.inv(self._precision(noise_scale)))

    def marginal(self, theta: Tensor, noise_scale: float = 1.0) -> MultivariateNormal:
        """p(x | θ), event shape ``(D,)``."""
        return _normal(self._mean(theta)[..., self.latents :], self._covariance(noise_scale))

    def log_prob(self, x: Tensor, theta: Tensor, noise_scale: float = 1.0) -> Tensor:
        """log p(x | θ), shape ``(*,)``."""
        density: Tensor = self.marginal(theta, noise_scale).log_prob(x)  # type: ignore[no-untyped-call]
        return density

    def score(self, x: Tensor, theta: Tensor, noise_scale: float = 1.0) -> Tensor:
        r"""∇ log p(x | θ, s) with respect to θ and, last, s: shape ``(*, P + 1)``.

        With J = ∂E[x]/∂θ, Σ = Cov[x], r = x − E[x] and Σ' = ∂Σ/∂s it is :math:`J^T\Sigma^{-1}r`,
        and :math:`\frac12(r^T\Sigma^{-1}\Sigma'\Sigma^{-1}r - \mathrm{tr}\,\Sigma^{-1}\Sigma')`.
        """
        inverse = torch.linalg.inv(self._covariance(noise_scale))
        pull = (x - self._mean(theta)[..., self.latents :]) @ inverse
        slope = 2 * noise_scale * self.sigmas[-1] ** 2
        noise = 0.5 * slope * (pull.square().sum(-1, keepdim=True) - inverse.trace())
        return torch.cat([pull @ self._slope()[self.latents :], noise], dim=-1)

    def latent_posterior(
        self, x: Tensor, theta: Tensor, noise_scale: float = 1.0
    ) -> MultivariateNormal:
        """p(z | x, θ), event shape ``(Z,)``."""
        precision, mean = self._precision(noise_scale), self._mean(theta)
        inner, cross = (
            precision[: self.latents, : self.latents], precision[: self.latents, self.latents :],
        )  # fmt: skip
        shift = torch.linalg.solve(inner, cross) @ (x - mean[..., self.latents :])[..., None]
        return _normal(mean[..., : self.latents] - shift[..., 0], torch.linalg.inv(inner))

    def posterior(
        self, x: Tensor, mean: Tensor, covariance: Tensor, noise_scale: float = 1.0
    ) -> MultivariateNormal:
        """p(θ | x₁ … x_n) for events x of shape ``(n, D)`` and a Gaussian prior of θ.

        Arguments:
            x: The events.
            mean, covariance: Of the prior, shape ``(P,)`` and ``(P, P)``.
            noise_scale: s, known.
        """
        zero = torch.zeros(self.parameters, dtype=torch.float64)
        prior = torch.linalg.inv(covariance)
        information = self.information(noise_scale)[:-1, :-1]
        # The score at zero is that of all that θ does not explain.
        pull = self.score(x, zero, noise_scale)[:, :-1].sum(0)
        precision = prior + len(x) * information
        return _normal(
            torch.linalg.solve(precision, prior @ mean + pull), torch.linalg.inv(precision)
        )

    def elbo(
        self, proposal: MultivariateNormal, x: Tensor, theta: Tensor, noise_scale: float = 1.0
    ) -> Tensor:
        r"""The evidence lower bound of a Gaussian q(z) with mean m and covariance C, ``(*,)``.

        .. math:: E_q[\log p(x, z | \theta) - \log q(z)] = \log p(x, m | \theta)
                  - \tfrac12 \mathrm{tr}(\Lambda_{zz} C) + \tfrac12 \log\det(2\pi e C)

        with Λ the precision matrix of (z, x). It is log p(x | θ) − KL(q ‖ p(z | x, θ)).
        """
        mean = proposal.mean
        shape = torch.broadcast_shapes(mean.shape[:-1], x.shape[:-1], theta.shape[:-1])  # type: ignore[no-untyped-call]
        point = torch.cat([mean.expand(*shape, -1), x.expand(*shape, -1)], dim=-1)
        inner = self._precision(noise_scale)[: self.latents, : self.latents]
        spread = (inner * proposal.covariance_matrix).sum((-1, -2))
        top = self.joint(theta, noise_scale).log_prob(point)  # type: ignore[no-untyped-call]
        bound: Tensor = top - 0.5 * spread + proposal.entropy()  # type: ignore[no-untyped-call]
        return bound

    def information(self, noise_scale: float = 1.0, joint: bool = False) -> Tensor:
        r"""The Fisher information of one event on (θ, s), shape ``(P + 1, P + 1)``.

        Of x alone it is :math:`J^T\Sigma^{-1}J` for θ and
        :math:`\frac12\mathrm{tr}(\Sigma^{-1}\Sigma'\Sigma^{-1}\Sigma')` for s; of x and all
        latents (``joint``) it is :math:`A^TA/\sigma_1^2` and :math:`2D/s^2`.
        """
        out = torch.zeros(self.parameters + 1, self.parameters + 1, dtype=torch.float64)
        if joint:
            out[:-1, :-1] = self.matrices[0].T @ self.matrices[0] / self.sigmas[0] ** 2
            out[-1, -1] = 2 * self.dimension / noise_scale**2
            return out
        inverse, slope = torch.linalg.inv(self._covariance(noise_scale)), self._slope()
        observed = slope[self.latents :]
        out[:-1, :-1] = observed.T @ inverse @ observed
        out[-1, -1] = 2 * noise_scale**2 * self.sigmas[-1] ** 4 * inverse.square().sum()
        return out

    def _slope(self) -> Tensor:
        """∂E[z, x]/∂θ, shape ``(Z + D, P)``."""
        first = self.matrices[0]
        source = torch.zeros(len(self._lower), self.parameters, dtype=torch.float64)
        source[: len(first)] = first
        slope: Tensor = torch.linalg.solve_triangular(self._lower, source, upper=False)
        return slope

    def _mean(self, theta: Tensor) -> Tensor:
        offset = torch.cat(self.offsets)[:, None]
        constant = torch.linalg.solve_triangular(self._lower, offset, upper=False)[:, 0]
        mean: Tensor = theta.double() @ self._slope().T + constant
        return mean

    def _precision(self, noise_scale: float) -> Tensor:
        scale = [*self.sigmas[:-1], noise_scale * self.sigmas[-1]]
        sigma = torch.cat(
            [s * torch.ones_like(b) for b, s in zip(self.offsets, scale, strict=True)]
        )
        scaled = self._lower / sigma[:, None]
        return scaled.T @ scaled

    def _covariance(self, noise_scale: float) -> Tensor:
        """Cov[x | θ], shape ``(D, D)``."""
        everything: Tensor = torch.linalg.inv(self._precision(noise_scale))
        return everything[self.latents :, self.latents :]


def _normal(mean: Tensor, covariance: Tensor) -> MultivariateNormal:
    factor = torch.linalg.cholesky(0.5 * (covariance + covariance.mT))
    return MultivariateNormal(mean, scale_tril=factor, validate_args=False)


def _check(matrices: Sequence[Tensor], offsets: Sequence[Tensor], sigmas: Sequence[float]) -> None:
    if len(matrices) < 2 or len({len(matrices), len(offsets), len(sigmas)}) != 1:
        raise DataError(
            f"{len(matrices)} matrices, {len(offsets)} offsets, {len(sigmas)} sigmas; expected as "
            "many of each, two at least: that of a latent, and that of x"
        )
    if not all(math.isfinite(s) and s > 0 for s in sigmas):
        raise DataError(f"sigmas {list(sigmas)}: expected positive numbers")
    for k, (matrix, offset) in enumerate(zip(matrices, offsets, strict=True)):
        columns = matrix.shape[-1] if k == 0 else len(matrices[k - 1])
        if matrix.shape != (len(matrix), columns) or offset.shape != (len(matrix),):
            raise DataError(
                f"link {k}: a matrix of shape {tuple(matrix.shape)} and an offset of shape "
                f"{tuple(offset.shape)}; expected ({len(matrix)}, {columns}) and ({len(matrix)},)"
            )
