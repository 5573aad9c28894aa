r"""The density of events that are of several samples, each of which is known by itself.

.. math:: p(x | \theta) = \frac{\sum_s \lambda_s(\theta)\, p_s(x | \theta)}
                               {\sum_s \lambda_s(\theta)}

Where a small signal stands on a large background, one network for the sum has to find its few
events in all the others; two have not, and the sum is linear in the strength of the signal, also
where that is negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hepgen.inference.channel import Channel, Sample, signed_sum
from hepgen.inference.chunked_sum import chunked_sum
from hepgen.inference.event_sets import EventSets, pad
from hepgen.inference.rate import Rate
from hepgen.parameters import ParameterSet
from hepgen.results import TrainingCurve

_PAIRS = 2**14
"""How many (event, θ) pairs are evaluated at once."""
_MOST_POINTS = _PAIRS // 64


@dataclass(frozen=True)
class SampleRate:
    r"""λ_s(θ) of a sample that is simulated with some parameters held, at a strength μ₀.

    .. math:: \lambda_s(\theta) = \frac{\mu}{\mu_0}\, \lambda(\theta, \text{held})

    Arguments:
        rate: That of the simulation.
        held: The values of the parameters that do not vary in it.
        strength: The parameter μ; μ₀ is among those that are held.

    >>> rate = SampleRate(lambda v: v["mu"] * v["nu"], {"mu": 2.0}, "mu")
    >>> rate({"mu": torch.tensor(3.0), "nu": torch.tensor(10.0)})  # 3/2 of 2·10
    tensor(30.)
    """

    rate: Rate
    held: Mapping[str, float]
    strength: str | None = None

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """λ_s, shape ``(*,)``."""
        fixed = {n: torch.full_like(values[n], value) for n, value in self.held.items()}
        found = self.rate({**values, **fixed})
        if self.strength is None:
            return found
        return found * values[self.strength] / self.held[self.strength]


class SampleSum:
    """See the module. It is a :class:`hepgen.inference.density.Density`, and answers as an NLE.

    Arguments:
        parameters: Those of all samples and of their rates.
        samples: Each with a density and a rate.

    >>> from hepgen import Parameter, Uniform
    >>> from hepgen.inference.density import ClosedForm
    >>> flat = ClosedForm(ParameterSet([]), ("x",), lambda x, _: 0 * x[..., 0])
    >>> slope = ClosedForm(ParameterSet([]), ("x",), lambda x, _: torch.log(2 * x[..., 0]))
    >>> total = SampleSum(
    ...     ParameterSet([Parameter("mu", 1.0, prior=Uniform(-1.0, 5.0))]),
    ...     [
    ...         Sample("background", flat, lambda v: 3.0 + 0 * v["mu"]),
    ...         Sample("signal", slope, lambda v: v["mu"]),
    ...     ],
    ... )
    >>> total.log_prob(torch.tensor([[0.25]]), torch.tensor([[1.0]])).exp()  # (3 + 0.5)/4
    tensor([[0.8750]], dtype=torch.float64)
    """

    def __init__(self, parameters: ParameterSet, samples: Sequence[Sample]) -> None:
        self.parameters, self.samples = parameters, tuple(samples)
        self._channel = Channel("events", self.samples, extended=False)

    @property
    def curve(self) -> TrainingCurve:
        """The training of the first sample, with the time of all."""
        curves = list(self.curves.values())
        return replace(curves[0], seconds=sum(curve.seconds for curve in curves))

    @property
    def curves(self) -> dict[str, TrainingCurve]:
        """The trainings, by the names of the samples."""
        densities: dict[str, Any] = {s.name: s.density for s in self.samples}
        return {name: density.curve for name, density in densities.items()}

    def save(self, folder: Path | str) -> None:
        """Write the density of each sample into a folder of its name."""
        for sample in self.samples:
            density: Any = sample.density
            density.save(Path(folder) / sample.name)

    def double(self) -> SampleSum:
        """The same with densities in double precision."""
        densities: list[Any] = [sample.density for sample in self.samples]
        both = zip(self.samples, densities, strict=True)
        return SampleSum(self.parameters, [replace(s, density=d.double()) for s, d in both])

    def prepare(self, x: Tensor) -> Tensor:
        """What each sample wants of events ``(N, d)``, in a row."""
        return torch.cat([s.density.prepare(x).double() for s in self._channel.samples], -1)

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """log p of events from :meth:`prepare`, ``(S, n, e)``, at θ ``(S, K, D)``.

        Returns:
            Shape ``(S, n, K)``, float64; −∞ where the sum is not positive.
        """
        values, shape = self.parameters.values(theta.double()), theta.shape[:-1]
        rates = self._channel.rates(values, shape)
        points = self._channel.points(values, shape)
        parts = prepared.tensor_split(len(self.samples), dim=-1)
        every = zip(self._channel.samples, parts, points, strict=True)
        terms = torch.stack([s.density.log_densities(p, t).double() for s, p, t in every])
        total, top = signed_sum(terms, rates)
        number = rates.sum(0)[:, None]
        possible = (total > 0) & (number > 0)
        ratio = torch.where(possible, total, 1.0) / torch.where(number > 0, number, 1.0)
        return torch.where(possible, top + ratio.log(), -torch.inf)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """log p(xᵢ | θₖ), shape ``(N, K)``, for x ``(N, d)`` and θ ``(K, D)``."""
        parts = torch.split(self.prepare(x), max(1, _PAIRS // len(theta)))
        return torch.cat([self.log_densities(part[None], theta[None])[0] for part in parts])

    def log_likelihood(self, x: Tensor, theta: Tensor, weight: Tensor | None = None) -> Tensor:
        """Σᵢ wᵢ log p(xᵢ | θₖ), shape ``(K,)``."""
        return self.log_likelihoods(self.encode([x], [weight]), theta[None])[0]

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        """Data sets, each of shape ``(N, d)``, as the samples want them."""
        return pad(
            [self.prepare(one) for one in x], weight, [torch.zeros(len(one)).double() for one in x]
        )

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """Of S data sets at K points each, shape ``(S, K)``, for θ of shape ``(S, K, D)``."""
        if theta.shape[1] > _MOST_POINTS:
            parts = torch.split(theta, _MOST_POINTS, dim=1)
            return torch.cat([self.log_likelihoods(sets, part) for part in parts], dim=1)
        # Each chunk takes a pass through the networks at all of its θ: few sets with many events.
        group = max(1, _PAIRS // (sets.events.shape[1] * theta.shape[1]))
        starts = range(0, len(sets), group)
        return torch.cat([self._sum(sets[s : s + group], theta[s : s + group]) for s in starts])

    def _sum(self, sets: EventSets, theta: Tensor) -> Tensor:
        rows = max(1, _PAIRS // (theta.shape[0] * theta.shape[1]))
        chunks = list(
            zip(torch.split(sets.events, rows, 1), torch.split(sets.weight, rows, 1), strict=True)
        )
        return chunked_sum(self._weighted, chunks, [theta])

    def _weighted(self, chunk: tuple[Tensor, Tensor], theta: Tensor) -> Tensor:
        events, weight = chunk
        found = self.log_densities(events, theta)
        # What pads a set counts nothing, also where its density is zero.
        return torch.where(weight[..., None] == 0, 0.0, weight[..., None] * found).sum(1)
