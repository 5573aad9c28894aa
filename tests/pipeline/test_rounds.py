"""Rounds: the posterior of the closed form, from where it is simulated, and what is refused.

Of 400 events x = θ + noise the posterior under a wide prior is N(x̄, σ²/400).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from hepgen.cli import app
from hepgen.errors import WorkflowError
from hepgen.inference.posterior import PosteriorSample
from hepgen.io.tables import read
from hepgen.pipeline.estimators import estimator
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.posteriors import posterior_samples
from hepgen.pipeline.rounds import Rounds, in_rounds, refuse, round_checks
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.pipeline.training_data import training_events
from hepgen.pipeline.validate import validate
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.linear_gaussian import LinearGaussian

TINY = Path(__file__).parent / "tiny.toml"
MODEL = LinearGaussian.standard(1, 1, 1)
TRUTH, EVENTS = 2.3, 400
WIDE = [
    "parameters.theta_0={role='interest', prior={uniform=[-300.0, 300.0]}}",
    "simulation.events=60000", "nle.epochs=12", "nle.batch_size=1024", "nle.components=3",
    "nle.hidden=[32, 32]", "inference.beside=[]", "inference.draws=300",
]  # fmt: skip


def opened(folder: Path, rounds: int, *more: str) -> Session:
    settings = [*WIDE, f"inference.rounds={rounds}", f"folder='{folder}'", *more]
    return Session.open(TINY, settings)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rounds") / "data.root"
    session = opened(path.parent / "unused", 1)
    campaign = Campaign(
        session.chain, session.parameters, EVENTS, 5, prior=False, fixed={"theta_0": TRUTH}
    )
    simulate_to_file(campaign, path, provenance={}, monitor=Silent())
    return path


@pytest.fixture(scope="module")
def x(data: Path) -> Tensor:
    return torch.from_numpy(read(data).read().flat(["x_0"])).double()


def exact(x: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of the posterior."""
    information = float(MODEL.information()[0, 0]) * len(x)
    score = MODEL.score(x, torch.zeros(1, dtype=torch.float64))[:, 0].sum().item()
    return score / information, information**-0.5


def divergence(draws: Tensor, x: Tensor) -> float:
    """KL of a Gaussian with the moments of the draws from the exact posterior, in nats."""
    mean, sigma = exact(x)
    pull, width = (draws.mean().item() - mean) / sigma, draws.std().item() / sigma
    return 0.5 * (width**2 + pull**2 - 1) - float(torch.tensor(width).log())


@pytest.mark.slow
def test_rounds_find_the_closed_form_and_one_round_of_the_same_budget_does_not(
    x: Tensor, tmp_path: Path
) -> None:
    """The prior is 14,000 standard deviations wide.

    In the last round 20,000 events at least are within a few hundredths of the data's θ: the mean
    is off by √(400/20,000) = 0.14 σ by their number, and 1 σ would be 7 of these (a false alarm in
    10⁻¹¹); the rest is for what a short training leaves.
    """
    session = opened(tmp_path / "three", 3)
    last, rounds = in_rounds(session, x, None, "nle")
    sample = posterior_samples(last, x, None, "nle", ["nle"])["nle"]
    draws, (mean, sigma) = sample.theta[:, 0], exact(x)
    assert draws.mean().item() == pytest.approx(mean, abs=sigma)
    assert 0.75 < draws.std().item() / sigma < 1.35
    assert rounds is not None
    first, *narrower = rounds.regions
    assert first == {}
    widths = [600.0] + [r["theta_0"][1] - r["theta_0"][0] for r in narrower]
    assert widths == sorted(widths, reverse=True)
    assert all(r["theta_0"][0] < mean < r["theta_0"][1] for r in narrower)
    assert [check.passed for check in round_checks(session, rounds, sample)] == [True]
    alone = opened(tmp_path / "one", 1)
    single = posterior_samples(alone, x, None, "nle", ["nle"])["nle"].theta[:, 0]
    assert sum(rounds.generated) == 60_000 == estimator("nle").campaigns(alone)[0].events
    assert divergence(draws, x) < 0.2 * divergence(single, x)


def test_each_round_simulates_other_events_in_its_region_and_keeps_earlier_ones(
    tmp_path: Path,
) -> None:
    """40,000 in all, a third over the prior from −1.5 to 1.5, of which one in three is inside."""
    first = opened(tmp_path, 3, "parameters.theta_0.prior={uniform=[-1.5, 1.5]}",
                   "simulation.events=40000")  # fmt: skip
    second = first.narrowed({"theta_0": (-0.5, 0.5)})
    third = second.narrowed({"theta_0": (-0.5, 0.5)})
    assert [s.round for s in (first, second, third)] == [1, 2, 3]
    assert [s.folder.path.name for s in (second, third)] == ["round-2", "round-3"]
    counts = [c.events for c in estimator("nle").campaigns(third)]
    assert counts == [13_333, 13_333, 13_334]
    one, two, all_of_them = (training_events(s).theta[:, 0] for s in (first, second, third))
    assert len(one) == 13_333
    assert bool((all_of_them.abs() <= 0.5).all())
    inside = int((one.abs() <= 0.5).sum())
    assert len(two) == inside + 13_333
    assert len(all_of_them) == inside + 13_333 + 13_334
    # The same region and the same seed, and yet no θ twice: 128 events share one.
    assert len(set(all_of_them.tolist())) == len(set(two.tolist())) + -(-13_334 // 128)


def test_a_region_that_cuts_the_posterior_fails_its_check(tmp_path: Path) -> None:
    session = opened(tmp_path, 2)
    generator = torch.Generator().manual_seed(3)
    draws = torch.randn(4000, 1, generator=generator, dtype=torch.float64)
    sample = PosteriorSample(draws, ("theta_0",), "nle", (4000.0,))
    rounds = Rounds("nle", ({}, {"theta_0": (-4.0, 4.0)}), (1, 1), {"theta_0": 8 / 600})
    assert [check.passed for check in round_checks(session, rounds, sample)] == [True]
    cut = replace(rounds, regions=({}, {"theta_0": (-4.0, 1.5)}))
    inside = replace(sample, theta=draws[draws[:, 0] < 1.5])
    (check,) = round_checks(session, cut, inside)
    assert not check.passed
    # An end of the prior itself cuts nothing.
    end = replace(rounds, regions=({}, {"theta_0": (-300.0, 300.0)}))
    assert [check.value for check in round_checks(session, end, sample)] == [0.0]


@pytest.mark.parametrize(
    ("more", "method", "words"),
    [(["simulation.files=['a.root']"], "nle", "simulation.files"),
     (["statements.limit='asymptotics'"], "nle", "without a signal"),
     (["statements.intervals=['neyman']"], "nle", "Neyman"),
     (["exchange.formats=['pyhf']"], "nle", "exported"),
     (["inference.beside=['npe']"], "nle", "simulations of its own"),
     (["parameters.theta_0={role='interest', prior={normal=[0.0, 1.0]}}"], "nle", "Gaussian"),
     ([], "sally", "joint scores"), ([], "classifier", "reference")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, more: list[str], method: str, words: str
) -> None:
    with pytest.raises(WorkflowError, match=words):
        refuse(opened(tmp_path, 2, *more), method)


def test_a_calibration_over_the_whole_prior_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match="one data set"):
        validate(opened(tmp_path, 2))


@pytest.mark.slow
def test_the_command_line_makes_rounds_and_resumes_them(data: Path, tmp_path: Path) -> None:
    few = ["simulation.events=30000", "nle.epochs=4", "parameters.theta_0.prior={uniform=[-9, 9]}",
           f"folder={str(tmp_path / 'run')!r}"]  # fmt: skip
    command = [
        "infer", str(TINY), str(data), "-o", str(tmp_path / "out"), "--rounds", "2", "--quiet",
        *(part for one in [*WIDE, *few] for part in ("--set", one)),
    ]  # fmt: skip
    first = CliRunner().invoke(app, command)
    assert first.exit_code in (0, 3), first.output
    result: dict[str, Any] = json.loads((tmp_path / "out" / "result.json").read_text())
    steps = result["statements"]["rounds"]["rounds"]
    assert [step["events"] for step in steps] == [15_000, 15_000]
    low, high = steps[1]["region"]["theta_0"]
    assert -9 < low < result["parameters"]["theta_0"]["mean"] < high < 9
    assert "rounds: theta_0" in [check["name"] for check in result["checks"]]
    assert "good for these data alone" in (tmp_path / "out" / "report.html").read_text()
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.safetensors")}
    assert {"round-2"} <= {part for p in made for part in p.parts}
    # Without the result everything is inferred again, from what the folder has.
    shutil.rmtree(tmp_path / "out")
    assert CliRunner().invoke(app, command).exit_code == first.exit_code
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.safetensors")} == made
    again: dict[str, Any] = json.loads((tmp_path / "out" / "result.json").read_text())
    assert again["parameters"] == result["parameters"]
