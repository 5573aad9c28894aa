"""How many rows each step of a selection leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CutFlow:
    """How many rows are left after each step of a selection.

    Arguments:
        entries: Rows read.
        valid: … whose needed columns are all finite.
        cut: … that pass the cut.
        complete: … whose derived columns all have a finite value.
        unique: … that are the one kept of their event.
        invalid: What made rows invalid or incomplete, and in how many.

    >>> flow = CutFlow(entries=4, valid=4, cut=2, complete=2, unique=2)
    >>> (flow + flow).cut, str(flow)
    (4, '4 rows read, 4 with finite values, 2 after the cut, 2 complete, 2 kept')
    """

    entries: int = 0
    valid: int = 0
    cut: int = 0
    complete: int = 0
    unique: int = 0
    invalid: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: CutFlow) -> CutFlow:
        return CutFlow(
            self.entries + other.entries,
            self.valid + other.valid,
            self.cut + other.cut,
            self.complete + other.complete,
            self.unique + other.unique,
            dict(Counter(self.invalid) + Counter(other.invalid)),
        )

    @property
    def refused(self) -> int:
        """Rows with a value that cannot be used."""
        return self.entries - self.valid + self.cut - self.complete

    def to_dict(self) -> dict[str, int]:
        """The numbers of rows, in order, for a report."""
        return {
            "entries": self.entries,
            "valid": self.valid,
            "cut": self.cut,
            "complete": self.complete,
            "unique": self.unique,
        }

    def __str__(self) -> str:
        return (
            f"{self.entries} rows read, {self.valid} with finite values, {self.cut} after the "
            f"cut, {self.complete} complete, {self.unique} kept"
        )
