"""From columns of a file to columns of hepgen: validity, cut, derived columns, keys.

Works on one chunk at a time and knows no file; :mod:`hepgen.io.root` feeds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgen.errors import DataError
from hepgen.events import WEIGHT
from hepgen.io.cutflow import CutFlow
from hepgen.io.expressions import Columns, Expression
from hepgen.io.validity import dense, is_missing, not_finite

ColumnMap = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Rows:
    """The rows of one chunk that pass: their columns, keys and merit, and the cut flow."""

    columns: dict[str, ak.Array]
    keys: tuple[NDArray[Any], ...]
    merit: NDArray[np.float64]
    flow: CutFlow


class Selection:
    """What is made of a chunk of columns.

    1. Rows with a NaN or an infinity in a needed column are invalid. A column that the cut
       itself tests with ``isfinite`` or ``isnan`` is left to the cut.
    2. The cut.
    3. The columns of hepgen are computed; rows where one is missing or not finite are
       incomplete.

    Arguments:
        columns: hepgen's name → expression, or a list of expressions to join to one jagged
            column (those without a value in an event are left out of it).
        cut: Keep the rows where it is true.
        weight: What becomes ``genWeight``, with its sign.
        one_per: Expressions, such as ``("Run", "Event")``, whose values name an event.
        keep: Of the rows of one event, the one where this is largest; the first if None.
    """

    def __init__(
        self,
        columns: ColumnMap,
        cut: str | None = None,
        weight: str | None = None,
        one_per: Sequence[str] = (),
        keep: str | None = None,
    ) -> None:
        self.weighted = weight is not None
        every = dict(columns) | ({WEIGHT: weight} if weight is not None else {})
        self.joined = {
            name: [Expression(e) for e in text]
            for name, text in every.items()
            if not isinstance(text, str)
        }
        self.single = {name: Expression(e) for name, e in every.items() if isinstance(e, str)}
        self.order = list(every)
        self.cut = Expression(cut) if cut is not None and cut.strip() else None
        self.keys = tuple(Expression(key) for key in one_per)
        self.keep = Expression(keep) if keep is not None else None
        if not every:
            raise DataError("no columns to read; expected at least one")

    @property
    def expressions(self) -> list[Expression]:
        """Every expression, the cut first."""
        optional = [e for e in (self.cut, self.keep) if e is not None]
        joined = [e for parts in self.joined.values() for e in parts]
        return [*optional, *self.single.values(), *joined, *self.keys]

    @property
    def names(self) -> frozenset[str]:
        """The columns of the file that are needed."""
        return frozenset().union(*(e.names for e in self.expressions))

    def apply(self, chunk: Columns, entries: int) -> Rows:
        """Select from a chunk of ``entries`` rows.

        Raises:
            DataError: An expression does not suit the columns.
        """
        invalid: Counter[str] = Counter()
        mask = ~self._invalid(chunk, entries, invalid)
        valid = int(mask.sum())
        if self.cut is not None:
            mask &= self.cut.mask(chunk) if chunk else self.cut.mask(_placeholder(entries))
        cut = int(mask.sum())
        later = frozenset().union(*(e.names for e in self.expressions if e is not self.cut))
        kept = {name: chunk[name][mask] for name in later} or _placeholder(cut)
        columns, keys, merit = self._derive(kept, cut, invalid)
        complete = len(merit)
        flow = CutFlow(entries, valid, cut, complete, complete, dict(invalid))
        return Rows(columns, keys, merit, flow)

    def _invalid(self, chunk: Columns, entries: int, invalid: Counter[str]) -> NDArray[np.bool_]:
        tested = self.cut.tested if self.cut is not None else frozenset()
        bad = np.zeros(entries, dtype=np.bool_)
        for name in sorted(set(chunk) - tested):
            bad |= _counted(not_finite(chunk[name]), name, invalid)
        return bad

    def _derive(
        self, kept: Columns, rows: int, invalid: Counter[str]
    ) -> tuple[dict[str, ak.Array], tuple[NDArray[Any], ...], NDArray[np.float64]]:
        columns = {name: self._column(name, kept) for name in self.order}
        keys = [(key.text, key.evaluate(kept)) for key in self.keys]
        merit = [(self.keep.text, self.keep.evaluate(kept))] if self.keep else []
        for text, array in keys + merit:
            _check_flat(text, array)
        bad = np.zeros(rows, dtype=np.bool_)
        for name, array in [(self._label(n), a) for n, a in columns.items()] + keys + merit:
            bad |= _counted(is_missing(array), f"{name} has no value", invalid)
            bad |= _counted(not_finite(array), name, invalid)
        good = ~bad
        return (
            {name: dense(array[good]) for name, array in columns.items()},
            tuple(_key(array[good]) for _, array in keys),
            _flat(merit[0][1][good]) if merit else np.zeros(int(good.sum())),
        )

    def _column(self, name: str, kept: Columns) -> ak.Array:
        if name in self.joined:
            return _joined([e.evaluate(kept) for e in self.joined[name]])
        array = self.single[name].evaluate(kept)
        if name == WEIGHT and self.weighted:
            _check_flat(self.single[name].text, array)
            return ak.values_astype(array, np.float64)
        if array.fields:
            raise DataError(
                f"column {name!r} = {self.single[name].text!r} is a record of "
                f"{', '.join(array.fields)}; expected one of these fields, such as "
                f"{self.single[name].text}.{array.fields[0]}"
            )
        return array

    def _label(self, name: str) -> str:
        text = self.single[name].text if name in self.single else name
        return name if text.strip("`") == name else f"{name} = {text}"


def _placeholder(rows: int) -> dict[str, ak.Array]:
    """A column for constants to take their length from."""
    return {"": ak.Array(np.zeros(rows, dtype=np.int8))}


def _counted(bad: NDArray[np.bool_], name: str, invalid: Counter[str]) -> NDArray[np.bool_]:
    if bad.any():
        invalid[name] += int(bad.sum())
    return bad


def _joined(parts: Sequence[ak.Array]) -> ak.Array:
    """One jagged column of all ``parts``, each flat or jagged, in their order."""
    lists = [ak.singletons(part) if part.ndim == 1 else part for part in parts]
    return ak.concatenate(lists, axis=1)


def _check_flat(text: str, array: ak.Array) -> None:
    if array.ndim != 1 or array.fields:
        raise DataError(
            f"{text!r} has several values in each event; expected one number "
            f"(an expression such as {text}[0] makes one)"
        )


def _flat(array: ak.Array) -> NDArray[np.float64]:
    return np.asarray(ak.to_numpy(dense(array)), dtype=np.float64)


def _key(array: ak.Array) -> NDArray[Any]:
    """A key as an array of one type in every file: int64, float64 or text."""
    values = np.asarray(ak.to_numpy(dense(array)))
    if values.dtype.kind in "iub":
        return values.astype(np.int64)  # uint64 wraps around, which keeps keys distinct
    return values
