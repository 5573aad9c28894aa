"""A search along a hypothesis, such as the mass of a resonance: tests and limits at each value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hepgen.statements import Limit, significance

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SearchScan:
    """The test of no signal at K values of a parameter that has a meaning only with a signal.

    Arguments:
        parameter: The strength, zero without a signal.
        along: What is scanned, e.g. ``m_x``.
        values: Ascending, shape ``(K,)``.
        statistic: q₀ at each, shape ``(K,)``.
        p_value: Local, by asymptotic formulae, shape ``(K,)``.
        best: The best-fit strength at each, shape ``(K,)``.
        limits: At each, where they were asked for.
        global_p_value, global_error: Of the largest q₀ anywhere, and its standard error.
        method: How the global one was found.
        toys: From how many.
        nothing: How many standard deviations of a signal the likelihood sees at each value in
            simulated events that have none, shape ``(K,)``; that of a perfect one is 0.
        nothing_error: By the number of these events.
        along_unit, along_label, unit, label: Of the two parameters.
        warnings: What a reader must know.
    """

    parameter: str
    along: str
    values: Array
    statistic: Array
    p_value: Array
    best: Array
    limits: tuple[Limit, ...]
    global_p_value: float
    global_error: float
    method: str
    toys: int
    along_unit: str = ""
    along_label: str = ""
    unit: str = ""
    label: str = ""
    warnings: tuple[str, ...] = ()
    nothing: Array | None = None
    nothing_error: float = 0.0

    @property
    def largest(self) -> int:
        """Where the largest excess is: the first such point."""
        return int(np.argmax(self.statistic))

    @property
    def local_significance(self) -> float:
        """Of the largest excess, in one-sided standard deviations."""
        return significance(float(self.p_value[self.largest]))

    @property
    def global_significance(self) -> float:
        """Of an excess as large anywhere."""
        return significance(self.global_p_value)
