"""What a report says of the calibration: recalibrated intervals beside raw ones, and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hepgen.diagnostics.calibration import uniformity_tests
from hepgen.diagnostics.conformal import ConformalLevels
from hepgen.inference.posterior import PosteriorSample
from hepgen.results import Calibration, ParameterEstimate, rounded
from hepgen.statements import Interval

LEVELS = (0.68, 0.95)


def recalibrated(
    parameters: Mapping[str, ParameterEstimate],
    sample: PosteriorSample,
    calibration: Calibration,
    events: int,
) -> Iterator[Interval]:
    """The intervals of the headline at the levels that cover on pseudo-data.

    Arguments:
        parameters: The estimates of the result.
        sample: Of the headline.
        calibration: Of its method.
        events: In the data.
    """
    largest = int(calibration.events.max())
    for name in (n for n, one in parameters.items() if one.role == "interest"):
        draws = sample.column(name).numpy()
        levels = ConformalLevels.central(calibration, name)
        for nominal in LEVELS:
            words = []
            if levels.level(nominal) >= 1:
                words.append(
                    f"{len(calibration)} pseudo-data sets are too few for the {nominal:.2f} "
                    f"level of {name}: its interval is the range of all draws"
                )
            if not largest / 2 <= events <= 2 * largest:
                words.append(
                    f"{name} is recalibrated on sets of {largest} events, and the data have "
                    f"{events} (calibration.events)"
                )
            yield Interval(
                name, nominal, parameters[name].mean, (levels.interval(draws, nominal),),
                "recalibrated", unit=parameters[name].unit, warnings=tuple(words),
            )  # fmt: skip


def in_words(
    intervals: Sequence[Interval], parameters: Mapping[str, ParameterEstimate], sets: int
) -> Iterator[str]:
    """A sentence for each parameter."""
    for name in dict.fromkeys(one.parameter for one in intervals):
        own, std = [one for one in intervals if one.parameter == name], parameters[name].std
        found = "; ".join(
            f"{100 * one.level:.0f} % from {rounded(one.low, std)} to {rounded(one.high, std)}"
            for one in own
        )
        yield f"{name}, recalibrated to cover in {sets} pseudo-data sets: {found}."
        yield from (f"{words}." for words in dict.fromkeys(w for one in own for w in one.warnings))


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
