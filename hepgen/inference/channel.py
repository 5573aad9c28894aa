r"""A channel of the data: the samples that it is made of, and their density in all.

.. math:: \lambda_c(\theta)\, p_c(x | \theta) = \sum_s \lambda_s(\theta)\, p_s(x | \theta)

Rates of either sign may stand in the sum; only the sum must be positive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import ParameterError
from hepgen.inference.density import Density, remembered
from hepgen.inference.event_data import ChannelData, merged
from hepgen.inference.rate import Rate
from hepgen.inference.sampler import Sampler
from hepgen.parameters import ParameterSet

_UNLIKELY = 600.0
"""The logarithm of the largest ratio of densities that is told from infinity."""


@dataclass(frozen=True)
class Sample:
    """One kind of events in a channel.

    Arguments:
        name: e.g. ``signal``.
        density: Of one of its events.
        rate: How many are expected. ``None``, for the only sample of a channel, leaves the number
            of events out of the likelihood.
        sampler: Where its pseudo-data come from.
    """

    name: str
    density: Density
    rate: Rate | None = None
    sampler: Sampler | None = None


@dataclass(frozen=True)
class Channel:
    """A region of the data.

    Arguments:
        name: e.g. ``signal_region``.
        samples: What it is made of.
        extended: Whether the number of events counts; otherwise only the shape does.
        events: How many a data set has, or the sum of their weights, where their number does not
            count. Toys have the nearest whole number of them.
        renamed: What a parameter of its samples is called in the likelihood, where the names
            differ.
    """

    name: str
    samples: tuple[Sample, ...]
    extended: bool = True
    events: float | None = None
    renamed: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", tuple(self.samples))
        without = [s.name for s in self.samples if s.rate is None]
        if not self.samples or (without and len(self.samples) > 1):
            raise ParameterError(
                f"channel {self.name!r} with {len(self.samples)} samples, without a rate: "
                f"{', '.join(without) or 'none'}; expected a rate of each, or one sample alone"
            )
        remember = [Sample(s.name, remembered(s.density), s.rate, s.sampler) for s in self.samples]
        object.__setattr__(self, "samples", tuple(remember))

    @property
    def counts(self) -> bool:
        """Whether its number of events is part of the likelihood."""
        return self.extended and self.samples[0].rate is not None

    def local(self, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The values of the parameters by the names that its samples use."""
        if not self.renamed:
            return values
        return {**values, **{name: values[there] for name, there in self.renamed.items()}}

    def rates(self, values: Mapping[str, Tensor], shape: Sequence[int]) -> Tensor:
        """λ_s, shape ``(samples, *shape)``, of parameters under their names in the likelihood."""
        here = self.local(values)
        return torch.stack([_expanded(self.name, s, here, shape) for s in self.samples])

    def points(self, values: Mapping[str, Tensor], shape: Sequence[int]) -> list[Tensor]:
        """θ of each sample's density, shape ``(*shape, D_s)``."""
        here = self.local(values)
        return [_columns(s.density.parameters, here, shape) for s in self.samples]

    def prepare(self, events: Tensor, weight: Tensor) -> ChannelData:
        """Data of the channel, of events ``(S, N, d)`` with weights ``(S, N)``."""
        flat = events.reshape(-1, events.shape[-1])
        prepared = [s.density.prepare(flat) for s in self.samples]
        shape = events.shape[:2]
        parts = tuple(p.reshape(*shape, *p.shape[1:]) for p in prepared)
        return merged(ChannelData(events, weight, parts, weight.square().sum(-1)))

    def log_density(self, data: ChannelData, theta: Sequence[Tensor], rates: Tensor) -> Tensor:
        """log Σ_s λ_s p_s of each event, shape ``(S, n, K)``; −∞ where the sum is not positive.

        Arguments:
            data: S sets of n events.
            theta: Of each sample, ``(S, K, D_s)``.
            rates: λ_s, shape ``(samples, S, K)``.
        """
        terms = self.terms(data, theta)
        if len(self.samples) == 1 and self.samples[0].rate is None:
            return terms[0]
        total, top = signed_sum(terms, rates)
        positive = total > 0
        return torch.where(positive, top + torch.where(positive, total, 1.0).log(), -torch.inf)

    def terms(self, data: ChannelData, theta: Sequence[Tensor]) -> Tensor:
        """log p_s of each event, shape ``(samples, S, n, K)``."""
        return torch.stack(
            [
                s.density.log_densities(prepared, t).double()
                for s, prepared, t in zip(self.samples, data.prepared, theta, strict=True)
            ]
        )


def signed_sum(terms: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
    """T and t with Σ_s λ_s p_s = T·exp(t), shape ``(S, n, K)`` each.

    Numbers are added, and not their logarithms, so that a rate may pass through zero.

    Arguments:
        terms: log p_s, shape ``(samples, S, n, K)``.
        rates: λ_s, shape ``(samples, S, K)``.
    """
    factors = rates[:, :, None, :]
    top = terms.detach().masked_fill(factors.detach() == 0, -torch.inf).amax(0)
    top = torch.where(torch.isfinite(top), top, 0.0)
    return (factors * torch.exp((terms - top).clamp(max=_UNLIKELY))).sum(0), top


def _expanded(
    channel: str, sample: Sample, values: Mapping[str, Tensor], shape: Sequence[int]
) -> Tensor:
    """The rate of a sample, of the shape of the parameters; ones where it has none."""
    if sample.rate is None:
        return torch.ones(tuple(shape), dtype=torch.float64)
    rate = sample.rate(values).double()
    # A product of shapes that do not match would broadcast, and count data sets twice.
    if rate.dim() and rate.shape != tuple(shape):
        raise ParameterError(
            f"the rate of sample {sample.name!r} in channel {channel!r} has the shape "
            f"{tuple(rate.shape)} for parameters of shape {tuple(shape)}; expected one number for "
            "each parameter point"
        )
    return rate.expand(tuple(shape))


def _columns(
    parameters: ParameterSet, values: Mapping[str, Tensor], shape: Sequence[int]
) -> Tensor:
    """θ of a density, shape ``(*shape, D)``."""
    names = parameters.free_names
    if not names:
        return torch.zeros((*shape, 0), dtype=torch.float64)
    return torch.stack([values[name].expand(tuple(shape)) for name in names], dim=-1)
