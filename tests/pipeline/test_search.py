"""A scan along a hypothesis, from the command line to the report, where all is known exactly.

Of x = A θ + noise, θ_0 is the strength and θ_1 what is scanned. The score of θ_0 at two values of
θ_1 differs by a constant: the tests at all values are one test.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from typer.testing import CliRunner

from hepgen.cli import app
from hepgen.compute import Workers
from hepgen.errors import ParameterError, WorkflowError
from hepgen.inference.binned import uncorrelated_background
from hepgen.inference.posterior import PosteriorSample
from hepgen.inference.statistics.asymptotics import expected_root
from hepgen.inference.statistics.limits import upper_limit
from hepgen.io.tables import read
from hepgen.pipeline import search as module
from hepgen.pipeline import spread
from hepgen.pipeline.estimators import beside
from hepgen.pipeline.interest import signal
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.search import _by_place, search
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.results import to_json
from hepgen.search import SearchScan
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.linear_gaussian import LinearGaussian
from hepgen.statements import Limit

TINY = Path(__file__).parent / "tiny.toml"
PLANE = ["chain={depth=1, dimension=2, parameters=2}", "features=[{name='x_0'}, {name='x_1'}]",
         "data.layouts=[{name='simulated', columns={x_0='x_0', x_1='x_1'}}]"]  # fmt: skip
VALUES = [-0.4, 0.0, 0.4]
SCAN = f"statements.scan={{parameter='theta_1', values={VALUES}, events=5000}}"
MODEL = LinearGaussian.standard(1, 2, 2)


def test_what_is_scanned_is_free_for_the_training_and_held_for_all_else() -> None:
    session = Session.open(TINY, [*PLANE, SCAN])
    assert session.parameters.free_names == ("theta_0",)
    free = session.for_training().parameters
    assert free.free_names == ("theta_0", "theta_1")
    assert (free.priors[1].low, free.priors[1].high) == (-0.4, 0.4)
    assert session.for_training().for_training() is session.for_training()
    assert beside(session) == ("nle",)
    assert signal(session) == "theta_0"


@pytest.mark.parametrize(
    ("scan", "error", "words"),
    [("{parameter='mass', values=[1.0, 2.0]}", WorkflowError, "no parameter 'mass'"),
     ("{parameter='theta_1', values=[1.0, 1.0]}", WorkflowError, "each value once"),
     ("{parameter='theta_1', values=[1.0]}", WorkflowError, "values"),
     ("{parameter='noise_scale', values=[-1.0, 2.0]}", ParameterError, "noise_scale")],
)  # fmt: skip
def test_a_scan_that_cannot_be_is_refused(scan: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Session.open(TINY, [*PLANE, f"statements.scan={scan}"])


def test_values_beyond_the_prior_and_a_strength_without_zero_are_refused() -> None:
    prior = "parameters.theta_1={prior={uniform=[-0.2, 0.2]}}"
    with pytest.raises(ParameterError, match=r"-0\.4"):
        Session.open(TINY, [*PLANE, SCAN, prior])
    away = "parameters.theta_0={role='interest', prior={uniform=[0.5, 1.5]}}"
    with pytest.raises(WorkflowError, match=r"theta_0 is from 0\.5"):
        signal(Session.open(TINY, [*PLANE, SCAN, away]))


def test_a_scan_of_all_that_there_is_leaves_no_strength() -> None:
    """Of one free parameter, which is scanned, nothing is left to be tested."""
    with pytest.raises(WorkflowError, match="nothing of interest is left beside what is scanned"):
        signal(Session.open(TINY, ["statements.scan={parameter='theta_0', values=[0.0, 1.0]}"]))


def test_a_warning_is_said_once_with_the_places_where_it_holds() -> None:
    found = [(("best fit: a", "b"), 1.0), (("a",), 1.5), (("c",), 2.0)]
    assert _by_place(found, "limit ") == ["limit at 1, 1.5: a", "limit at 1: b", "limit at 2: c"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    session = Session.open(TINY, PLANE)
    data = Campaign(session.chain, session.parameters, 400, 5, prior=False, fixed={"theta_0": 0.25})
    simulate_to_file(data, folder / "data.root", provenance={}, monitor=Silent())
    return folder


SETTINGS = [
    *PLANE, "calibration.sets=21", "nle.epochs=12", "nle.batch_size=512",
    "simulation.events=80000",
]  # fmt: skip


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    settings = [*SETTINGS, f"folder={str(folder / 'run')!r}"]
    command = [
        "infer", str(TINY), str(folder / "data.root"), "-o", str(folder / "out"), "--quiet",
        "--jobs", "1", "--limit", "--scan", "theta_1=-0.4:0.4:3",
        *(part for one in settings for part in ("--set", one)),
    ]  # fmt: skip
    result = CliRunner().invoke(app, command)
    assert result.exit_code in (0, 3), result.output
    assert "Scan of theta_1, 3 values" in result.output
    report = (folder / "out" / "report.html").read_text()
    assert "No signal along theta_1" in report
    assert "Limits along theta_1" in report
    made: dict[str, Any] = json.loads((folder / "out" / "result.json").read_text())["statements"]
    assert "limits" not in made  # that of the scan takes its place
    scan: dict[str, Any] = made["search"]
    return scan


def test_the_tests_and_limits_are_those_of_the_closed_form(
    folder: Path, found: dict[str, Any]
) -> None:
    x = torch.from_numpy(read(folder / "data.root").read().flat(["x_0", "x_1"]))
    sigma = float(MODEL.information()[0, 0] * len(x)) ** -0.5
    assert found["values"] == pytest.approx(VALUES)
    for k, value in enumerate(VALUES):
        score = MODEL.score(x, torch.tensor([0.0, value]).double())[:, 0].sum()
        best = float(score) * sigma**2
        # So short a training is off by 0.8 σ at the end of the range, and 0.15 σ inside.
        assert found["best"][k] == pytest.approx(best, abs=(1.2 if k == 0 else 0.5) * sigma)
        root = max(found["best"][k], 0.0) / sigma
        assert found["statistic"][k] ** 0.5 == pytest.approx(root, abs=0.3)
        limit = found["limits"][k]
        assert limit["at"] == pytest.approx(value)
        assert limit["expected"][2] == pytest.approx(1.96 * sigma, rel=0.15)


def test_what_is_seen_in_events_without_a_signal_is_how_far_the_tests_are_off(
    folder: Path, found: dict[str, Any]
) -> None:
    """The learned best fit less the exact one, in its errors, is what nothing is seen as.

    Events without a signal are simulated at θ_1 = 0, and here θ_1 moves them: the mean score of
    those is that of their mean. They are other events than the data, where learned slopes differ.
    """
    x = torch.from_numpy(read(folder / "data.root").read().flat(["x_0", "x_1"]))
    sigma = float(MODEL.information()[0, 0] * len(x)) ** -0.5
    mean = MODEL.marginal(torch.zeros(2).double()).mean[None]
    assert found["nothing_error"] == pytest.approx((len(x) / 50_000) ** 0.5)
    for k, value in enumerate(VALUES):
        there = torch.tensor([0.0, value]).double()
        exact = float(MODEL.score(x, there)[:, 0].sum()) * sigma**2
        moved = float(MODEL.score(mean, there)[0, 0]) * len(x) * sigma
        off = (found["best"][k] - exact) / sigma
        assert found["nothing"][k] - moved == pytest.approx(off, abs=0.5)


SEEN = SearchScan(
    "mu", "m", np.arange(3.0), np.zeros(3), np.full(3, 0.5), np.zeros(3), (), 0.5, 0.0, "toys", 1,
    nothing=np.array([0.4, -2.0, 0.1]),
)  # fmt: skip


@pytest.mark.parametrize(("error", "passes"), [(0.1, False), (0.55, False), (0.6, True)])
def test_a_signal_in_nothing_fails_beyond_its_errors(error: float, passes: bool) -> None:
    check = module._nothing_check(replace(SEEN, nothing_error=error), 0.5)
    assert check.passed == passes
    assert "m = 1" in check.meaning


def test_a_band_of_no_parabola_is_warned_of() -> None:
    """σ is the same for the five limits of a Gaussian; ten events on a known background bend it."""
    roots = expected_root(0.05)
    good = Limit("mu", 0.95, 1.0, 0.3 * roots, "CLs asymptotics", at=7.0)
    assert module._parabola(good) == ""
    few = uncorrelated_background([5], [10], [1e-3])
    assert module._parabola(upper_limit(few, few.observed([10]), "mu", points=2).limit) == ""
    bent = replace(good, expected=0.3 * roots * np.linspace(1.0, 2.5, 5))
    assert "limit at 7" in module._parabola(bent)
    assert not module._check(replace(SEEN, warnings=(module._parabola(bent),))).passed


def test_a_scan_simulates_for_one_training_alone(folder: Path, found: dict[str, Any]) -> None:
    """What the data are compared with is what the estimator of all values has learned from."""
    assert found["along"] == "theta_1"
    assert len(list((folder / "run").glob("events-*"))) == 1


def test_tests_that_are_one_have_one_p_value(found: dict[str, Any]) -> None:
    q = max(found["statistic"])
    assert min(found["p_value"]) == pytest.approx(norm.sf(np.sqrt(q)), rel=1e-3)
    # Learned scores are not quite constant apart: a few more trials than one.
    assert 0.8 * min(found["p_value"]) < found["global_p_value"] + 3 * found["global_error"]
    assert found["global_p_value"] < 2 * min(found["p_value"]) + 5 * found["global_error"]


@pytest.mark.usefixtures("found")
def test_a_scan_is_the_same_whoever_makes_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit by bit that of the command line, in one process, with all but the first by workers."""
    monkeypatch.setattr(spread, "_WORTH_WORKERS", 0.0)
    limit = "statements.limit='asymptotics'"
    session = Session.open(
        TINY, [*SETTINGS, SCAN.replace(", events=5000", ""), limit, f"folder='{folder / 'run'}'"],
        Workers(2),
    )  # fmt: skip
    x = torch.from_numpy(read(folder / "data.root").read().flat(["x_0", "x_1"]))
    sample = PosteriorSample(torch.zeros(2, 1).double(), ("theta_0",), "nle", (2.0,))
    scan, checks = search(session, x, None, {"nle": sample}, "nle")
    assert (
        json.loads(to_json(scan))
        == json.loads((folder / "out" / "result.json").read_text())["statements"]["search"]
    )
    assert [check.name for check in checks] == ["scan: theta_1", "scan: nothing along theta_1"]
