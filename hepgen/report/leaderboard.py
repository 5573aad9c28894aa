"""The page of several surrogates of the same events, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hepgen import __version__
from hepgen.files import write_atomically
from hepgen.judgement import Rank
from hepgen.report.page import template
from hepgen.surrogates.families import FAMILIES


def write_leaderboard(path: Path, lines: Sequence[Rank], *, title: str) -> Path:
    """Write one HTML file that needs no other file, no script and no network.

    It links to the page of each surrogate, ``METHOD/report.html`` beside it.

    Returns:
        The path.
    """
    judged = [line.judgement for line in lines if line.judgement is not None]
    page: str = template("leaderboard.html").render(
        title=title,
        lines=lines,
        titles={name: family.title for name, family in FAMILIES.items()},
        first=judged[0] if judged else None,
        batches=sorted({int(b) for one in judged for b in one.seconds_per_event}),
        version=__version__,
    )
    write_atomically(path, page.encode("utf-8"))
    return path
