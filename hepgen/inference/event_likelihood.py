r"""The likelihood of event sets: channels, samples, rates and constraints in one object.

.. math:: L(\theta) = \prod_c \mathrm{Pois}\Big(N_c \Big| \lambda_c\Big)
          \prod_{i \in c} p_c(x_i | \theta)^{w_i} \prod_j \mathcal{N}(a_j | \theta_j, \sigma_j),
          \qquad \lambda_c = \sum_s \lambda_{cs}(\theta), \quad
          p_c(x | \theta) = \frac{1}{\lambda_c}\sum_s \lambda_{cs}(\theta)\, p_{cs}(x | \theta)

over channels c, and the samples s of a channel: signal, background, and with a negative rate an
interference. Only the sum over samples must be positive (Barlow, Nucl. Instrum. Meth. A 297 (1990)
496, for the extended likelihood; N_c = Σ w_i where events have weights).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log, pi

import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError, nearest
from hepgen.inference.channel import Channel
from hepgen.inference.chunked_sum import chunked_sum
from hepgen.inference.event_data import ChannelData, EventData, checked_weights, stacked
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.pseudo_data import asimov_data, toy_events
from hepgen.inference.sampler import generator_of
from hepgen.parameters import Normal, ParameterSet

_PAIRS = 2**15
"""How many (event, θ) pairs are evaluated at once: what fits a processor's cache."""
_MOST_POINTS = _PAIRS // 16


class EventLikelihood(Likelihood):
    """See the module.

    Arguments:
        parameters: Those of all channels. A :class:`hepgen.parameters.Normal` prior is a
            constraint, with its mean as the auxiliary measurement in the data.
        channels: With names of their own.

    Raises:
        ParameterError: Two channels of one name, or a density with a parameter that is not there.

    >>> from hepgen import Normal, Parameter, Uniform
    >>> from hepgen.inference.channel import Sample
    >>> from hepgen.inference.density import ClosedForm
    >>> from hepgen.inference.rate import Product
    >>> flat = ClosedForm(ParameterSet([]), ("x",), lambda x, _: 0 * x[..., 0])
    >>> slope = ClosedForm(ParameterSet([]), ("x",), lambda x, _: torch.log(2 * x[..., 0]))
    >>> scale = lambda v: torch.exp(0.1 * v["nu"])
    >>> model = EventLikelihood(
    ...     ParameterSet(
    ...         [
    ...             Parameter("mu", 1.0, prior=Uniform(0.0, 5.0)),
    ...             Parameter("nu", 0.0, prior=Normal(0.0, 1.0)),
    ...         ]
    ...     ),
    ...     [
    ...         Channel(
    ...             "all",
    ...             (
    ...                 Sample("signal", slope, Product(10.0, "mu")),
    ...                 Sample("background", flat, Product(50.0, scale)),
    ...             ),
    ...         )
    ...     ],
    ... )
    >>> data = model.data({"all": torch.rand(55, 1)})
    >>> model.log_likelihoods(data, torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])).shape
    torch.Size([1, 2])
    """

    def __init__(self, parameters: ParameterSet, channels: Sequence[Channel]) -> None:
        self.parameters = parameters
        self.channels = tuple(channels)
        names = [channel.name for channel in self.channels]
        if not names or len(set(names)) != len(names):
            raise ParameterError(
                f"channels {', '.join(names)}; expected one or more, all different"
            )
        for channel in self.channels:
            self._check_names(channel)
        priors = parameters.priors
        self._constrained = [j for j, p in enumerate(priors) if isinstance(p, Normal)]
        constraints = [p for p in priors if isinstance(p, Normal)]
        self._nominal = torch.tensor([p.mean for p in constraints], dtype=torch.float64)
        self._sigma = torch.tensor([p.std for p in constraints], dtype=torch.float64)

    @property
    def constrained(self) -> tuple[str, ...]:
        """The parameters that an auxiliary measurement constrains: the columns of those."""
        return tuple(self.parameters.free_names[j] for j in self._constrained)

    def constraints(self, sets: EventData) -> dict[str, tuple[float, float]]:
        """The centre and the width of the constraint of each parameter, in the first data set."""
        pairs = zip(sets.auxiliary[0].tolist(), self._sigma.tolist(), strict=True)
        return dict(zip(self.constrained, pairs, strict=True))

    def data(
        self,
        events: Mapping[str, Tensor],
        weight: Mapping[str, Tensor] | None = None,
        auxiliary: Mapping[str, float] | None = None,
    ) -> EventData:
        """One data set.

        Arguments:
            events: Of each channel, shape ``(N, d)``.
            weight: Of the events of a channel, shape ``(N,)``; ones where it is not named.
            auxiliary: Measurements of constrained parameters; the others are at their nominal.

        Raises:
            DataError: A channel is missing or unknown, or events cannot be used.
            ParameterError: A measurement of a parameter that has no constraint.
        """
        channels = {}
        names = [channel.name for channel in self.channels]
        odd = sorted(set(names) ^ set(events))
        if odd:
            raise DataError(f"data of {', '.join(events)}; expected {', '.join(names)}")
        for channel in self.channels:
            x = events[channel.name]
            w = checked_weights((weight or {}).get(channel.name), x, channel.name)
            channels[channel.name] = channel.prepare(x[None], w[None])
        return EventData(channels, self._measured(auxiliary or {})[None])

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventData:
        """S data sets of the only channel, each of shape ``(N, d)``, auxiliaries at nominal."""
        if len(self.channels) != 1:
            raise DataError(
                f"one set of events for {len(self.channels)} channels; give those of each, by "
                "EventLikelihood.data"
            )
        (channel,) = self.channels
        weights = [checked_weights(w, e, channel.name) for e, w in zip(x, weight, strict=True)]
        owner = [torch.full((len(one),), s) for s, one in enumerate(x)]
        data = channel.prepare(*stacked(list(x), weights, owner, len(x)))
        return EventData({channel.name: data}, self._nominal.expand(len(x), -1))

    def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:
        """log L, shape ``(S, K)``, float64, for θ of shape ``(S, K, D)``; see the contract.

        Memory does not grow with the number of events: sums run over chunks, which are computed
        again for a gradient. −∞ where an expected number of events or a density is not positive;
        :func:`hepgen.inference.validity.check_positive` says where.
        """
        data, theta = _own(sets), theta.double()
        if theta.shape[1] > _MOST_POINTS:
            parts = [self.log_likelihoods(data, t) for t in torch.split(theta, _MOST_POINTS, 1)]
            return torch.cat(parts, dim=1)
        total = self._log_constraints(data, theta)
        values = self.parameters.values(theta)
        for channel in self.channels:
            total = total + _log_channel(channel, data.channels[channel.name], values, theta)
        return total

    def log_constraints(self, sets: DataSets, theta: Tensor) -> Tensor:
        """Σ_j log N(a_j | θ_j, σ_j), shape ``(S, K)``, of θ ``(S, K, D)``."""
        return self._log_constraints(_own(sets), theta.double())

    def rates(self, theta: Tensor) -> dict[str, dict[str, Tensor]]:
        """λ of each sample of each channel that counts, shape ``(*,)`` for θ ``(*, D)``."""
        values = self.parameters.values(theta.double())
        return {
            channel.name: {
                sample.name: rate
                for sample, rate in zip(
                    channel.samples, channel.rates(values, theta.shape[:-1]), strict=True
                )
            }
            for channel in self.channels
            if channel.counts
        }

    def generate(self, theta: Tensor, seed: int) -> EventData:
        """A pseudo-data set at each θ of shape ``(S, D)``; see the contract."""
        theta = theta.double()
        values = self.parameters.values(theta)
        channels = {c.name: c.prepare(*toy_events(c, values, len(theta), seed))
                    for c in self.channels}  # fmt: skip
        return EventData(channels, self._fluctuated(theta, seed))

    def asimov(self, theta: Tensor) -> EventData:
        """The data set at θ, shape ``(D,)``, in which nothing fluctuates; see the contract."""
        channels = {c.name: asimov_data(c, self.parameters, theta) for c in self.channels}
        return EventData(channels, theta.double()[None, self._constrained])

    def __repr__(self) -> str:
        parts = [f"{c.name}: {' + '.join(s.name for s in c.samples)}" for c in self.channels]
        return f"EventLikelihood({'; '.join(parts)} | {', '.join(self.parameters.free_names)})"

    def _log_constraints(self, data: EventData, theta: Tensor) -> Tensor:
        pull = (data.auxiliary[:, None] - theta[..., self._constrained]) / self._sigma
        norm = self._sigma.log().sum() + 0.5 * log(2 * pi) * len(self._sigma)
        return -0.5 * pull.square().sum(-1) - norm

    def _measured(self, auxiliary: Mapping[str, float]) -> Tensor:
        unknown = sorted(set(auxiliary) - set(self.constrained))
        if unknown:
            raise ParameterError(
                f"an auxiliary measurement of {', '.join(unknown)}; "
                f"{nearest(unknown[0], self.constrained)}"
            )
        pairs = zip(self.constrained, self._nominal.tolist(), strict=True)
        return torch.tensor([auxiliary.get(n, a) for n, a in pairs], dtype=torch.float64)

    def _fluctuated(self, theta: Tensor, seed: int) -> Tensor:
        noise = torch.randn(
            len(theta), len(self._sigma), generator=generator_of(seed, "auxiliary"),
            dtype=torch.float64,
        )  # fmt: skip
        return theta[:, self._constrained] + self._sigma * noise

    def _check_names(self, channel: Channel) -> None:
        renamed = channel.renamed or {}
        for sample in channel.samples:
            for name in sample.density.parameters.free_names:
                if renamed.get(name, name) not in self.parameters:
                    raise ParameterError(
                        f"sample {sample.name!r} of channel {channel.name!r} depends on "
                        f"{name!r}, which is no parameter of the likelihood; "
                        f"{nearest(name, self.parameters.names)}"
                    )


def _own(sets: DataSets) -> EventData:
    if not isinstance(sets, EventData):
        raise DataError(
            f"data of the kind {type(sets).__name__}; expected what EventLikelihood.data, "
            "generate or asimov made"
        )
    return sets


def _log_channel(
    channel: Channel, data: ChannelData, values: Mapping[str, Tensor], theta: Tensor
) -> Tensor:
    """log of Pois(N | λ) ∏ p^w, shape ``(S, K)``."""
    shape = theta.shape[:2]
    rates, points = channel.rates(values, shape), channel.points(values, shape)
    group = max(1, _PAIRS // max(1, data.weight.shape[1] * shape[1]))
    groups = [slice(s, s + group) for s in range(0, shape[0], group)]
    parts = [_sum(channel, data[g], [p[g] for p in points], rates[:, g]) for g in groups]
    found = torch.cat(parts) if len(parts) > 1 else parts[0]
    expected, number = rates.sum(0), data.total[:, None]
    if not channel.counts:
        # Zero events have no shape.
        return found - number * expected.clamp_min(1e-300).log()
    return torch.where(expected < 0, -torch.inf, found - expected - torch.lgamma(number + 1))


def _sum(channel: Channel, data: ChannelData, points: list[Tensor], rates: Tensor) -> Tensor:
    """Σ w log Σ_s λ_s p_s over a group of sets, in chunks of their events."""
    chunks = data.split(max(1, _PAIRS // max(1, rates[0].numel())))
    if not chunks:
        return rates.new_zeros(rates.shape[1:])

    def term(chunk: ChannelData, rates: Tensor, *points: Tensor) -> Tensor:
        return _weighted(channel, chunk, points, rates)

    if len(chunks) == 1:
        return term(chunks[0], rates, *points)
    return chunked_sum(term, chunks, [rates, *points])


def _weighted(
    channel: Channel, data: ChannelData, points: Sequence[Tensor], rates: Tensor
) -> Tensor:
    weight = data.weight[..., None]
    height = channel.log_density(data, points, rates)
    impossible = torch.isneginf(height) & (weight != 0)
    terms = torch.where((weight == 0) | impossible, 0.0, height) * weight
    return terms.sum(1).masked_fill(impossible.any(1), -torch.inf)
