from __future__ import annotations

import base64
import errno
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from hepgen.errors import FileError
from hepgen.pipeline.session import Session
from hepgen.report.inference import render_report, write_report
from hepgen.report.symbols import symbol
from hepgen.results import (
    Calibration,
    Check,
    InferenceResult,
    ParameterEstimate,
    TrainingCurve,
)

HOSTILE = """<script>alert(1)</script><img src=x onerror="alert(1)">'"&{{ 7 * 7 }}{% raw %}$<b>$"""

MASS = ParameterEstimate(
    "interest", "GeV", 90.9137, 0.2131, 90.911, (90.702, 91.127), (90.49, 91.34), 1.003, 2310.0
)
SCALE = ParameterEstimate(
    "nuisance", "", 0.00031, 0.00184, 0.0003, (-0.0015, 0.0021), (-0.0034, 0.0038)
)
PASSED = Check("sampler: R-hat", True, 1.003, 1.01, "1 where the chains agree.")
FAILED = Check("support: Dimuon_mass", False, 0.0003, 0.01, "p-value of the data.")


@pytest.fixture
def result() -> InferenceResult:
    return InferenceResult(
        "nle",
        501,
        {"m_z": MASS, "scale": SCALE},
        [PASSED],
        {"git": "7003041", "seeds": {"simulate": 7}, "data": {"files": ["a.root", "b.root"]}},
        {"all": 2304, "opposite charge": 576, "mass window": 501},
    )


@pytest.fixture
def figure() -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1], [0, 1])
    figure.set_label("What the figure shows.")
    return figure


class _Page(HTMLParser):
    """The tags and the words of a page; refuses tags that are not closed in order."""

    VOID = {"meta", "img", "br"}  # noqa: RUF012 (a constant)

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words += " " + data.strip()

    @property
    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


def test_the_page_needs_no_other_file_no_script_and_no_network(
    result: InferenceResult, figure: Figure
) -> None:
    html = render_report(result, {"One": figure, "Two": figure}, configuration="a = 1")
    page = _Page(html)
    assert page.names.isdisjoint({"script", "link", "iframe", "object", "base"})
    sources = [attrs["src"] or "" for tag, attrs in page.tags if tag == "img"]
    assert len(sources) == 2
    for source in sources:
        assert source.startswith("data:image/svg+xml;base64,")
        assert b"<svg" in base64.b64decode(source.split(",", 1)[1])
    assert not re.search(r"url\(|@import|https?:", html)


def test_nothing_that_is_shown_can_become_markup(figure: Figure) -> None:
    estimate = replace(MASS, unit=HOSTILE)
    check = Check(HOSTILE, False, 0.1, 0.2, HOSTILE)
    curve = TrainingCurve((1.0,), (1.0,), (1e-3,), 0, 1.0, HOSTILE)
    numbers = np.zeros((3, 1))
    ranks = np.full((3, 1), 0.5)
    calibration = Calibration(
        HOSTILE, HOSTILE, (HOSTILE,), np.full(3, 9), numbers, numbers, numbers + 1, ranks
    )
    result = InferenceResult(
        HOSTILE, 5, {HOSTILE: estimate, "b": MASS}, [check],
        {HOSTILE: HOSTILE, "group": {HOSTILE: [HOSTILE]}}, {HOSTILE: 7},
    )  # fmt: skip
    figure.set_label(HOSTILE)
    html = render_report(
        result, {HOSTILE: figure, "Two": figure}, title=HOSTILE, curves={HOSTILE: curve},
        calibrations=[calibration], configuration=HOSTILE, remarks=[HOSTILE],
        labels={HOSTILE: HOSTILE, "b": f"${HOSTILE}$"},
    )  # fmt: skip
    page = _Page(html)
    assert "script" not in page.names
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert all((a["src"] or "").startswith("data:") for tag, a in page.tags if tag == "img")
    assert page.words.count("<script>alert(1)</script>") >= 15
    assert "{{ 7 * 7 }}" in page.words


def test_a_valid_result_has_a_green_banner_and_its_number(result: InferenceResult) -> None:
    html = render_report(result, {}, labels={"m_z": "$m_Z$"})
    words = _Page(html).words
    assert '<section class="banner good"' in html
    assert "The one check passed." in words
    assert "<i>m</i><sub><i>Z</i></sub> = 90.91 ± 0.21 GeV" in html
    assert "[90.70, 91.13]" in words
    assert "quote" not in words


def test_a_failed_check_is_named_with_its_number_above_everything(
    result: InferenceResult,
) -> None:
    html = render_report(replace(result, checks=[PASSED, FAILED]), {})
    words = _Page(html).words
    banner = words[: words.index("m_z = 90.91")]
    assert "1 of 2 checks failed: do not quote this result." in banner
    assert "support: Dimuon_mass: 0.0003, required ≥ 0.01" in banner
    assert "sampler" not in banner
    assert '<section class="banner bad"' in html


def test_a_result_that_was_not_checked_does_not_look_valid(result: InferenceResult) -> None:
    html = render_report(replace(result, checks=[]), {})
    assert 'class="banner open"' in html
    assert "No check was made" in html


def test_every_check_and_parameter_is_listed(result: InferenceResult) -> None:
    words = _Page(render_report(result, {})).words
    for expected in ("1.003", "≤ 1.01", "1 where the chains agree.", "−0.0015", "2\u202f310"):
        assert expected in words


def test_numbers_that_do_not_exist_are_dashes(result: InferenceResult) -> None:
    nan = float("nan")
    estimate = replace(SCALE, std=nan, mean=nan, interval68=(nan, nan), r_hat=nan)
    check = replace(PASSED, value=nan)
    words = _Page(render_report(replace(result, parameters={"a": estimate}, checks=[check]), {}))
    assert re.search(r"\b(nan|inf)\b", words.words) is None
    assert "[—, —]" in words.words


@pytest.mark.parametrize(
    ("value", "threshold", "passed", "required"),
    [(0.4, 0.01, True, "≥ 0.01"), (0.001, 0.01, False, "≥ 0.01"), (1.2, 1.01, False, "≤ 1.01"),
     (1.0, 1.01, True, "≤ 1.01"), (0.0, 0.0, True, "0")],
)  # fmt: skip
def test_the_requirement_follows_from_how_the_check_ended(
    result: InferenceResult, value: float, threshold: float, passed: bool, required: str
) -> None:
    check = Check("one", passed, value, threshold)
    page = render_report(replace(result, checks=[check]), {})
    assert f'<td class="num">{required}</td>' in page


def test_the_cut_flow_has_fractions(result: InferenceResult) -> None:
    words = _Page(render_report(result, {})).words
    assert "2\u202f304 100.0 % 100.0 %" in words
    assert "576 25.0 % 25.0 %" in words
    assert "501 87.0 % 21.7 %" in words


def test_an_empty_cut_flow_divides_nothing_by_zero(result: InferenceResult) -> None:
    words = _Page(render_report(replace(result, selection={"all": 0, "cut": 0}), {})).words
    assert "cut 0 — —" in words


def test_figures_have_their_caption_and_their_size(result: InferenceResult, figure: Figure) -> None:
    wide = Figure(figsize=(10, 5))
    page = render_report(result, {"Lead": figure, "Wide": wide})
    assert "<b>Lead.</b> What the figure shows." in page
    assert 'width="192" height="96" alt="Lead"' in page
    assert page.count('<figure class="wide">') == 1


def test_provenance_configuration_training_and_calibration_are_shown(
    result: InferenceResult,
) -> None:
    curve = TrainingCurve((2.0, 1.5), (2.1, 1.75), (1e-3, 1e-4), 1, 83.2, "patience")
    rank = np.array([[0.05], [0.4], [0.5], [0.6]])
    pull = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    calibration = Calibration(
        "npe", "pythia", ("m_z",), np.array([100, 200, 300, 10_000]), np.zeros((4, 1)), pull,
        np.ones((4, 1)), rank,
    )  # fmt: skip
    html = render_report(
        result,
        {},
        curves={"NLE": curve},
        calibrations=[calibration],
        configuration="[data]\ntree = 'events'",
        remarks=["World average: 91.19"],
    )
    words = " ".join(_Page(html).words.split())
    expected = [
        "Seeds simulate 7", "files a.root, b.root", "tree = 'events'", "World average: 91.19",
        "2 2 1.500 1.750 83 s patience", "100 to 10 000", "0.750 ± 0.217", "0.00 ± 0.58",
        "1.15 ± 0.47",
    ]  # fmt: skip
    assert [one for one in expected if one not in words] == []


def test_the_same_arguments_make_the_same_bytes(
    result: InferenceResult, figure: Figure, tmp_path: Path
) -> None:
    one = write_report(tmp_path / "one.html", result, {"One": figure})
    two = write_report(tmp_path / "new" / "two.html", result, {"One": figure})
    assert one.read_bytes() == two.read_bytes()


def test_a_full_disk_leaves_the_old_report_and_no_litter(
    result: InferenceResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"report\.html: No space left on device"):
        write_report(target, result, {})
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_cannot_be_made_is_named(result: InferenceResult, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write"):
        write_report(tmp_path / "file" / "report.html", result, {})


@pytest.mark.parametrize(
    ("label", "html"),
    [
        ("m_z", "m_z"),
        ("$m_Z$ [GeV]", "<i>m</i><sub><i>Z</i></sub> [GeV]"),
        (r"$\Lambda^{2}$", "<i>Λ</i><sup>2</sup>"),
        (r"$p_\mathrm{T}^{\mu\mu}$", "<i>p</i><sub>T</sub><sup><i>μ</i><i>μ</i></sup>"),
        (r"$\sigma_{p_T}$", "<i>σ</i><sub><i>p</i><sub><i>T</i></sub></sub>"),
        (r"$\unknown{x}$", "unknown<i>x</i>"),
        (r"$\langle\eta\rangle$", "⟨<i>η</i>⟩"),
        (r"$\cos\theta$", "cos<i>θ</i>"),
        (r"$c_\mathcal{O}$", "<i>c</i><sub><i>O</i></sub>"),
        (r"$E_\sqrt{s}$", "<i>E</i><sub>√<i>s</i></sub>"),
        (r"$\sqrt{s + 1}$", "√(<i>s</i> + 1)"),
        (r"$\hat{\mu}$", "<i>μ</i>\u0302"),
        (r"$\left. x \right)$", " <i>x</i> )"),
        ("$a_$", "<i>a</i><sub></sub>"),
        ("$x_{y$", "<i>x</i><sub><i>y</i></sub>"),
        ("$1 < 2$", "1 &lt; 2"),
        ("costs $5", "costs $5"),
    ],
)
def test_labels_become_html(label: str, html: str) -> None:
    assert symbol(label) == html


WORKFLOWS = sorted(Path(__file__).parents[2].glob("workflows/*.toml"))
FUNCTIONS = {"cos", "log", "max", "sin", "tanh", "ln"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_label_of_a_workflow_is_known(path: Path) -> None:
    """What is in upright letters is a function, or was asked to be upright."""
    session = Session.open(path, allow_code=True)
    labels = [label for _, label in session.chain.observables.values()]
    labels += [one.label for one in (*session.features, *session.parameters)]
    for label in labels:
        commands = set(re.findall(r"\\([A-Za-z]{3,})", re.sub(r"\\mathrm\{\w*\}", "", label)))
        shown = re.sub("<[^>]*>", "", symbol(label))
        assert not {c for c in commands - FUNCTIONS if c in shown}, label


def test_a_warning_is_said_and_spoils_nothing(result: InferenceResult, figure: Figure) -> None:
    warned = replace(PASSED, name="fit: bounds", warning=True, meaning="a slope is at its bound")
    page = render_report(replace(result, checks=[PASSED, warned]), {"One": figure})
    assert "All 2 checks passed, 1 with a warning." in page
    assert "fit: bounds: a slope is at its bound" in page
    assert "! warning" in page
    assert "do not quote" not in page
