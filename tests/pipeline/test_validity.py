"""What ``hepgen infer`` refuses, what it warns of, and what the number of events says.

The efficiency of pairs changes their number and not their shape, so that the truth is known:
nothing fixes it without a rate, and ε = N/(𝓛σ) with one.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from hepgen.cli import app
from hepgen.events import Events
from hepgen.inference.statistics.fit import Fit, fit
from hepgen.io.tables import RootWriter
from hepgen.pipeline.rates import event_rate, learned_efficiency
from hepgen.pipeline.session import Session

COUNTING = Path(__file__).parent / "counting.toml"
TINY = Path(__file__).parent / "tiny.toml"
EVENTS = 100
TRUTH = 0.8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("counting") / "run"


@pytest.fixture(scope="module")
def visible() -> float:
    """σ·ε in pb at ε₀ = 1: it is proportional to ε₀."""
    found = event_rate(Session.open(COUNTING, ["inference.luminosity=1.0"]))
    assert found is not None
    values = Session.open(COUNTING).parameters.values(torch.tensor([TRUTH]).double())
    return float(found.rate(values)) / TRUTH


@pytest.fixture(scope="module")
def luminosity(visible: float) -> float:
    """With which the truth makes so many events as there are."""
    return EVENTS / (TRUTH * visible)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cosines of the chain, and weights with the sum of their number, half of it by few."""
    session = Session.open(COUNTING)
    trace = session.chain.simulate(session.parameters.values(), 400, seed=3)
    kept = trace.state["Dimuon_cos_theta"][trace.state["selected"]][:EVENTS].numpy()
    uneven = np.where(np.arange(EVENTS) % 10 == 0, 5.5, 0.5)
    path = tmp_path_factory.mktemp("data") / "pairs.root"
    columns = {"Dimuon_cos_theta": kept, "uneven": uneven, "minus": -np.ones(EVENTS),
               "beyond": np.where(np.arange(EVENTS) == 7, 0.99, kept)}  # fmt: skip
    with RootWriter(path, tree="Events") as writer:
        writer.write(Events.from_columns(columns))
    return path


class Program:
    """The command line on the small workflow, in this process."""

    def __init__(self, folder: Path, output: Path) -> None:
        self.folder, self.output = folder, output

    def __call__(self, *words: str | Path, workflow: Path = COUNTING) -> Result:
        place = ["--set", f"folder={str(self.folder)!r}", "-o", str(self.output)]
        return CliRunner().invoke(
            app, ["infer", str(workflow), *map(str, words), *place, "--quiet", "--jobs", "1"]
        )


@pytest.fixture
def hepgen(folder: Path, tmp_path: Path) -> Program:
    return Program(folder, tmp_path / "results")


def failed(done: Result) -> dict[str, str]:
    """The meanings of the checks that failed, by name."""
    checks: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    return {check["name"]: check["meaning"] for check in checks if not check["passed"]}


def at(luminosity: float, *more: str) -> list[str]:
    entries = [f"inference.luminosity={luminosity}", *more]
    return [word for entry in entries for word in ("--set", entry)]


# --- the number of events -------------------------------------------------------------


@pytest.mark.parametrize("rate", ["closed", "learned"])
def test_the_number_of_events_counts(
    rate: str, hepgen: Program, data: Path, luminosity: float
) -> None:
    done = hepgen(data, "--profile", "--json", *at(luminosity, f"inference.rate={rate}"))
    assert done.exit_code in (0, 3), done.output
    result = json.loads(done.stdout)
    found = result["parameters"]["pair_efficiency"]
    # ε = N/(𝓛σ), to 1/√N; the prior cuts the posterior off above, and the learned shape says a
    # little of its own.
    assert abs(found["mean"] - TRUTH) < 0.75 * TRUTH / math.sqrt(EVENTS)
    assert found["std"] == pytest.approx(TRUTH / math.sqrt(EVENTS), rel=0.3)
    (profiled,) = [i for i in result["statements"]["scans"] if i["parameter"] == "pair_efficiency"]
    assert profiled["best"] == pytest.approx(TRUTH, abs=0.5 * TRUTH / math.sqrt(EVENTS))
    assert not {"fit: directions", "fit: bounds", "fit: convergence"} & set(failed(done))
    words = {"closed": "in closed form", "learned": "χ²/ndf"}[rate]
    assert words in result["statements"]["rate"]
    assert words in (hepgen.output / "report.html").read_text()
    learned = {"rate: goodness", "rate: error"}
    assert learned & {c["name"] for c in result["checks"]} == (
        learned if rate == "learned" else set()
    )


def test_a_learned_efficiency_is_that_of_the_chain(folder: Path, visible: float) -> None:
    session = Session.open(COUNTING, [f"folder={str(folder)!r}"])
    efficiency = learned_efficiency(session)
    values = session.parameters.values(torch.tensor([[0.6], [0.9]]).double())
    stage = session.chain.stages[0]
    sigma = stage.cross_section(session.parameters.values())
    assert sigma is not None
    expected = torch.tensor([0.6, 0.9]).double() * visible / sigma
    assert torch.allclose(efficiency(values), expected, rtol=0.02)
    assert torch.equal(learned_efficiency(session)(values), efficiency(values))


@pytest.mark.parametrize(
    ("workflow", "entries", "words"),
    [
        (TINY, ["inference.luminosity=10.0"], "'gaussian' states a cross-section"),
        (COUNTING, ["inference.rate=closed"], "without inference.luminosity"),
        (TINY.with_name("small.toml"), ["inference.luminosity=1.0", "inference.rate=closed"],
         "efficiency is not known in closed form"),
    ],
)  # fmt: skip
def test_a_rate_that_is_not_known_is_refused(
    workflow: Path, entries: list[str], words: str
) -> None:
    from hepgen.errors import WorkflowError

    with pytest.raises(WorkflowError, match=words) as refusal:
        event_rate(Session.open(workflow, entries))
    assert refusal.value.exit_code == 2


def test_npe_knows_no_number(hepgen: Program, data: Path, luminosity: float) -> None:
    done = hepgen(data, "--method", "npe", *at(luminosity))
    assert done.exit_code == 2
    assert "'npe' knows nothing of it" in done.stderr


# --- what is refused, and what is warned of -------------------------------------------


def test_a_direction_that_nothing_fixes_is_named(hepgen: Program, data: Path) -> None:
    done = hepgen(data, "--json")
    assert done.exit_code == 3, done.output
    assert "nothing fixes 'pair_efficiency'" in failed(done)["fit: directions"]
    refused = Program(hepgen.folder, hepgen.output / "profile")(data, "--profile")
    assert refused.exit_code == 2
    assert "nothing fixes 'pair_efficiency'" in refused.stderr
    assert "constraint" in refused.stderr


def test_a_parameter_at_its_bound_is_named(hepgen: Program, data: Path, luminosity: float) -> None:
    done = hepgen(data, *at(luminosity / 3))
    assert done.exit_code == 3, done.output
    words = " ".join(done.stdout.split())
    assert "FAILED fit: bounds" in words
    assert "pair_efficiency is at its bound, 0.99" in words
    assert "give it a wider range" in words


def test_weighted_events_that_are_worth_little_are_said_to_be(
    hepgen: Program, data: Path, luminosity: float
) -> None:
    done = hepgen(data, "--weights", "uneven", "--json", *at(luminosity))
    assert done.exit_code == 3, done.output
    # (Σw)²/Σw² = 100²/325 of Σw = 100.
    assert "100 weighted events are worth 30.77" in failed(done)["effective events: data"]


def test_negative_weights_where_a_number_of_events_is_wanted(hepgen: Program, data: Path) -> None:
    done = hepgen(data, "--weights", "minus")
    assert done.exit_code == 2
    assert "sum to -100" in done.stderr


def test_an_event_beyond_the_support_is_refused(hepgen: Program, data: Path) -> None:
    done = hepgen(data, "--branches", "Dimuon_cos_theta=beyond")
    assert done.exit_code == 2
    assert "Dimuon_cos_theta" in done.stderr
    assert "0.99" in done.stderr


def test_a_fit_that_does_not_converge_says_how(
    hepgen: Program, data: Path, luminosity: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*arguments: Any, **options: Any) -> Fit:
        found = fit(*arguments, **options)
        return dataclasses.replace(found, converged=torch.zeros_like(found.converged))

    monkeypatch.setattr("hepgen.pipeline.validity.fit", short)
    done = hepgen(data, "--json", *at(luminosity))
    assert done.exit_code == 3, done.output
    words = failed(done)["fit: convergence"]
    for word in ("not converged: log L =", "pair_efficiency", "gradient", "try other starts"):
        assert word in words
