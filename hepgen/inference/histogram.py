r"""A sample as a histogram, with the variations of HistFactory: a density, a rate and a sampler.

.. math:: \lambda_b(\nu) = \Big(\lambda_b^0 + \sum_j \Delta(\nu_j; \delta^+_{jb}, \delta^-_{jb})
          \Big) \quad\text{or}\quad \lambda_b^0 \prod_j I(\nu_j; \kappa^+_{jb}, \kappa^-_{jb})

(``code4p``, or the others of :mod:`hepgen.inference.interpolation`). The likelihood over events is
that over counts, up to a constant: ∏ Pois(n_b | λ_b) = Pois(N | Σλ) · multinomial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.interpolation import Code, difference, factor
from hepgen.inference.sampler import generator_of
from hepgen.inference.templates import Templates, bin_numbers, number_of_bins
from hepgen.parameters import ParameterSet

Edges = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Histogram:
    """Expected events of B bins, as :class:`hepgen.inference.channel.Sample` wants them.

    It is the density (of a bin, not in x: all samples of a channel have the same bins), by
    :meth:`rate` the rate, and the sampler of a sample.

    Arguments:
        edges: Of the bins of each column, increasing.
        nominal: λ⁰, shape ``(B,)``, B the product of the numbers of bins.
        variations: λ at ν = +1 and at ν = −1 for each nuisance, shape ``(B,)`` each.
        nuisances: Those parameters.
        code: How to interpolate.

    Raises:
        DataError: Shapes at odds, or numbers that are not positive where ratios are taken.

    >>> from hepgen import Normal, Parameter
    >>> jes = ParameterSet([Parameter("jes", 0.0, prior=Normal(0.0, 1.0))])
    >>> up_and_down = (torch.tensor([12.0, 19.0]), torch.tensor([9.0, 20.5]))
    >>> edges = {"m": np.array([0.0, 1.0, 2.0])}
    >>> sample = Histogram(edges, torch.tensor([10.0, 20.0]), {"jes": up_and_down}, jes)
    >>> sample.rate({"jes": torch.tensor(1.0)})
    tensor(31., dtype=torch.float64)
    """

    edges: Edges
    nominal: Tensor
    variations: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    nuisances: ParameterSet = field(default_factory=lambda: ParameterSet([]))
    code: Code = "code4p"
    binned = True

    def __post_init__(self) -> None:
        bins = number_of_bins(self.edges)
        odd = [name for name in self.variations if name not in self.nuisances.free_names]
        tables = [self.nominal, *(table for pair in self.variations.values() for table in pair)]
        if odd or any(table.shape != (bins,) for table in tables):
            raise DataError(
                f"a histogram of {bins} bins with the contents of {[len(t) for t in tables]}, and "
                f"variations of {', '.join(self.variations) or 'nothing'}; expected as many "
                f"contents as bins, and nuisances among {', '.join(self.nuisances.free_names)}"
            )
        if self.code != "code4p" and any(not bool((t > 0).all()) for t in tables):
            raise DataError(
                f"a bin with no expected events, and variations by {self.code!r}, which takes "
                "ratios; merge bins, or take code4p"
            )

    @property
    def parameters(self) -> ParameterSet:
        """The nuisances."""
        return self.nuisances

    def counts(self, values: Mapping[str, Tensor]) -> Tensor:
        """λ_b, shape ``(*, B)``, for nuisances by name, shape ``(*,)`` each."""
        total = nominal = self.nominal.double()
        for name, (up, down) in self.variations.items():
            nu, up, down = values[name].double()[..., None], up.double(), down.double()
            if self.code == "code4p":
                total = total + difference(nu, up - nominal, down - nominal)
            else:
                total = total * factor(nu, up / nominal, down / nominal, self.code)
        return total

    def rate(self, values: Mapping[str, Tensor]) -> Tensor:
        """Σ_b λ_b, shape ``(*,)``."""
        return self.counts(values).sum(-1)

    def prepare(self, x: Tensor) -> Tensor:
        """The number of the bin of each event ``(N, d)``, shape ``(N, 1)``, int64."""
        return bin_numbers(x, self.edges)[:, None]

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """ln(λ_b/Σλ), shape ``(S, n, K)``; −∞ where it is not positive."""
        names = self.nuisances.free_names
        values = dict(zip(names, theta.double().unbind(-1), strict=True))
        counts = self.counts(values)
        share = (counts / counts.sum(-1, keepdim=True)).expand(*theta.shape[:2], -1)
        positive = share > 0
        table = torch.where(positive, torch.where(positive, share, 1.0).log(), -torch.inf).mT
        return table.gather(1, prepared.long().expand(-1, -1, table.shape[-1]))

    def draw(self, counts: Tensor, values: Mapping[str, Tensor], seed: int) -> Tensor:
        """See :class:`hepgen.inference.sampler.Sampler`: events in the middle of their bins."""
        return _in_bins(self.edges, counts, self._probability(values), seed)

    def expected(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """One event for each bin, of weight λ_b/Σλ."""
        return middles(self.edges), self._probability(values)

    def _probability(self, values: Mapping[str, Tensor]) -> Tensor:
        counts = self.counts(values).detach()
        if not bool((counts >= 0).all()):
            raise DataError(
                f"a bin with {counts.min().item():g} expected events; expected none below zero: "
                "a variation goes too far, or the nominal is negative"
            )
        return counts / counts.sum(-1, keepdim=True)


@dataclass(frozen=True)
class TemplateSampler:
    """Events of :class:`hepgen.inference.templates.Templates`, in the middle of their bins."""

    templates: Templates

    def draw(self, counts: Tensor, values: Mapping[str, Tensor], seed: int) -> Tensor:
        """See :class:`hepgen.inference.sampler.Sampler`."""
        return _in_bins(self.templates.edges, counts, self._probability(values), seed)

    def expected(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """One event for each bin, with its probability."""
        return middles(self.templates.edges), self._probability(values)

    def _probability(self, values: Mapping[str, Tensor]) -> Tensor:
        (name,) = self.templates.parameters.free_names
        return self.templates.log_probabilities(values[name].detach()).exp()


def middles(edges: Edges) -> Tensor:
    """A point in each bin, shape ``(B, d)``: the middle; beside the edge of an infinite one."""
    lines = [torch.from_numpy(_middle(line)) for line in edges.values()]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).reshape(-1, len(lines))


def _middle(line: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.asarray(line[:-1], dtype=np.float64), np.asarray(line[1:], dtype=np.float64)
    low = np.where(np.isinf(low), np.where(np.isinf(high), -1.0, high - 1), low)
    high = np.where(np.isinf(high), low + 1, high)
    return np.asarray(0.5 * (low + high))


def _in_bins(edges: Edges, counts: Tensor, probability: Tensor, seed: int) -> Tensor:
    """Σ counts events, for probabilities ``(S, B)`` or ``(B,)``."""
    probability = probability.expand(len(counts), -1)
    u = torch.rand(int(counts.sum()), generator=generator_of(seed, "bin"), dtype=torch.float64)
    cumulative = probability.cumsum(-1)
    owner = torch.arange(len(counts)).repeat_interleave(counts)
    # One line for all sets: the cumulative of set s runs from s to s + 1.
    line = (cumulative / cumulative[:, -1:] + torch.arange(len(counts))[:, None]).flatten()
    number = torch.searchsorted(line, u + owner, right=True) - owner * probability.shape[1]
    return middles(edges)[number.clamp(0, probability.shape[1] - 1)]
