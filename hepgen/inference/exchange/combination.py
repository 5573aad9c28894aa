"""Two workspaces as one: their channels side by side, parameters of one name shared."""

from __future__ import annotations

from dataclasses import asdict

from hepgen.errors import DataError, ParameterError
from hepgen.inference.exchange.pyhf_workspace import PyhfWorkspace, pyhf_module


def combine_workspaces(left: PyhfWorkspace, right: PyhfWorkspace) -> PyhfWorkspace:
    """The product of two likelihoods, with each constraint once (``pyhf.Workspace.combine``).

    A parameter of one name is one parameter, so it must mean the same in both: the same centre
    and unit, bounds and constraint.

    Raises:
        ParameterError: A parameter that does not, or another parameter of interest.
        DataError: A channel of one name in both.
    """
    for name in left.entries.keys() & right.entries.keys():
        one, other = asdict(left.entries[name]), asdict(right.entries[name])
        odd = [key for key in one if one[key] != other[key]]
        if odd:
            words = ", ".join(f"{key} {one[key]} and {other[key]}" for key in odd)
            raise ParameterError(
                f"parameter {name!r} is written in two ways: {words}; fill both around one point, "
                "or rename it in one of them"
            )
    names = [{c["name"] for c in w.spec["channels"]} for w in (left, right)]
    if both := sorted(names[0] & names[1]):
        raise DataError(f"channels {', '.join(both)} are in both workspaces; rename them in one")
    pois = {w.spec["measurements"][0]["config"]["poi"] for w in (left, right)}
    if len(pois) > 1:
        raise ParameterError(
            f"parameters of interest {' and '.join(sorted(pois))}; expected the same in both"
        )
    pyhf = pyhf_module()
    specs = (pyhf.Workspace(w.spec) for w in (left, right))
    combined = pyhf.Workspace.combine(*specs, join="outer")
    return PyhfWorkspace(dict(combined), {**left.entries, **right.entries})
