r"""A learned likelihood, corrected at the best fit by what its score is there on average.

The score of the true density has the mean zero at the true parameters. That of a learned q has

.. math:: b(\theta) = E_{x \sim p(x|\theta)}[\nabla_\theta \log q(x|\theta)],

and N events pull the estimate off by A⁻¹b with A = −E[∇∇ log q], however many they are, while the
error falls as 1/√N. So b is measured with M fresh events, simulated at the best fit θ̂, and taken
off, which is one step of indirect inference (Gouriéroux, Monfort and Renault, J. Appl. Econometrics
8 (1993) S85). Around the corrected estimate θ̃ = θ̂ − A⁻¹b,

.. math:: \log L(\theta) = \sum_i w_i \log q(x_i|\theta) - N\,b \cdot (\theta - \thetâ)
          + \tfrac12 (\theta - \thetã)^T Q\,(\theta - \thetã),
          \qquad NA - Q = \left[(NA)^{-1} + A^{-1} \Sigma_b A^{-1}\right]^{-1},

so that the covariance of b, Σ_b, adds to that of the estimate. Where the chain knows the joint
score t(x, z|θ), its mean is exactly zero over the events that are generated, selected or not: as a
control variate it takes off Σ_b what the two have in common.

The correction is local. It is for data sets so large that the posterior is narrow beside the range
over which b changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.events import SCORE
from hepgen.inference.event_sets import EventSets, SetLikelihood
from hepgen.inference.laplace import derivatives
from hepgen.simulators.augment import no_score
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain

_LEAST = 20
_CURVED = 40


@dataclass(frozen=True)
class MeanScore:
    """What the score of a learned density is on average, over events simulated at one θ.

    Arguments:
        theta: Where, shape ``(D,)``.
        mean: b, per event, shape ``(D,)``.
        covariance: Σ_b, shape ``(D, D)``.
        information: A, per event, shape ``(D, D)``.
        events: M.
    """

    theta: Tensor
    mean: Tensor
    covariance: Tensor
    information: Tensor
    events: int

    @classmethod
    def measure(
        cls,
        likelihood: SetLikelihood,
        theta: Tensor,
        sets: Sequence[Tensor],
        control: Tensor | None = None,
    ) -> MeanScore:
        """Measure it with independent sets of events, whose scatter is the error.

        Arguments:
            likelihood: That is learned.
            theta: Where the events were simulated, shape ``(D,)``.
            sets: Each of shape ``(n, d)``, in physical variables.
            control: A statistic of each set, of known mean zero, shape ``(S, C)``: the sum of
                the joint score over all events that were generated for the set.

        Raises:
            DataError: Fewer sets than an error can be taken from.
        """
        columns = 0 if control is None else control.shape[1]
        if len(sets) < _LEAST + 5 * columns:
            raise DataError(
                f"{len(sets)} sets of simulated events; expected at least {_LEAST + 5 * columns}, "
                "from the scatter of which the error is taken"
            )
        theta = theta.double().detach()
        size = torch.tensor([float(len(one)) for one in sets], dtype=torch.float64)
        total = torch.cat([_scores(likelihood, one, theta) for one in sets])
        raw = total.sum(0) / size.sum()
        residual = total - raw * size[:, None]
        if control is not None:
            slope = torch.linalg.lstsq(control, residual).solution
            residual = residual - control @ slope
        mean = raw + residual.sum(0) / size.sum()
        residual = residual - residual.mean(0)
        freedom = len(sets) - 1 - columns
        covariance = residual.mT @ residual * len(sets) / freedom / size.sum() ** 2
        curvature = sum(_curvature(likelihood, one, theta) for one in sets[:_CURVED])
        return cls(
            theta, mean, covariance, curvature / size[:_CURVED].sum(), int(size.sum())
        )  # fmt: skip

    @classmethod
    def simulate(
        cls,
        likelihood: SetLikelihood,
        chain: Chain,
        columns: Sequence[str],
        theta: Tensor,
        events: int,
        *,
        sets: int = 200,
        seed: int = 0,
    ) -> MeanScore:
        """Measure it with ``events`` generated events, and the joint score where there is one.

        Arguments:
            likelihood: That is learned.
            chain: The simulator that it was learned from.
            columns: What its events hold.
            theta: Where, shape ``(D,)``: the best fit.
            events: To generate.
            sets: Among which they are divided.
            seed: Of the events; not that of those that were learned from.
        """
        parameters = likelihood.parameters
        values = parameters.values(theta.double())
        scores = [n for n in parameters.free_names if not no_score(chain, n, values[n])]
        campaign = Campaign(
            chain, parameters, events, seed, theta=theta.double().numpy()[None],
            points=-(-events // sets), block_size=-(-events // sets), columns=tuple(columns),
            keep_all=bool(scores), scores=scores,
        )  # fmt: skip
        found = list(_simulated(campaign, columns, scores))
        control = torch.stack([one for _, one in found]) if scores else None
        return cls.measure(likelihood, theta, [x for x, _ in found], control)

    @property
    def shift(self) -> Tensor:
        """A⁻¹b, by which the estimate is off, shape ``(D,)``."""
        return torch.linalg.solve(self.information, self.mean)

    @property
    def shift_error(self) -> Tensor:
        """The standard error of each component of the shift, shape ``(D,)``."""
        inverse = torch.linalg.inv(self.information)
        return (inverse @ self.covariance @ inverse.mT).diagonal().sqrt()


class ScoreCorrected:
    """A likelihood of event sets, corrected; it answers as the one that it corrects.

    Arguments:
        likelihood: That is learned.
        score: Of it, at the best fit.

    Raises:
        ParameterError: The score is of other parameters, or the likelihood has no maximum there.
    """

    def __init__(self, likelihood: SetLikelihood, score: MeanScore) -> None:
        free = likelihood.parameters.free_names
        if score.theta.shape != (len(free),):
            raise ParameterError(
                f"a score at θ of shape {tuple(score.theta.shape)}; expected a value for each of "
                f"{', '.join(free)}"
            )
        if not bool((torch.linalg.eigvalsh(score.information) > 0).all()):
            raise ParameterError(
                f"the learned likelihood is not curved downwards at {score.theta.tolist()}: "
                "measure its score at the best fit, and within its prior"
            )
        self.likelihood, self.score, self.parameters = likelihood, score, likelihood.parameters

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        """As that of the likelihood."""
        return self.likelihood.encode(x, weight)

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """log L of S data sets at K points each, shape ``(S, K)``, for θ ``(S, K, D)``."""
        score, n = self.score, sets.weight.sum(-1)
        away = theta.double() - score.theta
        linear = n[:, None] * (away @ score.mean)
        off = away + score.shift
        quadratic = torch.einsum("ski,sij,skj->sk", off, self._softening(n), off)
        return self.likelihood.log_likelihoods(sets, theta) - linear + 0.5 * quadratic

    def _softening(self, n: Tensor) -> Tensor:
        """Q of each data set, shape ``(S, D, D)``."""
        information = n[:, None, None] * self.score.information
        inverse = torch.linalg.inv(self.score.information)
        added = inverse @ self.score.covariance @ inverse.mT
        return information - torch.linalg.inv(torch.linalg.inv(information) + added)


def _scores(likelihood: SetLikelihood, x: Tensor, theta: Tensor) -> Tensor:
    """Σ ∇ log q over one set, shape ``(1, D)``."""
    at = theta[None, None].clone().requires_grad_(True)
    with torch.enable_grad():
        total = likelihood.log_likelihoods(likelihood.encode([x], [None]), at).sum()
    (gradient,) = torch.autograd.grad(total, at)
    return gradient[0]


def _curvature(likelihood: SetLikelihood, x: Tensor, theta: Tensor) -> Tensor:
    sets = likelihood.encode([x], [None])
    _, hessian = derivatives(lambda u: likelihood.log_likelihoods(sets, u), theta[None])
    return -hessian[0]


def _simulated(
    campaign: Campaign, columns: Sequence[str], scores: Sequence[str]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The selected events of each block, and the sum of the joint score over all of them."""
    for number in range(campaign.blocks):
        events = campaign.simulate(number).events
        total = torch.from_numpy(events.flat([SCORE + n for n in scores]).sum(axis=0))
        x = torch.from_numpy(events.flat(list(columns)))
        if scores:
            x = x[torch.from_numpy(events.flat(["selected"])[:, 0] > 0)]
        yield x, total
