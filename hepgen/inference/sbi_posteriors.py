"""The estimators of the package sbi, as hepgen's posteriors.

Flow matching (FMPE, Wildberger et al., arXiv:2305.17161) and diffusion (NPSE, Sharrock et al.,
arXiv:2210.04872) of one vector, with sbi's defaults; over event sets they are densities of
:class:`hepgen.inference.npe.NPE`. They are trained in the unbounded u(θ), where the prior is a
standard Gaussian and nothing has to be rejected at an edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError, nearest
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.inference.nle import check_theta
from hepgen.inference.posterior import Posterior, PosteriorSample
from hepgen.inference.unbounded import UnboundedPrior
from hepgen.inference.vector_nle import plain_or_discrete
from hepgen.parameters import ParameterSet

METHODS = ("fmpe", "npse", "npe")


class SbiPosterior(Posterior):
    """p(θ | x) of one vector by an estimator of sbi; made by :meth:`fit`.

    Arguments:
        posterior: sbi's, of u given the standardised x.
        method: One of :data:`METHODS`.
        features, parameters: The columns of x and of θ.
    """

    def __init__(
        self, posterior: Any, method: str, features: FeatureSpace, parameters: ParameterSet
    ) -> None:
        super().__init__(parameters)
        self.posterior, self.method, self.features = posterior, method, features
        self._unbounded = UnboundedPrior(parameters)

    @classmethod
    def fit(
        cls,
        x: Tensor,
        theta: Tensor,
        *,
        features: Sequence[Feature],
        parameters: ParameterSet,
        method: str = "fmpe",
        seed: int = 0,
        **training: Any,
    ) -> SbiPosterior:
        """Learn p(θ | x) from simulated vectors, shape ``(N, d)``, at θ ~ p(θ), ``(N, D)``.

        Arguments:
            x, theta: The simulations.
            features, parameters: Their columns.
            method: ``fmpe``, ``npse`` or ``npe``.
            seed: Of torch's global generator, which is left as it was.
            training: Settings of sbi's ``train``.

        Raises:
            ParameterError: No such method, or a θ outside its prior.
        """
        if method not in METHODS:
            raise ParameterError(f"no method {method!r}; {nearest(method, METHODS)}")
        from sbi.inference import FMPE, NPE, NPSE  # takes seconds to import

        check_theta(theta, parameters, len(x))
        space = FeatureSpace.from_sample(plain_or_discrete(features), x)
        u = UnboundedPrior(parameters).unbounded(theta).float()
        prior = torch.distributions.MultivariateNormal(
            torch.zeros(u.shape[-1]), torch.eye(u.shape[-1])
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            trainer = {"fmpe": FMPE, "npse": NPSE, "npe": NPE}[method](
                prior=prior, show_progress_bars=False
            )
            trainer.append_simulations(u, space.forward(x).float())
            trainer.train(**training)
            posterior = trainer.build_posterior()
        return cls(posterior, method, space, parameters)

    def draw_batched(
        self,
        n: int,
        x: Sequence[Tensor],
        *,
        weight: Sequence[Tensor | None] | None = None,
        seed: int = 0,
    ) -> list[PosteriorSample]:
        """n independent draws for each vector; see :meth:`Posterior.draw_batched`."""
        samples, names = [], self.parameters.free_names
        for i, (one, w) in enumerate(zip(x, weight or [None] * len(x), strict=True)):
            observed = self._observed(one, w)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed + i)
                u = self.posterior.sample((n,), x=observed, show_progress_bars=False)
            theta = self._unbounded.physical(u.reshape(n, -1))
            samples.append(PosteriorSample(theta, names, self.method, (float(n),) * len(names)))
        return samples

    def log_prob(
        self, theta: Tensor, x: Tensor | None = None, *, weight: Tensor | None = None
    ) -> Tensor:
        """log p(θ | x), shape ``(K,)``; of FMPE and NPSE by an ODE."""
        observed = self._observed(self.data(x), weight)
        theta = theta.double().reshape(-1, len(self._unbounded))
        inside = torch.isfinite(self.prior.log_prob(theta))
        u = self._unbounded.unbounded(torch.where(inside[:, None], theta, self.prior.mean))
        value = self.posterior.log_prob(u.float(), x=observed).detach().double()
        return torch.where(inside, value - self._unbounded.log_jacobian(u), -torch.inf)

    def _observed(self, x: Tensor, weight: Tensor | None) -> Tensor:
        if len(x) != 1 or weight is not None:
            raise DataError(f"a data set of {len(x)} vectors; expected one without a weight")
        self.features.check(x)
        return self.features.forward(x).float()
