"""The page of a surrogate: self-contained, escaped, and silent on what was not measured."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hepgen.judgement import Correlations, Distance, Measured, SurrogateJudgement
from hepgen.report.surrogate import judgement_figures, write_surrogate_report
from hepgen.results import Check, TrainingCurve
from tests.plots.test_surrogates import CLOSURE, FEATURE, JUDGED

HOSTILE = """<script>alert(1)</script>'"&{{ 7 * 7 }}"""
BARE = SurrogateJudgement("flow", "exact", 600, (JUDGED,), (FEATURE,))
RHO = np.eye(2)
FULL = replace(
    BARE,
    correlations=Correlations(("a", "b"), RHO, RHO, 0.1 * (1 - RHO)),
    frechet=Distance(Measured(0.01, 0.002), Measured(0.0, 0.001)),
    kernel=Distance(Measured(0.01, 0.002), Measured(0.0, 0.001)),
    nll=Measured(3.1416, 0.01),
    seconds_per_event={"1": 2e-3, "100": 1e-5},
    training_seconds=12.0,
    domain={"m_z": (88.0, 94.0)},
    closure=(CLOSURE,),
    manifest={"process": "zmumu", "seeds": {"simulation": 7}},
)
CURVE = TrainingCurve((2.0, 1.0), (2.0, 1.1), (1e-3, 1e-4), 1, 12.0, "all epochs done")


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds."""
    monkeypatch.setattr("hepgen.report.surrogate.judgement_figures", lambda *_: {})


def page(tmp_path: Path, judgement: SurrogateJudgement, **options: object) -> str:
    return write_surrogate_report(tmp_path / "a" / "r.html", judgement, **options).read_text()  # type: ignore[arg-type]


def test_the_page_needs_no_other_file_and_no_script(tmp_path: Path) -> None:
    html = page(tmp_path, FULL, curve=CURVE, configuration="a = 1")
    assert not re.search(r"<script|<link|url\(|@import|https?:", html)
    assert html.count("data:image/svg+xml;base64,") == len(judgement_figures(FULL, CURVE)) == 6

    for words in (
        "3.142 ± 0.010", "Fréchet", "Kernel", "m_z", "88", "zmumu", "Closure", "NLE", "0.01 ms",
        "2 ms", "12 s", "a = 1", FULL.verdict.split(":")[0],
    ):  # fmt: skip
        assert words in html, words


@pytest.mark.usefixtures("no_figures")
def test_what_was_not_measured_is_not_there(tmp_path: Path) -> None:
    html = page(tmp_path, BARE)
    for words in ("Closure", "Fréchet", "nats", "What it stands for", "<h2>Time", "Configuration"):
        assert words not in html
    assert "No limit was set" in html


@pytest.mark.usefixtures("no_figures")
def test_the_banner_follows_the_checks(tmp_path: Path) -> None:
    good, bad = (Check("C2ST", passed, 0.6, 0.55) for passed in (True, False))
    assert "✓ The one check passed" in page(tmp_path, BARE, checks=[good])
    html = page(tmp_path, BARE, checks=[good, bad])
    assert "✗ 1 of 2 checks failed" in html


def test_nothing_that_is_shown_can_become_markup(tmp_path: Path) -> None:
    hostile = replace(
        FULL, method=HOSTILE, quality=HOSTILE, manifest={HOSTILE: HOSTILE},
        domain={HOSTILE: (0.0, 1.0)}, features=(replace(FEATURE, name=HOSTILE, label=HOSTILE),),
        closure=(replace(CLOSURE, name=HOSTILE, reference=HOSTILE),),
    )  # fmt: skip
    html = page(tmp_path, hostile, title=HOSTILE, remarks=[HOSTILE], configuration=HOSTILE)
    assert "<script" not in html
    assert "49" not in re.sub(r"base64,[^\"]*", "", html)


@pytest.mark.usefixtures("no_figures")
def test_the_same_judgement_makes_the_same_bytes(tmp_path: Path) -> None:
    assert page(tmp_path, FULL, curve=CURVE) == page(tmp_path, FULL, curve=CURVE)
