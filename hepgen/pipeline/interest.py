"""Of which parameters something is stated, checked before anything is trained."""

from __future__ import annotations

from hepgen.errors import WorkflowError, nearest
from hepgen.inference.statistics.fit import box, index
from hepgen.parameters import Normal
from hepgen.pipeline.analysis import Analysis


def interest(session: Analysis) -> tuple[str, ...]:
    """The parameters that statements are made on.

    Raises:
        WorkflowError: One is not free.
    """
    free = session.parameters.free_names
    chosen = tuple(session.workflow.statements.parameters or session.parameters.interest)
    for name in chosen:
        if name not in free:
            raise WorkflowError(
                f"statements.parameters: {name!r} is no free parameter; {nearest(name, free)}"
            )
    return chosen


def limited(session: Analysis) -> tuple[str, ...]:
    """Those that an upper limit is made on: where 0, no signal, is in the range.

    Raises:
        WorkflowError: A limit is asked for, and there is none; or one that was named is not one.
    """
    entry = session.workflow.statements
    if entry.limit is None or entry.scan is not None:
        return ()
    return _with_zero(session)


def signal(session: Analysis) -> str:
    """The one parameter that is zero without the signal that is scanned for.

    Raises:
        WorkflowError: There is none, or several.
    """
    if not interest(session):
        raise WorkflowError(
            "statements.scan: nothing of interest is left beside what is scanned; expected a free "
            "parameter with role = 'interest' that is zero without the signal, its strength"
        )
    found = _with_zero(session)
    if len(found) != 1:
        raise WorkflowError(
            f"statements.scan: {', '.join(found)} may all be zero; name one (--poi), the strength "
            "of the signal"
        )
    return found[0]


def _with_zero(session: Analysis) -> tuple[str, ...]:
    low, high = box(session.parameters)
    priors = dict(zip(session.parameters.free_names, session.parameters.priors, strict=True))
    names = interest(session)
    found = [
        n for n in names
        if not isinstance(priors[n], Normal)
        and low[i := index(session.parameters, n)] <= 0 < high[i]
    ]  # fmt: skip
    asked = names if session.workflow.statements.parameters else ()
    missing = [name for name in asked if name not in found] or ([] if found else list(names))
    if missing:
        first = missing[0]
        i = index(session.parameters, first)
        reason = (
            f"has a constraint, {priors[first]}, by which it is known without these data"
            if isinstance(priors[first], Normal)
            else f"is from {low[i].item():g} to {high[i].item():g}"
        )
        raise WorkflowError(
            f"a limit on {', '.join(missing)}: an upper limit is on what may be zero, such as a "
            f"signal strength, and {first} {reason}; name another parameter (--poi), or ask for "
            "--interval"
        )
    return tuple(found)
