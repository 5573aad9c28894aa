"""A surrogate: a trained conditional density in the variables and units of physics.

It stands for p(x | c), where the context c is θ, what an earlier stage of a chain gave, or both.
Whatever family is behind it, it samples x, gives log p(x | c) per event with the Jacobian of the
standardisation, says what kind of number that is, and refuses a context it was not trained on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import DataError, FileError, SurrogateError, TrainingError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.nn import together
from hepgen.nn.columns import Derived
from hepgen.nn.density_weights import check_density_weights
from hepgen.nn.device import choose, trained_on
from hepgen.nn.model_files import curve_from_dict, load_weights, read_model, write_model
from hepgen.nn.rows import Table, standardised
from hepgen.nn.train import Progress, train
from hepgen.results import TrainingCurve
from hepgen.simulators.chain import stream
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality
from hepgen.surrogates.families import build, family
from hepgen.surrogates.variables import mixed_model

KIND = "surrogate"
UNFINISHED = "unfinished"
"""The entry of a manifest that says why a training failed."""
_NUMBERS = 2**22
"""How many numbers of noise, or of events, are in memory at once."""
_FEWEST = 200
"""Events that any family needs."""
_LOOKED_AT, _FEWEST_EQUAL, _ATOM, _ZERO = 20_000, 20, 0.02, 1e-6
"""Of how many events so many, and this share, may not have one value where there is a density."""
_FAR_OUT = 20.0
"""In spreads of its column, a value that may be what a training fails of."""
_WEIGHTS_A_NUMBER = 20
"""More weights than this for each number in the sample only learn it by heart."""


@dataclass(frozen=True)
class Domain:
    """The range of each context column in which the surrogate was trained.

    Arguments:
        names: The columns.
        low, high: Their range.
    """

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.low) == len(self.high):
            raise SurrogateError(
                f"a range of {len(self.low)} lower and {len(self.high)} upper edges for "
                f"{len(self.names)} columns; expected one of each"
            )

    @classmethod
    def from_sample(cls, names: Sequence[str], context: Tensor, margin: float = 0.02) -> Domain:
        """The range of a sample, widened by ``margin`` of it on each side."""
        low, high = context.double().amin(0), context.double().amax(0)
        edge = margin * (high - low)
        return cls(tuple(names), tuple((low - edge).tolist()), tuple((high + edge).tolist()))

    def outside(self, context: Tensor) -> Tensor:
        """Which contexts, shape ``(B,)``, are outside, or not a number."""
        low, high = self.edges(context)
        return ~((context >= low) & (context <= high)).all(-1)

    def edges(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """The range, shape ``(C,)`` each, in the precision of ``context``."""
        low, high = self._edges
        return low.to(context), high.to(context)

    @cached_property
    def _edges(self) -> tuple[Tensor, Tensor]:
        low, high = (torch.tensor(edge, dtype=torch.float64) for edge in (self.low, self.high))
        return low, high

    def check(self, context: Tensor) -> None:
        """Refuse contexts outside.

        Raises:
            SurrogateError: It names the column, the value and the range.
        """
        if not bool(self.outside(context).any()):
            return
        for name, low, high, column in zip(
            self.names, self.low, self.high, context.unbind(-1), strict=True
        ):
            wrong = column[~((column >= low) & (column <= high))]
            if len(wrong):
                raise SurrogateError(
                    f"{name} = {wrong[0].item():g} ({len(wrong)} of {len(column)}): outside the "
                    f"range [{low:g}, {high:g}] in which the surrogate was trained; train it on a "
                    "wider range, or ask it to extrapolate (--extrapolate), which marks every "
                    "event"
                )


@dataclass
class Surrogate:
    """p(x | c) of one event, in physical variables; made by :meth:`fit` or :meth:`load`.

    Arguments:
        model: The density in standardised variables.
        method: Its family, see :data:`hepgen.surrogates.families.FAMILIES`.
        features: What the d columns of x are, and their bijection to ℝᵈ.
        inputs: What the C columns of the context are, and theirs; ``None`` for no context.
        domain: The range of the context in training.
        curve: How the training went.
        manifest: What it stands for: process, stages, parameters, seeds; plain values.
        extrapolate: Whether a context outside ``domain`` is let through.
    """

    model: ConditionalDensity
    method: str
    features: FeatureSpace
    inputs: FeatureSpace | None
    domain: Domain
    curve: TrainingCurve
    manifest: dict[str, Any] = field(default_factory=dict)
    extrapolate: bool = False

    def __post_init__(self) -> None:
        # Gradients are those in x and in the context.
        self.model.eval().requires_grad_(False)

    @classmethod
    def fit(
        cls,
        x: Tensor,
        context: Tensor,
        *,
        features: Sequence[Feature],
        inputs: Sequence[Feature],
        method: str = "flow",
        options: Mapping[str, Any] | None = None,
        domain: Domain | None = None,
        weight: Tensor | None = None,
        negative_weights: bool = False,
        seed: int = 0,
        checkpoint: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
        device: str = "auto",
        manifest: Mapping[str, Any] | None = None,
        rescue: Path | None = None,
        **training: Any,
    ) -> Surrogate:
        """Learn p(x | c) from N events.

        Arguments:
            x: Shape ``(N, d)``, in physical variables.
            context: Shape ``(N, C)``.
            features: What the columns of x are, with their bounds.
            inputs: What the columns of the context are.
            method: The family.
            options: Of the family.
            domain: Where it may be used; by default the range of ``context``.
            weight: Event weights, shape ``(N,)``.
            negative_weights: Take them though a density must be positive: the events are then worth
                (Σw)²/Σw² of one weight, and the result may be far too small where they cancel; see
                :func:`hepgen.nn.density_weights.check_density_weights`.
            seed, checkpoint, progress: See :func:`hepgen.nn.train.train`.
            device: Where to train.
            manifest: What it stands for, kept with it.
            rescue: Where to save the last good state of a training that fails.
            training: Settings of the training, see there too; by default the family's.

        Raises:
            DataError: Events that cannot be used, negative weights that were not asked for, or a
                column that is called continuous and has one value in more than 2 % of the events.
            SurrogateError: A family or an option that does not exist, too few events for it, or
                a family that learns from another surrogate.
            TrainingError: The loss became NaN or infinite; see ``rescue``.
        """
        if family(method).teacher:
            raise SurrogateError(
                f"the family {method!r} learns from a surrogate, not from events: train one of "
                f"method {family(method).teacher!r} and distil it "
                "(hepgen.surrogates.diffusion.distillation.distil)"
            )
        check_density_weights(weight, negative_weights)
        space = FeatureSpace.from_sample(features, x)
        conditions = FeatureSpace.from_sample(inputs, context) if inputs else None
        domain = domain or Domain.from_sample([f.name for f in inputs], context)
        model = _model(method, space, len(inputs), options or {}, seed)
        to_network = conditions.forward if conditions else _nothing
        rows = Table(*standardised(Derived(space.forward, x), Derived(to_network, context)))
        u, c = rows.sample
        _check_enough(method, model, u)
        model.prepare(u, c)
        _check_atoms(space, u, model.counted(u))

        def made(curve: TrainingCurve) -> Surrogate:
            return cls(model, method, space, conditions, domain, curve, dict(manifest or {}))

        try:
            with trained_on(model, choose(device)):
                curve = train(
                    model, lambda batch: model.loss(*batch), rows, weight=weight,
                    seed=seed, checkpoint=checkpoint, progress=progress,
                    **{**family(method).training, **training},
                )  # fmt: skip
        except TrainingError as error:
            raise unfinished(error, made, rescue, (space, u), (conditions, c)) from error
        return made(curve)

    @property
    def quality(self) -> Quality:
        """What kind of number a log-density of it is."""
        return self.model.quality

    @property
    def size(self) -> int:
        """How many numbers an event has, d."""
        return len(self.features)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor, seed: int = 0) -> Tensor:
        """n events for each context: shape ``(n, *, d)`` for a context of shape ``(*, C)``.

        The same seed gives the same events.
        """
        rows = context.expand(n, *context.shape).flatten(0, -2)
        parts = [u for u, _ in self._generate(rows, seed, density=False)]
        return torch.cat(parts).reshape(n, *context.shape[:-1], len(self.features))

    @torch.no_grad()
    def sample_and_log_prob(
        self, n: int, context: Tensor, seed: int = 0
    ) -> tuple[Tensor, LogDensity]:
        """Events as :meth:`sample` makes them, shape ``(n, *, d)``, and log p(x | c) of each."""
        shape = (n, *context.shape[:-1])
        rows = context.expand(n, *context.shape).flatten(0, -2)
        parts = list(self._generate(rows, seed, density=True))
        value = torch.cat([d.value for _, d in parts]).reshape(shape)
        error = torch.cat([d.error for _, d in parts]).reshape(shape)
        x = torch.cat([x for x, _ in parts]).reshape(*shape, len(self.features))
        return x, LogDensity(value, error, parts[-1][1].quality)

    def log_prob(self, x: Tensor, context: Tensor, seed: int = 0) -> Tensor:
        """log p(x | c) per event, shape ``(N,)``, float64; see :attr:`quality`.

        Arguments:
            x: Shape ``(N, d)``, in physical variables.
            context: Shape ``(N, C)`` or ``(C,)``; differentiable in it.
            seed: Of what a Monte Carlo estimate draws.
        """
        return self.log_density(x, context, seed).value

    def log_density(self, x: Tensor, context: Tensor, seed: int = 0) -> LogDensity:
        """log p(x | c) per event with its Monte Carlo error; arguments as :meth:`log_prob`."""
        self.features.check(x)
        c = self._standardised(context.expand(len(x), context.shape[-1]))
        rows = max(1, _NUMBERS // (64 * max(1, len(self.features))))
        u = self.features.forward(x).to(c.dtype)
        with torch.random.fork_rng(devices=[]):
            # Not the numbers that made the events, where they were sampled with this seed.
            torch.manual_seed(stream(seed, "density", 0))
            parts = [
                self.model.log_prob(*pair)
                for pair in zip(torch.split(u, rows), torch.split(c, rows), strict=True)
            ]
        slope = self.features.log_jacobian(x, self.model.counted(u))
        value = torch.cat([part.value for part in parts]) + slope
        return LogDensity(value, torch.cat([part.error for part in parts]), self.quality)

    def save(self, folder: Path | str) -> None:
        """Write ``model.json`` and ``weights.safetensors`` into ``folder``."""
        description = {
            "method": self.method,
            "options": self.model.options,
            "features": self.features.to_dict(),
            "inputs": self.inputs.to_dict() if self.inputs else None,
            "domain": {n: getattr(self.domain, n) for n in ("names", "low", "high")},
            "training": self.curve,
            "manifest": self.manifest,
        }
        write_model(Path(folder), KIND, description, self.model)

    @classmethod
    def load(cls, folder: Path | str) -> Surrogate:
        """Read what :meth:`save` wrote; nothing from the files is executed.

        Raises:
            FileError: The files are missing, truncated, edited, or from a newer version.
        """
        entry = read_model(Path(folder), KIND)
        try:
            features = FeatureSpace.from_dict(entry["features"])
            inputs = FeatureSpace.from_dict(entry["inputs"]) if entry["inputs"] else None
            known = entry["domain"]
            edges = (tuple(map(float, known[side])) for side in ("low", "high"))
            domain = Domain(tuple(map(str, known["names"])), *edges)
            curve, method = curve_from_dict(entry["training"]), str(entry["method"])
            model = _model(method, features, len(inputs or ()), entry["options"])
            manifest = dict(entry["manifest"])
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            DataError,
            SurrogateError,
        ) as error:
            raise FileError(f"{folder}/model.json is not a surrogate: {error!r}") from error
        load_weights(Path(folder), model)
        return cls(model, method, features, inputs, domain, curve, manifest)

    def __repr__(self) -> str:
        given = f" | {', '.join(self.domain.names)}" if self.domain.names else ""
        return f"Surrogate({self.method}: p({', '.join(self.features.names)}{given}))"

    def _standardised(self, context: Tensor) -> Tensor:
        names = self.domain.names
        if context.shape[-1] != len(names):
            raise SurrogateError(
                f"context of shape {tuple(context.shape)}; expected {len(names)} columns: "
                f"{', '.join(names) or 'none'}"
            )
        if not self.extrapolate:
            self.domain.check(context.detach())
        given = self.inputs.forward(context) if self.inputs else context
        return given.to(self.model.precision)

    def _generate(
        self, context: Tensor, seed: int, *, density: bool
    ) -> Iterator[tuple[Tensor, LogDensity]]:
        """Chunks of events for contexts of shape ``(B, C)``, in physical variables."""
        generator = torch.Generator().manual_seed(seed)
        draws = torch.Generator().manual_seed(stream(seed, "density", 0)) if density else generator
        rows = max(1, _NUMBERS // max(self.model.noise, 16 * len(self.features)))
        nothing = LogDensity.exact(torch.zeros(0))
        for part in torch.split(self._standardised(context), rows):
            noise = torch.randn(len(part), self.model.noise, generator=generator).to(part.dtype)
            if not density:
                yield self.features.inverse(self.model.generate(noise, part)), nothing
                continue
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**62, (), generator=draws)))
                u, found = self.model.generate_with_log_prob(noise, part)
            x = self.features.inverse(u)
            value = found.value + self.features.log_jacobian(x, self.model.counted(u))
            yield x, LogDensity(value, found.error, found.quality)


def _nothing(context: Tensor) -> Tensor:
    """What a model without inputs is told."""
    return context[:, :0]


def _check_enough(method: str, model: ConditionalDensity, u: Tensor) -> None:
    """Refuse to train many weights on few numbers."""
    weights = sum(p.numel() for p in model.parameters())
    least = max(_FEWEST, weights // (_WEIGHTS_A_NUMBER * u.shape[-1]))
    if len(u) < least:
        raise SurrogateError(
            f"{len(u)} events to train the family {method!r}, which has {weights} weights; "
            f"expected at least {least}: simulate more (surrogate.events), or take smaller options"
        )


def _check_atoms(space: FeatureSpace, u: Tensor, counted: Tensor | None) -> None:
    """Refuse to learn the density of a number that is one value in many events."""
    step = max(1, len(u) // _LOOKED_AT)
    u = u[::step] if counted is None else u[::step].masked_fill(counted[::step], math.nan)
    for i, feature in enumerate(space.features):
        column = u[~u[:, i].isnan(), i]
        if feature.kind == "discrete" or not len(column):
            continue
        values, counts = column.unique(return_counts=True)  # type: ignore[no-untyped-call]
        share = counts.max().item() / len(u)
        if share < _ATOM or counts.max() < _FEWEST_EQUAL:
            continue
        row = int((u[:, i] == values[counts.argmax()]).nonzero()[0])
        at = space.inverse(u[row : row + 1])[0, i].item()
        kind = "zero_inflated" if abs(at) < _ZERO else "discrete"
        raise DataError(
            f"feature {feature.name!r}, which is {feature.kind}, is {at:g} in {share:.1%} of the "
            f"events: there it has no density. Set its kind to {kind!r}, leave those events out, "
            "or, where the values are rounded, add uniform noise as wide as the rounding"
        )


def unfinished(
    error: TrainingError,
    made: Callable[[TrainingCurve], Surrogate],
    rescue: Path | None,
    *parts: tuple[FeatureSpace | None, Tensor],
) -> TrainingError:
    """The error of a training with where its last good state was saved, and where to look.

    Arguments:
        error: Its module has its best weights.
        made: The surrogate as it is, with a curve.
        rescue: The folder to save it in; ``None`` for nowhere.
        parts: What it learned from: columns, and standardised values of them.
    """
    words = f"{error}; {_most_extreme(*parts)}"
    if rescue is not None and together.leads():
        last = made(replace(error.curve, stopped="failed"))
        last.manifest[UNFINISHED] = str(error)
        last.save(rescue)
        words += f"; the last good state is in {rescue}"
    return TrainingError(words, error.curve)


def _most_extreme(*parts: tuple[FeatureSpace | None, Tensor]) -> str:
    """The column with the value farthest out, of events or contexts, in words."""
    found: list[tuple[float, str, float]] = []
    for space, u in parts:
        if space is None:
            continue
        row, column = divmod(int(u.abs().nan_to_num(0.0).argmax()), u.shape[-1])
        value = space.inverse(u[row : row + 1].double())[0, column].item()
        found.append((u[row, column].abs().item(), space.names[column], value))
    far, name, value = max(found)
    words = f"{name} = {value:g}, {far:.0f} times the spread of its column"
    if far < _FAR_OUT:
        return f"no column stands out: the most extreme value of the training sample is {words}"
    return f"the most extreme value of the training sample is {words}: look there first"


def _model(
    method: str, features: FeatureSpace, context: int, options: Mapping[str, Any], seed: int = 0
) -> ConditionalDensity:
    """An untrained model of a family, for features of any kind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return mixed_model(features, context, partial(build, method, options=options, seed=seed))
