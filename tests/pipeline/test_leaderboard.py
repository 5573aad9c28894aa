"""The table of several families: its order, its pages, and what becomes of one that fails."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hepgen.cli import app
from hepgen.errors import InputError, SurrogateError
from hepgen.judgement import Measured, Rank, SurrogateJudgement
from hepgen.pipeline import leaderboard as module
from hepgen.pipeline.leaderboard import leaderboard, methods_of, table
from hepgen.pipeline.session import Session
from hepgen.results import Check
from hepgen.surrogates.families import FAMILIES
from tests.plots.test_surrogates import CLOSURE, FEATURE, JUDGED

BARE = SurrogateJudgement("flow", "exact", 600, (JUDGED,), (FEATURE,))
FOUND = {
    "vae": replace(BARE, method="vae", quality="bound", nll=Measured(1.5, 0.01)),
    "flow": replace(
        BARE, nll=Measured(1.2, 0.01), closure=(CLOSURE,), training_seconds=12.0,
        seconds_per_event={"1": 2e-3, "10000": 1e-5},
    ),
    "distilled": replace(BARE, method="distilled", quality="none"),
}  # fmt: skip


def test_options_are_of_the_family_that_the_workflow_names() -> None:
    """And of a student, whose teacher that is; the others have their defaults."""
    options = "surrogate.options={hidden=8}"
    session = Session.open(
        Path(__file__).parent / "tiny.toml", ["surrogate.method=diffusion", options]
    )
    for method, own in (("diffusion", {"hidden": 8}), ("distilled", {"hidden": 8}), ("vae", {})):
        assert module._own(session, method).workflow.surrogate.options == own


def test_families_are_named_one_by_one_or_all() -> None:
    assert methods_of("flow") == ["flow"]
    assert methods_of("flow, vae,flow") == ["flow", "vae"]
    assert methods_of("all") == list(FAMILIES)
    with pytest.raises(SurrogateError, match="did you mean 'flow'"):
        methods_of("vae,flwo")
    with pytest.raises(InputError, match="expected a family"):
        methods_of(",")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Rank], list[Check], Path]:
    """Of families whose judgements are known; ``cnf`` fails."""
    calls: list[Any] = []

    def judged(_: Session, method: str, known: Any, against: Any) -> Any:
        calls.append((known, against))
        if method == "cnf":
            raise SurrogateError("too <few> events")
        return FOUND[method], [Check(method, passed=True, value=0, threshold=1, meaning="")], None

    def nothing(_: Session) -> None:
        raise SurrogateError("no templates")

    monkeypatch.setattr(module, "validate_surrogate", judged)
    monkeypatch.setattr(module, "references", nothing)
    monkeypatch.setattr(module, "exported", lambda *_: "sampler")
    small = Path(__file__).parent / "small.toml"
    session = Session.open(small, [f"folder={str(tmp_path)!r}", 'title="<b>toy</b>"'])
    found = leaderboard(session, ["distilled", "cnf", "vae", "flow"])
    assert [known and known.method for known, _ in calls] == [None, "distilled", "distilled", "vae"]
    return found


def test_the_best_density_is_first_and_what_failed_last(
    board: tuple[list[Rank], list[Check], Path],
) -> None:
    ranks, checks, page = board
    assert [one.method for one in ranks] == ["flow", "vae", "distilled", "cnf"]
    assert [check.name for check in checks] == ["distilled", "vae", "flow"]
    read = json.loads((page.parent / "leaderboard.json").read_text())
    assert read[0]["judgement"]["nll"]["value"] == 1.2
    html = page.read_text()
    assert html.index("flow/report.html") < html.index("vae/report.html")
    assert "too &lt;few&gt; events" in html
    assert "<b>toy" not in html
    assert not re.search(r"<script|<link|url\(|@import|https?:", html)


def test_the_table_fits_a_terminal(board: tuple[list[Rank], list[Check], Path]) -> None:
    lines = table(board[0]).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[:2] == ["flow", "1.2000"]
    assert f"{CLOSURE.excess:.2f} σ" in lines[1]
    assert "–" in lines[3]
    assert lines[4].endswith("too <few> events")


@pytest.mark.parametrize(("methods", "code"), [("cnf,cnf2", 2), ("cnf,flow", 3), ("vae,flow", 0)])
def test_the_exit_code_says_whether_families_failed(
    methods: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all that fail that of the first; else, of some, as if a check had failed."""

    def ranked(_: Session, names: list[str]) -> Any:
        ranks = [
            Rank(n, failed="too few", exit_code=2) if "cnf" in n else Rank(n, FOUND[n])
            for n in names
        ]
        return ranks, [], Path("leaderboard.html")

    monkeypatch.setattr(module, "leaderboard", ranked)
    monkeypatch.setattr(module, "methods_of", lambda words: words.split(","))
    workflow = str(Path(__file__).parent / "small.toml")
    result = CliRunner().invoke(app, ["validate", workflow, "--method", methods, "--quiet"])
    assert result.exit_code == code, result.output
