"""Bounds: where a best fit that is at one, or an interval that reaches one, spoils the result.

A nuisance parameter at its bound is a warning: its error, and those of asymptotic formulae, do not
hold along it, but the statement is on other parameters, whose profile is maximised over what the
bound leaves. A parameter of interest at its bound, or nearer to it than its error, is a failure:
its interval ends where somebody let the range end. It is none where the bound is that of the
parameter's physical range, such as a signal strength at zero, and a set is asked for that has its
coverage there: by Neyman's construction, or a limit by CLs (Feldman and Cousins, Phys. Rev. D 57
(1998) 3873).
"""

from __future__ import annotations

from hepgen.inference.statistics.fit import Fit, at_end, box, curvature_error, index
from hepgen.pipeline.analysis import Analysis
from hepgen.pipeline.interest import interest
from hepgen.results import Check


def bound_check(session: Analysis, best: Fit) -> Check:
    """That no parameter of interest is at a bound that is not provided for; see the module."""
    severe = [*_at_bound(session, best, severe=True), *_reaching(session, best)]
    mild = _at_bound(session, best, severe=False)
    words = "; ".join([*severe, *mild]) or "parameters of interest whose interval reaches a bound"
    return Check(
        "fit: bounds", not severe, float(len(severe)), 0, words, warning=bool(mild and not severe)
    )


def tolerated(session: Analysis, best: Fit) -> tuple[str, ...]:
    """The warnings of a fit that are no failure: bounds that do not spoil the statement."""
    return tuple(_at_bound(session, best, severe=False))


def _at_bound(session: Analysis, best: Fit, *, severe: bool) -> list[str]:
    stated = interest(session)
    return [
        words
        for name, words in best.at_bounds(0).items()
        if (name in stated and not _provided(session, name, best)) == severe
    ]


def _reaching(session: Analysis, best: Fit) -> list[str]:
    """Of parameters of interest inside of their bounds, within one error of one."""
    low, high = box(best.parameters)
    found = []
    for name in interest(session):
        i = index(best.parameters, name)
        value, error = float(best.theta[0, i]), float(curvature_error(best, name)[0])
        near = [edge for edge in (float(low[i]), float(high[i])) if abs(value - edge) < error]
        if near and not bool(best.at_bound[0, i]) and not _provided(session, name, best):
            found.append(
                f"{name} = {value:.6g} ± {error:.2g} reaches its bound, {near[0]:.6g}, which cuts "
                "its interval off; give it a wider range if it may have one, or ask for "
                "--interval neyman"
            )
    return found


def _provided(session: Analysis, name: str, best: Fit) -> bool:
    """Whether the bound is physical, and a method is asked for that has its coverage there."""
    entry, parameter = session.workflow.statements, session.parameters[name]
    value = float(best.theta[0, index(best.parameters, name)])
    low, high = (float(edge[index(best.parameters, name)]) for edge in box(best.parameters))
    nearer, physical = (
        (low, parameter.low) if value - low < high - value else (high, parameter.high)
    )
    method = "neyman" in entry.intervals or entry.limit is not None
    return method and at_end(nearer, physical)
