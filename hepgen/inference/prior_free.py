r"""A likelihood with its constraints taken out, for a posterior that brings them as priors.

The prior of a constrained nuisance parameter is its constraint, so that of

.. math:: p(\theta | x, a) \propto L(\theta; x, a) \prod_{\text{bounded}} p(\theta_k)

the posterior wants L(θ; x, a)/∏ p(θ_j): with auxiliary measurements at their nominal values that is
L without constraints, and with others, as in a pseudo-data set, what a_j says beyond the prior.
Posteriors take a :class:`hepgen.inference.likelihood.Likelihood` this way by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.parameters import Normal, ParameterSet


class PriorFree:
    """What :class:`hepgen.inference.likelihood_posterior.LikelihoodPosterior` asks for.

    Data of one channel go to the posterior as events; any others, as the likelihood keeps them, to
    ``draw_sets`` of the posterior and to ``grid_marginals``.

    Arguments:
        likelihood: With constraints.

    >>> from hepgen import Normal, Parameter
    >>> from hepgen.inference.channel import Channel, Sample
    >>> from hepgen.inference.density import ClosedForm
    >>> from hepgen.inference.event_likelihood import EventLikelihood
    >>> from hepgen.inference.likelihood_posterior import LikelihoodPosterior
    >>> nu = ParameterSet([Parameter("nu", 0.0, prior=Normal(0.0, 1.0))])
    >>> flat = ClosedForm(ParameterSet([]), ("x",), lambda x, _: 0 * x[..., 0])
    >>> model = EventLikelihood(nu, [Channel("all", (Sample("flat", flat),))])
    >>> posterior = LikelihoodPosterior(model)  # the same as of PriorFree(model)
    >>> draws = posterior.sample((4000,), torch.rand(10, 1), seed=1)
    >>> abs(draws.std().item() - 1) < 0.05  # the constraint, once
    True
    """

    def __init__(self, likelihood: Likelihood) -> None:
        self.likelihood = likelihood
        self.parameters: ParameterSet = likelihood.parameters

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> DataSets:
        """Data sets of events alone, where the likelihood takes them."""
        encode = getattr(self.likelihood, "encode", None)
        if encode is None:
            raise DataError(
                f"{type(self.likelihood).__name__} takes no plain events; give its own data sets, "
                "to LikelihoodPosterior.draw_sets"
            )
        sets: DataSets = encode(x, weight)
        return sets

    def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:
        """log L − Σ_j log p(θ_j) over constrained parameters, shape ``(S, K)``."""
        total = self.likelihood.log_likelihoods(sets, theta)
        for prior, column in zip(self.parameters.priors, theta.double().unbind(-1), strict=True):
            if isinstance(prior, Normal):
                total = total - prior.log_prob(column)
        return torch.as_tensor(total)


def prior_free(likelihood: SetLikelihood | Likelihood) -> SetLikelihood:
    """What a posterior may multiply with its prior: one with constraints, as :class:`PriorFree`."""
    return PriorFree(likelihood) if isinstance(likelihood, Likelihood) else likelihood
