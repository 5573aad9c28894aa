"""Neural posterior estimation from few simulations: p(θ | x) of a vector x, by an ensemble.

The density of the unbounded u(θ) given x, of :mod:`hepgen.nn.residual_mixture`, learned from
θ ~ p(θ) with no likelihood in between (Papamakarios and Murray, arXiv:1605.06376). It answers for
any x at once, with a density that is normalised, so that it is the proposal for
:mod:`hepgen.inference.refine`. :class:`hepgen.inference.npe.NPE` is the one for sets of events.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.inference.counts import counted, stabilised
from hepgen.inference.nle import check_theta
from hepgen.inference.posterior import Posterior, PosteriorSample
from hepgen.inference.residual_ensemble import CANDIDATES, Candidate, fit_members
from hepgen.inference.unbounded import UnboundedPrior
from hepgen.inference.vector_nle import plain_or_discrete
from hepgen.nn.residual_mixture import ResidualMixture
from hepgen.nn.rows import Table
from hepgen.nn.train import Progress
from hepgen.parameters import ParameterSet
from hepgen.results import TrainingCurve


class VectorNPE(Posterior):
    """p(θ | x) of one vector, a data set of shape ``(1, d)``; made by :meth:`fit`.

    Arguments:
        members: The trained densities of u.
        features, parameters: The columns of x and of θ.
        location, scale: What standardises x in the space of the features, with counts as in
            :mod:`hepgen.inference.counts`, shape ``(d,)`` each.
        curves: Of each training.
    """

    def __init__(
        self,
        members: Sequence[ResidualMixture],
        features: FeatureSpace,
        parameters: ParameterSet,
        *,
        location: Tensor,
        scale: Tensor,
        curves: tuple[TrainingCurve, ...],
    ) -> None:
        super().__init__(parameters)
        self.members, self.features, self.curves = tuple(members), features, curves
        self._location, self._scale = location, scale
        self._unbounded = UnboundedPrior(parameters)

    @classmethod
    def fit(
        cls,
        x: Tensor,
        theta: Tensor,
        *,
        features: Sequence[Feature],
        parameters: ParameterSet,
        members: int = 3,
        candidates: Sequence[Candidate] = CANDIDATES,
        validation_fraction: float = 0.1,
        batch_size: int = 256,
        epochs: int = 60,
        max_learning_rate: float = 6e-3,
        patience: int | None = 20,
        seed: int = 0,
        progress: Callable[[Progress], None] | None = None,
        device: str = "auto",
    ) -> VectorNPE:
        """Learn p(θ | x) from simulated vectors, shape ``(N, d)``, at θ ~ p(θ), ``(N, D)``.

        The arguments are those of :meth:`hepgen.inference.vector_nle.VectorNLE.fit`.

        Raises:
            DataError: Vectors that cannot be used.
            ParameterError: A θ outside its prior.
        """
        check_theta(theta, parameters, len(x))
        space = FeatureSpace.from_sample(plain_or_discrete(features), x)
        v = stabilised(space.forward(x), counted(space))
        location, scale = v.mean(0), v.std(0).clamp(min=1e-9)
        u = UnboundedPrior(parameters).unbounded(theta).float()
        context = _compressed(v, location, scale)
        trained = fit_members(
            Table(u, context), lambda density, batch: -density.log_prob(*batch), (u, context),
            candidates=candidates, members=members, seed=seed, device=device,
            validation_fraction=validation_fraction, batch_size=batch_size, epochs=epochs,
            max_learning_rate=max_learning_rate, patience=patience, progress=progress,
        )  # fmt: skip
        return cls(
            trained.members, space, parameters, location=location, scale=scale,
            curves=trained.curves,
        )  # fmt: skip

    @torch.no_grad()
    def draw_batched(
        self,
        n: int,
        x: Sequence[Tensor],
        *,
        weight: Sequence[Tensor | None] | None = None,
        seed: int = 0,
    ) -> list[PosteriorSample]:
        """n independent draws for each vector; see :meth:`Posterior.draw_batched`."""
        samples = []
        for i, (one, w) in enumerate(zip(x, weight or [None] * len(x), strict=True)):
            context = self._context(one, w)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed + i)
                numbers = torch.randint(len(self.members), (n,)).bincount(
                    minlength=len(self.members)
                )
                parts = [
                    member.sample(context.expand(int(number), -1))
                    for member, number in zip(self.members, numbers, strict=True)
                ]
                u = torch.cat(parts)[torch.randperm(n)]
            names = self.parameters.free_names
            theta = self._unbounded.physical(u)
            samples.append(PosteriorSample(theta, names, "npe", (float(n),) * len(names)))
        return samples

    @torch.no_grad()
    def log_prob(
        self, theta: Tensor, x: Tensor | None = None, *, weight: Tensor | None = None
    ) -> Tensor:
        """log p(θ | x), shape ``(K,)``; −∞ outside the prior."""
        context = self._context(self.data(x), weight)
        theta = theta.double().reshape(-1, len(self._unbounded))
        inside = torch.isfinite(self.prior.log_prob(theta))
        u = self._unbounded.unbounded(torch.where(inside[:, None], theta, self.prior.mean))
        members = [m.log_prob(u.float(), context.expand(len(u), -1)) for m in self.members]
        value = torch.stack(members).double().logsumexp(0) - math.log(len(members))
        return torch.where(inside, value - self._unbounded.log_jacobian(u), -torch.inf)

    def _context(self, x: Tensor, weight: Tensor | None) -> Tensor:
        if len(x) != 1 or weight is not None:
            raise DataError(
                f"a data set of {len(x)} vectors{' with weights' if weight is not None else ''}; "
                "expected one vector, shape (1, d). For sets of events train an NPE"
            )
        self.features.check(x)
        v = stabilised(self.features.forward(x), counted(self.features))
        return _compressed(v, self._location, self._scale)


def _compressed(v: Tensor, location: Tensor, scale: Tensor) -> Tensor:
    """Standardised, with tails as logarithms."""
    return (3 * torch.asinh((v - location) / scale / 3)).float()
