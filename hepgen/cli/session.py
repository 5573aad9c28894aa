"""From options to a session, and from a result to the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hepgen.errors import InputError

if TYPE_CHECKING:
    from hepgen.compute import Workers
    from hepgen.pipeline.session import Session


def open_session(
    workflow: Path,
    overrides: list[str] | None,
    workers: Workers,
    quiet: bool,
    device: str = "auto",
    allow_code: bool = False,
) -> Session:
    """The session of a workflow, with the options that all commands on one have."""
    from hepgen.pipeline.progress import monitor
    from hepgen.pipeline.session import Session

    return Session.open(workflow, overrides or [], workers, monitor(quiet), device, allow_code)


def workers_of(jobs: int, dask: str | None, timeout: float | None) -> Workers:
    """Who computes, as ``--jobs``, ``--dask`` and ``--timeout`` ask for.

    Raises:
        InputError: A negative number.
    """
    from hepgen.compute import Workers, cores

    if jobs < 0:
        raise InputError(f"--jobs {jobs}: expected 0 (one for each core) or more")
    return Workers(jobs or cores(), dask, timeout)


def statement_entries(
    workflow: Path,
    overrides: list[str] | None,
    poi: list[str] | None,
    intervals: list[str] | None,
    profile: bool,
    asimov: bool,
    toys: int | None,
    limit: bool,
    more: bool = False,
    combined: bool = False,
) -> list[str]:
    """The options as entries of ``[statements]``, with those of the workflow.

    Arguments:
        workflow: The file; where ``combined``, that of a combination.
        overrides, poi, intervals, profile, asimov, toys, limit, combined: The options.
        more: Whether other options state something of the parameters, too.

    Raises:
        InputError: An option that nothing would come of.
    """
    from hepgen.config import load, load_combination

    known = ("posterior", "profile", "neyman")
    for name in intervals or ():
        if name not in known:
            raise InputError(f"--interval {name!r}: expected one of {', '.join(known)}")
    if not (poi or intervals or profile or asimov or limit or toys is not None):
        return []
    entry = (load_combination if combined else load)(workflow, overrides or []).statements
    chosen = list(intervals or entry.intervals)
    chosen += ["profile"] if profile and "profile" not in chosen else []
    limits = limit or entry.limit is not None
    if toys is not None and "neyman" not in chosen and not limits:
        raise InputError(f"--toys {toys}: nothing asks for toys; add --interval neyman or --limit")
    if poi and chosen == ["posterior"] and not (asimov or entry.asimov or limits or more):
        raise InputError(
            f"--poi {' '.join(poi)}: nothing is stated but the posterior, which has all of them; "
            "add --profile, --interval neyman, --asimov, --limit, --scan, --fisher or --export"
        )
    asked = [f"statements.intervals={json.dumps(chosen)}"]
    asked += [f"statements.parameters={json.dumps(poi)}"] if poi else []
    asked += ["statements.asimov=true"] if asimov else []
    asked += [f"statements.toys={toys}"] if toys is not None else []
    if limit:
        how = "toys" if toys is not None else entry.limit or "asymptotics"
        asked.append(f"statements.limit={how}")
    return asked


def check_line(check: Any) -> str:
    """A check as a line of the terminal."""
    mark = "passed" if check.passed else "FAILED"
    return f"  {mark}  {check.name}: {check.value:.4g} (threshold {check.threshold:.4g})"


def print_result(facts: Any, words: str, as_json: bool) -> None:
    """A result on standard output: as JSON, or in words."""
    from hepgen.results import to_json

    print(to_json(facts) if as_json else words)
