r"""The likelihood of histograms: samples, normalisations, and how systematics move them.

.. math:: L = \prod_b \mathrm{Pois}(n_b | \lambda_b(\theta))
          \prod_{j \in \text{Normal}} \mathcal{N}(a_j | \theta_j, \sigma_j)
          \prod_{j \in \text{Poisson}} \mathrm{Pois}(m_j | \tau_j \theta_j), \qquad
          \lambda_b = \sum_s \prod_f f_{sb}(\theta)\,
          \Bigl(\nu_{sb} + \sum_h \Delta_{sb}^h(\theta)\Bigr)

It is the model of HistFactory (CERN-OPEN-2012-016), with the same words: ``normfactor``,
``normsys``, ``histosys``, ``shapesys``, ``staterror`` are :class:`Factor`, :class:`NormSys`,
:class:`HistoSys` and, the last two, :class:`BinFactors`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError, nearest
from hepgen.inference.interpolation import Code, difference, factor
from hepgen.inference.likelihood import Likelihood
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform

Values = Mapping[str, Tensor]
"""A value for every parameter, each of shape ``(*,)`` or ``()``."""

GAMMA_RANGE = (1e-10, 10.0)


class Modifier(ABC):
    """What a parameter does to the histogram of a sample."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The parameters that it needs."""

    def factor(self, values: Values) -> Tensor | None:  # noqa: ARG002
        """What the histogram is multiplied by, shape ``(*, B)`` or ``(*, 1)``."""
        return None

    def shift(self, values: Values, nominal: Tensor) -> Tensor | None:  # noqa: ARG002
        """What is added to the nominal histogram first, shape ``(*, B)``."""
        return None


@dataclass(frozen=True)
class Factor(Modifier):
    """A parameter that multiplies a sample: a signal strength, a luminosity."""

    name: str

    @property
    def names(self) -> tuple[str, ...]:
        """One."""
        return (self.name,)

    def factor(self, values: Values) -> Tensor:
        """θ itself."""
        return values[self.name][..., None]


@dataclass(frozen=True)
class NormSys(Modifier):
    """A normalisation that is ``low`` at −1σ and ``high`` at +1σ, relative to the nominal one.

    See :mod:`hepgen.inference.interpolation` for the codes.
    """

    name: str
    low: float
    high: float
    code: Code = "code4"

    @property
    def names(self) -> tuple[str, ...]:
        """One."""
        return (self.name,)

    def factor(self, values: Values) -> Tensor:
        """I(θ)."""
        high, low = torch.tensor([self.high, self.low], dtype=torch.float64)
        return factor(values[self.name][..., None], high, low, self.code)


@dataclass(frozen=True)
class HistoSys(Modifier):
    """A histogram that is ``low`` at −1σ and ``high`` at +1σ (``code4p``)."""

    name: str
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """One."""
        return (self.name,)

    def shift(self, values: Values, nominal: Tensor) -> Tensor:
        """Δ(θ)."""
        high, low = torch.tensor([self.high, self.low], dtype=torch.float64)
        return difference(values[self.name][..., None], high - nominal, low - nominal)


@dataclass(frozen=True)
class BinFactors(Modifier):
    """A parameter for each bin that multiplies it; ``None`` leaves a bin as it is."""

    bins: tuple[str | None, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the bins that have one."""
        return tuple(name for name in self.bins if name is not None)

    def factor(self, values: Values) -> Tensor:
        """γ of each bin."""
        like = sum((values[name] for name in self.names), torch.zeros(()))
        one = torch.ones_like(like)
        columns = [one if name is None else values[name].expand_as(like) for name in self.bins]
        return torch.stack(columns, dim=-1)


@dataclass(frozen=True)
class BinnedSample:
    """The events of one kind that are expected in the bins of a channel.

    Arguments:
        name: E.g. ``signal``.
        nominal: Expected counts, B of them.
        modifiers: What the parameters do to them.
    """

    name: str
    nominal: tuple[float, ...]
    modifiers: tuple[Modifier, ...] = ()

    def expected(self, values: Values) -> Tensor:
        """Counts at parameter values, shape ``(*, B)``."""
        nominal = torch.tensor(self.nominal, dtype=torch.float64)
        total = nominal
        for modifier in self.modifiers:
            shift = modifier.shift(values, nominal)
            total = total if shift is None else total + shift
        for modifier in self.modifiers:
            factor = modifier.factor(values)
            total = total if factor is None else total * factor
        return total


@dataclass(frozen=True)
class BinnedChannel:
    """Bins that are counted together, and the samples that fill them."""

    name: str
    samples: tuple[BinnedSample, ...]

    @property
    def bins(self) -> int:
        """B."""
        return len(self.samples[0].nominal)


@dataclass(frozen=True)
class BinnedSets:
    """S data sets of counts.

    Arguments:
        counts: The bins of all channels in order, shape ``(S, B)``, float64.
        normal: Auxiliary measurements of the parameters with a Normal constraint, ``(S, G)``.
        poisson: Auxiliary counts of those with a Poisson constraint, ``(S, P)``.
    """

    counts: Tensor
    normal: Tensor
    poisson: Tensor

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, part: slice | Tensor) -> BinnedSets:
        return BinnedSets(self.counts[part], self.normal[part], self.poisson[part])


class BinnedLikelihood(Likelihood):
    """Counts in bins; see the module for its mathematics.

    Arguments:
        channels: With their samples.
        parameters: All that the modifiers name. A Normal prior is a Gaussian constraint. A
            parameter without a prior is a constant.
        poisson: τ of the parameters with a Poisson constraint, by name: an auxiliary count of
            mean τθ that was τ in the data. Their priors are Uniform: bounds.
        elsewhere: Parameters with a Normal prior whose constraint another likelihood has, with
            which this one is multiplied.

    Raises:
        DataError: Histograms of different lengths, or with values that are not finite.
        ParameterError: A modifier names an unknown parameter.
    """

    def __init__(
        self,
        channels: Sequence[BinnedChannel],
        parameters: ParameterSet,
        poisson: Mapping[str, float] | None = None,
        elsewhere: Collection[str] = (),
    ) -> None:
        self.channels, self.parameters = tuple(channels), parameters
        self.poisson = dict(poisson or {})
        for channel in self.channels:
            _check(channel, parameters)
        free = parameters.free_names
        for name in self.poisson:
            if name not in free or not isinstance(parameters[name].prior, Uniform):
                raise ParameterError(
                    f"parameter {name!r} has a Poisson constraint; expected a free parameter with "
                    "a uniform prior, which is its range"
                )
        gaussian = [
            (i, p.prior)
            for i, p in enumerate(parameters.free)
            if isinstance(p.prior, Normal) and p.name not in elsewhere
        ]
        self._normal = torch.tensor([i for i, _ in gaussian], dtype=torch.long)
        self._mean = torch.tensor([p.mean for _, p in gaussian], dtype=torch.float64)
        self._std = torch.tensor([p.std for _, p in gaussian], dtype=torch.float64)
        self._poisson = torch.tensor([free.index(n) for n in self.poisson], dtype=torch.long)
        self._tau = torch.tensor(list(self.poisson.values()), dtype=torch.float64)

    @property
    def bins(self) -> int:
        """The bins of all channels."""
        return sum(channel.bins for channel in self.channels)

    def constraints(self, sets: BinnedSets) -> dict[str, tuple[float, float]]:
        """The centre and the width of the constraint of each parameter, in the first data set."""
        names = self.parameters.free_names
        normal = zip(
            self._normal.tolist(), sets.normal[0].tolist(), self._std.tolist(), strict=True
        )
        counted = zip(self.poisson.items(), sets.poisson[0].tolist(), strict=True)
        found = {names[i]: (mean, std) for i, mean, std in normal}
        return found | {name: (m / tau, tau**-0.5) for (name, tau), m in counted}

    def expected(self, theta: Tensor) -> Tensor:
        """λ of the bins of all channels, shape ``(*, B)`` for θ ``(*, D)``."""
        values = self.parameters.values(theta.double())
        shape = theta.shape[:-1]
        return torch.cat(
            [
                sum((s.expected(values) for s in channel.samples), torch.zeros(1)).expand(
                    *shape, channel.bins
                )
                for channel in self.channels
            ],
            dim=-1,
        )

    def observed(self, counts: Sequence[float] | Tensor) -> BinnedSets:
        """Data, shape ``(B,)`` or ``(S, B)``, with the auxiliary measurements as they were.

        Raises:
            DataError: Of another length, or not counts.
        """
        given = torch.as_tensor(counts, dtype=torch.float64)
        n = given if given.dim() == 2 else given[None]
        if n.shape[-1] != self.bins or not bool((torch.isfinite(n) & (n >= 0)).all()):
            names = ", ".join(channel.name for channel in self.channels)
            raise DataError(
                f"observed counts {given.tolist()}; expected {self.bins} numbers from 0, the bins "
                f"of {names}"
            )
        return BinnedSets(n, self._mean.expand(len(n), -1), self._tau.expand(len(n), -1))

    def log_likelihoods(self, sets: BinnedSets, theta: Tensor) -> Tensor:  # type: ignore[override]
        """log L, shape ``(S, K)``, for θ ``(S, K, D)``; −∞ where a bin expects less than zero."""
        theta = theta.double()
        main = _log_poisson(sets.counts[:, None], self.expected(theta)).sum(-1)
        z = (sets.normal[:, None] - theta[..., self._normal]) / self._std
        gaussian = -0.5 * z.square() - self._std.log() - 0.5 * math.log(2 * math.pi)
        counted = _log_poisson(sets.poisson[:, None], theta[..., self._poisson] * self._tau)
        return main + gaussian.sum(-1) + counted.sum(-1)

    def generate(self, theta: Tensor, seed: int) -> BinnedSets:
        """Poisson counts, and auxiliary measurements about θ, shape ``(S, D)``."""
        generator = torch.Generator().manual_seed(seed)
        theta = theta.double()
        noise = torch.randn(len(theta), len(self._normal), generator=generator, dtype=torch.float64)
        return BinnedSets(
            torch.poisson(self.expected(theta), generator),
            theta[:, self._normal] + self._std * noise,
            torch.poisson(theta[:, self._poisson] * self._tau, generator),
        )

    def asimov(self, theta: Tensor) -> BinnedSets:
        """Every count and every auxiliary measurement at its expectation."""
        theta = theta.double()[None]
        return BinnedSets(
            self.expected(theta), theta[:, self._normal], theta[:, self._poisson] * self._tau
        )


def uncorrelated_background(
    signal: Sequence[float],
    background: Sequence[float],
    uncertainty: Sequence[float],
    *,
    low: float = 0.0,
    high: float = 10.0,
) -> BinnedLikelihood:
    """Signal of strength μ on a background whose bins are uncertain each for itself.

    The uncertainty of a bin is that of an auxiliary count of τ = (background/uncertainty)² events.

    Arguments:
        signal, background, uncertainty: Counts a bin.
        low, high: The range of μ.
    """
    names = tuple(f"gamma_{b}" for b in range(len(background)))
    gammas = [Parameter(name, 1.0, prior=Uniform(*GAMMA_RANGE)) for name in names]
    tau = [(b / u) ** 2 for b, u in zip(background, uncertainty, strict=True)]
    samples = (
        BinnedSample("signal", tuple(map(float, signal)), (Factor("mu"),)),
        BinnedSample("background", tuple(map(float, background)), (BinFactors(names),)),
    )
    return BinnedLikelihood(
        [BinnedChannel("counts", samples)],
        ParameterSet([_strength(low, high), *gammas]),
        dict(zip(names, tau, strict=True)),
    )


def correlated_background(
    signal: Sequence[float],
    background: Sequence[float],
    up: Sequence[float],
    down: Sequence[float],
    *,
    low: float = 0.0,
    high: float = 10.0,
) -> BinnedLikelihood:
    """Signal of strength μ on a background that one parameter moves in all bins.

    Arguments:
        signal, background: Counts a bin.
        up, down: The background at +1σ and at −1σ.
        low, high: The range of μ.
    """
    move = HistoSys("alpha", tuple(map(float, down)), tuple(map(float, up)))
    samples = (
        BinnedSample("signal", tuple(map(float, signal)), (Factor("mu"),)),
        BinnedSample("background", tuple(map(float, background)), (move,)),
    )
    alpha = Parameter("alpha", 0.0, prior=Normal(0.0, 1.0))
    return BinnedLikelihood(
        [BinnedChannel("counts", samples)], ParameterSet([_strength(low, high), alpha])
    )


def _strength(low: float, high: float) -> Parameter:
    return Parameter("mu", 1.0, role="interest", prior=Uniform(low, high), label=r"$\mu$")


def _log_poisson(n: Tensor, mean: Tensor) -> Tensor:
    """log Pois(n | mean), also for n that are no integers; −∞ where it is impossible."""
    positive = mean > 0
    safe = torch.where(positive, mean, 1.0)
    inside = n * safe.log() - safe - torch.lgamma(n + 1)
    return torch.where(positive, inside, torch.where((mean == 0) & (n == 0), 0.0, -torch.inf))


def _check(channel: BinnedChannel, parameters: ParameterSet) -> None:
    for sample in channel.samples:
        what = f"sample {sample.name!r} of channel {channel.name!r}"
        if len(sample.nominal) != channel.bins:
            raise DataError(f"{what} has {len(sample.nominal)} bins; expected {channel.bins}")
        if not bool(torch.isfinite(torch.tensor(sample.nominal)).all()):
            raise DataError(f"{what} has counts {sample.nominal}; expected finite numbers")
        for modifier in sample.modifiers:
            for name in modifier.names:
                if name not in parameters:
                    raise ParameterError(
                        f"{what} names the parameter {name!r}; {nearest(name, parameters.names)}"
                    )
