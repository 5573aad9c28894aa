"""What a report says of the calibration: recalibrated intervals beside raw ones, and figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hepgen.diagnostics.calibration import uniformity_tests
from hepgen.diagnostics.conformal import ConformalLevels
from hepgen.inference.posterior import PosteriorSample
from hepgen.results import Calibration, InferenceResult, rounded

LEVELS = (0.68, 0.95)


def recalibrated(
    result: InferenceResult, sample: PosteriorSample, calibrations: Sequence[Calibration]
) -> Iterator[str]:
    """The intervals of the headline at the levels that cover on pseudo-data, in words."""
    for calibration in (c for c in calibrations if c.method == result.method):
        for name, estimate in result.parameters.items():
            if estimate.role == "interest":
                draws = sample.column(name).numpy()
                levels = ConformalLevels.central(calibration, name)
                ranges = [(n, levels.level(n), levels.interval(draws, n)) for n in LEVELS]
                found = "; ".join(
                    f"{100 * nominal:.0f} % from {rounded(low, estimate.std)} to "
                    f"{rounded(high, estimate.std)} (credible level {level:.3f})"
                    for nominal, level, (low, high) in ranges
                )
                yield (
                    f"{name}, recalibrated to cover in {len(calibration)} pseudo-data sets of "
                    f"{int(calibration.events.max())} events: {found}."
                )


def figures(calibrations: Sequence[Calibration], names: Sequence[str]) -> dict[str, Any]:
    """Ranks less uniform ones, and coverage against level, with bands for all levels at once."""
    from hepgen import plots

    tests = {c.method.upper(): uniformity_tests(c, names) for c in calibrations}
    kinds = dict.fromkeys(kind for found in tests.values() for kind in found)
    return {
        kind[0].upper() + kind[1:]: (
            plots.plot_ecdf_difference if "ranks" in kind else plots.plot_expected_coverage
        )({method: found[kind] for method, found in tests.items() if kind in found})
        for kind in kinds
    }
