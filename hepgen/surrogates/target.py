"""Target: what a surrogate stands for, as columns of a chain's state and as plain vectors.

A surrogate knows vectors x and c. A chain knows columns of shape ``(G, E)`` or ``(G, E, K)``. The
target turns one into the other. A variable may be relative to a column of the input, as a ratio
(a measured momentum over the true one) or a difference (of two angles): what is left to learn is
then broad and smooth, where x itself would be a spike that moves with c.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from hepgen.errors import SurrogateError
from hepgen.features import Feature, Kind
from hepgen.simulators.stage import Stage, State

Relation = Literal["", "ratio", "difference"]


@dataclass(frozen=True)
class Column:
    """A column of the state that enters or leaves a surrogate.

    Arguments:
        name: In the state.
        slots: K for shape ``(G, E, K)``; 0 for shape ``(G, E)``.
        dtype: ``float``, ``int`` or ``bool``.
        kind: As of a :class:`hepgen.features.Feature`. A circular input enters as its cosine and
            its sine.
        low, high: The bounds of the variable that is learned.
        relation: To the column ``to`` of the input, slot by slot.
        to: e.g. the true momentum; of as many slots, or of none.
        if_selected: Whether it has a meaning in selected events only, and is 0 in others.
        window: What selected events are between, where the selection says so.
    """

    name: str
    slots: int = 0
    dtype: Literal["float", "int", "bool"] = "float"
    kind: Kind = "continuous"
    low: float | None = None
    high: float | None = None
    relation: Relation = ""
    to: str = ""
    if_selected: bool = False
    window: tuple[float, float] = (-math.inf, math.inf)

    @classmethod
    def like(cls, name: str, value: Tensor, among: Tensor | None = None) -> Column:
        """The column ``name`` with the shape and type of ``value``.

        Of the events where ``among``, shape ``(G, E)``, is true (all by default), real numbers
        of which some are exactly 0 are zero-inflated, and discrete where all are whole, such as
        a charge: a density would have a spike there.

        Raises:
            SurrogateError: It is a matrix an event.
        """
        if value.dim() > 3:
            raise SurrogateError(
                f"column {name!r} has the shape {tuple(value.shape)}; a surrogate takes (G, E) "
                "and (G, E, K)"
            )
        slots = value.shape[2] if value.dim() == 3 else 0
        if value.dtype == torch.bool:
            return cls(name, slots, "bool", "discrete", 0.0, 1.0)
        if not value.is_floating_point():
            return cls(name, slots, "int", "discrete")
        return cls(name, slots, kind=_kind(value if among is None else value[among]))

    @property
    def names(self) -> tuple[str, ...]:
        """One name for each slot."""
        return tuple(f"{self.name}_{k}" for k in range(self.slots)) if self.slots else (self.name,)

    def feature(self, name: str, unit: str = "", label: str = "") -> Feature:
        """One slot as a variable that a surrogate learns."""
        if self.relation:
            name = f"{name}{'/' if self.relation == 'ratio' else '-'}{self.to}"
            unit, label = ("" if self.relation == "ratio" else unit), ""
        low, high = self.bounds
        kind = "zero_inflated" if self.if_selected and self.kind == "continuous" else self.kind
        return Feature(name, unit, label, low=low, high=high, kind=kind)

    @property
    def bounds(self) -> tuple[float, float]:
        """Of the variable that is learned."""
        least = 0.0 if self.relation == "ratio" else -math.inf
        widest = (-math.pi, math.pi) if self.kind == "circular" else (least, math.inf)
        return (
            widest[0] if self.low is None else self.low,
            widest[1] if self.high is None else self.high,
        )


@dataclass(frozen=True)
class Target:
    """The part of a chain that a surrogate replaces.

    Arguments:
        stages: In a row, by name; all of the chain for none.
        inputs: The columns that come from the stages before.
        outputs: The columns that what follows needs.
        parameters: Those that the surrogate was trained over, the last columns of its context.
        fixed: The values of the other parameters of these stages, in training.
        read_by: Stages after these that stay, though what they do is in the outputs already:
            done once more it changes nothing, as long as their options are those of the training.
    """

    stages: tuple[str, ...]
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    parameters: tuple[str, ...]
    fixed: Mapping[str, float]
    read_by: tuple[str, ...] = ()

    @property
    def context_names(self) -> tuple[str, ...]:
        """The columns of the context."""
        columns = [name for c in self.inputs for name in _input_names(c)]
        return (*columns, *self.parameters)

    def context(self, state: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> Tensor:
        """c, shape ``(G, E, C)``, of a block: columns of the state, then parameters."""
        parts = [_input(column, state[column.name]) for column in self.inputs]
        shape = next(iter(state.values())).shape[:2]
        values = [parameters[name].double() for name in self.parameters]
        parts += [value.expand(shape)[..., None] for value in values]
        return torch.cat(parts, dim=-1)

    def encode(self, state: Mapping[str, Tensor]) -> Tensor:
        """x, shape ``(G, E, d)``, of the columns that leave."""
        return torch.cat([self._encode(column, state) for column in self.outputs], dim=-1)

    @property
    def selects(self) -> bool:
        """Whether it decides which events are selected."""
        return any(column.name == "selected" for column in self.outputs)

    def decode(self, x: Tensor, state: Mapping[str, Tensor]) -> State:
        """The columns that leave, of x and of the columns that entered."""
        widths = [max(1, column.slots) for column in self.outputs]
        parts = dict(zip(self.outputs, torch.split(x, widths, dim=-1), strict=True))
        columns = {c.name: self._decode(c, part, state) for c, part in parts.items()}
        if self.selects:
            # What is selected has all that selected events have.
            for column, part in parts.items():
                if column.if_selected:
                    value = _slots(columns[column.name])
                    inside = (value > column.window[0]) & (value < column.window[1])
                    # A zero is a value of those that are counted, and says "absent" of others.
                    there = inside & ((part != 0) | (column.kind != "continuous"))
                    columns["selected"] = columns["selected"] & there.all(-1)
        return columns

    def to_dict(self) -> dict[str, Any]:
        """Plain values; see :meth:`from_dict`."""
        columns = {n: [_to_dict(c) for c in getattr(self, n)] for n in ("inputs", "outputs")}
        return {**asdict(self), **columns}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Target:
        """The inverse of :meth:`to_dict`."""
        inputs, outputs = (tuple(map(_from_dict, entry[k])) for k in ("inputs", "outputs"))
        stages, parameters = (tuple(entry[k]) for k in ("stages", "parameters"))
        read_by = tuple(entry.get("read_by", ()))
        return cls(stages, inputs, outputs, parameters, dict(entry["fixed"]), read_by)

    def _encode(self, column: Column, state: Mapping[str, Tensor]) -> Tensor:
        value = _slots(state[column.name])
        if column.relation:
            value = _relative(column, value, _slots(state[column.to]))
        if not column.if_selected:
            return value
        # An angle has no value that says it is absent: it is spread evenly over the circle.
        absent = _even_angles(value) if column.kind == "circular" else torch.zeros_like(value)
        return torch.where(state["selected"][..., None], value, absent)

    def _decode(self, column: Column, value: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        if column.relation == "ratio":
            value = value * _slots(state[column.to])
        elif column.relation == "difference":
            value = value + _slots(state[column.to])
        if column.kind == "circular":
            value = torch.remainder(value + math.pi, 2 * math.pi) - math.pi
        value = value if column.slots else value.squeeze(-1)
        if column.dtype == "bool":
            return value > 0.5
        return value.round().long() if column.dtype == "int" else value


def related(columns: Sequence[Column], relations: Mapping[str, Mapping[str, Any]]) -> list[Column]:
    """Columns with what a workflow says of them: ``{ ratio = NAME }``, ``{ kind = "circular" }``.

    >>> related([Column("pt")], {"pt": {"ratio": "true_pt"}})[0].to
    'true_pt'
    """
    return [_related(column, relations.get(column.name, {})) for column in columns]


def _even_angles(like: Tensor) -> Tensor:
    """Angles that fill [−π, π) evenly, in the order of a golden-ratio sequence."""
    number = torch.arange(like.numel(), dtype=torch.float64).reshape(like.shape)
    return torch.remainder(number * (math.sqrt(5) - 1) / 2, 1) * 2 * math.pi - math.pi


def _to_dict(column: Column) -> dict[str, Any]:
    window = [edge if math.isfinite(edge) else None for edge in column.window]
    return {**asdict(column), "window": window}


def _from_dict(entry: Mapping[str, Any]) -> Column:
    low, high = entry["window"]
    window = (-math.inf if low is None else low, math.inf if high is None else high)
    return Column(**{**entry, "window": window})


def _kind(value: Tensor) -> Kind:
    zero = value == 0
    if bool(zero.all()):
        return "continuous"
    if bool((value == value.round()).all()):
        return "discrete"
    return "zero_inflated" if bool(zero.any()) else "continuous"


def _related(column: Column, words: Mapping[str, Any]) -> Column:
    relation: Relation = next((r for r in ("ratio", "difference") if words.get(r)), "")
    to = str(words[relation]) if relation else ""
    changes = {key: words[key] for key in ("kind", "low", "high") if words.get(key) is not None}
    return replace(column, relation=relation, to=to, **changes)


def _input(column: Column, value: Tensor) -> Tensor:
    value = _slots(value)
    return torch.cat([value.cos(), value.sin()], dim=-1) if column.kind == "circular" else value


def _input_names(column: Column) -> list[str]:
    if column.kind != "circular":
        return list(column.names)
    return [f"{trig} {name}" for trig in ("cos", "sin") for name in column.names]


def _slots(value: Tensor) -> Tensor:
    """Shape ``(G, E, K)`` in float64, with K = 1 for a flat column."""
    return (value if value.dim() == 3 else value[..., None]).double()


def _relative(column: Column, value: Tensor, to: Tensor) -> Tensor:
    if column.relation == "ratio":
        return value / to
    difference = value - to
    if column.kind == "circular":
        return torch.remainder(difference + math.pi, 2 * math.pi) - math.pi
    return difference


class TargetColumns(Stage):
    """A deterministic stage that writes x and c of a target as flat columns, to train on.

    Arguments:
        target: Which.
    """

    name = "surrogate_target"

    def __init__(self, target: Target) -> None:
        self.target = target
        columns = (*target.inputs, *target.outputs)
        self.requires = tuple(column.name for column in columns)
        self.x = tuple(f"x_{name}" for column in target.outputs for name in column.names)
        self.c = tuple(f"c_{i}" for i in range(len(target.context_names) - len(target.parameters)))
        self.provides = self.c + self.x

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Add the columns of every event."""
        context = [_input(column, state[column.name]) for column in self.target.inputs]
        values = torch.cat([*context, self.target.encode(state)], dim=-1)
        return state | dict(zip(self.provides, values.unbind(-1), strict=True))
