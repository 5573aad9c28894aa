"""How columns become branches: NanoAOD-style groups with counters, and the types written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import awkward as ak
import numpy as np

from hepgen.errors import DataError
from hepgen.events import LATENT, LOG_RATIO, SCORE
from hepgen.io.operations import content_dtype
from hepgen.io.validity import dense, is_missing

Arrays = Mapping[str, ak.Array]

TEXT = "string"
_TYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
          "float32", "float64")  # fmt: skip
_NAMESPACES = (LATENT, SCORE, LOG_RATIO)


def writable(name: str, array: ak.Array) -> ak.Array:
    """The column in a form that a branch can hold: flat, or lists of numbers; packed.

    Raises:
        DataError: It has missing values, records, lists of lists, or numbers of a type that
            ROOT does not know.
    """
    missing = int(is_missing(array).sum())
    if missing:
        raise DataError(f"column {name!r} has no value in {missing} of {len(array)} events")
    array = dense(ak.from_regular(array, axis=None) if array.ndim > 1 else array)
    kind = _kind(array)
    if kind is None or array.ndim > 2 or (array.ndim > 1 and kind == TEXT):
        raise DataError(
            f"column {name!r} of type {array.type} cannot be written; expected one number or "
            f"string an event, or a list of numbers ({', '.join(_TYPES)})"
        )
    return ak.values_astype(array, kind) if kind != TEXT else array


def _kind(array: ak.Array) -> str | None:
    dtype = content_dtype(array)
    if dtype is None:
        return TEXT if array.ndim == 1 and not array.fields else None
    return dtype.name if dtype.name in _TYPES else None


@dataclass(frozen=True)
class Layout:
    """The branches of a tree.

    Arguments:
        types: Column → type: a NumPy name, ``string``, or ``var * float32`` and the like.
        counters: Jagged column → the counter it shares with its group.
    """

    types: Mapping[str, str]
    counters: Mapping[str, str]

    @classmethod
    def of(cls, columns: Arrays) -> Layout:
        """The layout of the first columns that are written.

        Jagged columns with a common prefix, as in ``Muon_pt``, ``Muon_eta``, share the
        counter ``nMuon`` if they have the same lengths; a column of that name that agrees
        with it is not written a second time.
        """
        counters = _counters({n: a for n, a in columns.items() if a.ndim > 1})
        types = types_of(columns)
        layout = cls({n: t for n, t in types.items() if n not in counters.values()}, counters)
        layout.check(columns)
        return layout

    @property
    def branches(self) -> dict[str, str]:
        """Branch → type, the counters included, in the order of a listing."""
        return dict.fromkeys(self.counters.values(), "int32") | dict(self.types)

    def check(self, columns: Arrays) -> None:
        """See that further columns fit.

        Raises:
            DataError: A column is missing or new, has another type, or other lengths than
                its group.
        """
        counters = set(self.counters.values())
        check_types(self.types, {n: a for n, a in columns.items() if n not in counters})
        self._check_lengths(columns)

    def _check_lengths(self, columns: Arrays) -> None:
        lengths: dict[str, tuple[str, ak.Array]] = {}
        for name, counter in self.counters.items():
            number = ak.num(columns[name], axis=1)
            first, expected = lengths.setdefault(counter, (name, number))
            if not ak.array_equal(number, expected, dtype_exact=False):
                raise DataError(
                    f"{name!r} and {first!r} have different numbers of elements in an event, "
                    f"but share the counter {counter!r}; name them with different prefixes"
                )
            if counter in columns and not _agrees(columns[counter], number):
                raise DataError(
                    f"column {counter!r} is not the number of elements of {name!r}; "
                    f"rename it, or leave it out (it is written as the counter)"
                )


def _counters(jagged: Arrays) -> dict[str, str]:
    groups: dict[str, ak.Array] = {}
    counters: dict[str, str] = {}
    for name, array in jagged.items():
        number = ak.num(array, axis=1)
        shared = groups.setdefault(_group(name), number)
        same = ak.array_equal(number, shared, dtype_exact=False)
        counters[name] = f"n{_group(name) if same else name}"
    return counters


def _group(name: str) -> str:
    """What a jagged column is a property of: ``Muon`` for ``Muon_pt``.

    >>> _group("Muon_pt"), _group("latent_Photon_x"), _group("photons")
    ('Muon', 'latent_Photon', 'photons')
    """
    space = next((s for s in _NAMESPACES if name.startswith(s)), "")
    return space + name.removeprefix(space).partition("_")[0]


def _type(array: ak.Array) -> str:
    kind = str(_kind(array))
    return f"var * {kind}" if array.ndim > 1 else kind


def types_of(columns: Arrays) -> dict[str, str]:
    """Column → type, as in :attr:`Layout.types`."""
    return {name: _type(array) for name, array in columns.items()}


def check_types(types: Mapping[str, str], columns: Arrays) -> None:
    """See that ``columns`` have the names of ``types`` and types that fit.

    Raises:
        DataError: They do not.
    """
    missing, extra = sorted(set(types) - set(columns)), sorted(set(columns) - set(types))
    if missing or extra:
        raise DataError(f"columns differ from those written before: missing {missing}, new {extra}")
    for name, kind in types.items():
        _check_type(name, _type(columns[name]), kind)


def _check_type(name: str, given: str, declared: str) -> None:
    old, new = declared.removeprefix("var * "), given.removeprefix("var * ")
    same_shape = (old == declared) == (new == given)
    if given == declared:
        return
    if not same_shape or TEXT in (old, new) or not np.can_cast(new, old, "safe"):
        raise DataError(
            f"column {name!r} is {given} now and was {declared} in the events written before"
        )


def _agrees(column: ak.Array, number: ak.Array) -> bool:
    return column.ndim == 1 and bool(ak.array_equal(column, number, dtype_exact=False))
