"""What is asked for, from options to statements: nothing is ignored, nothing doubtful passes."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from hepgen.cli.session import statement_entries
from hepgen.errors import InputError, WorkflowError
from hepgen.inference.statistics.fit import box
from hepgen.inference.statistics.neyman import Neyman
from hepgen.inference.statistics.ordering import gaussian_interval
from hepgen.parameters import ParameterSet
from hepgen.pipeline.data import DataRequest
from hepgen.pipeline.infer import infer
from hepgen.pipeline.interest import interest, limited
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.session import Session
from hepgen.pipeline.show import result_words
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.pipeline.statements import (
    Statements,
    coverage_checks,
    statement_checks,
    toy_values,
)
from hepgen.results import InferenceResult, ParameterEstimate
from hepgen.simulators.campaign import Campaign
from hepgen.statements import CoverageMap, Interval, Limit, LimitScan, TestStatistic
from tests.inference.statistics.bounded import BoundedMean, ClosedRatio, Values

WORKFLOWS = Path(__file__).parents[2] / "workflows"
ZMUMU, BUMP = WORKFLOWS / "zmumu.toml", WORKFLOWS / "dijet_bump.toml"
TINY = Path(__file__).parent / "tiny.toml"


def entries(
    workflow: Path = TINY,
    overrides: list[str] | None = None,
    *,
    poi: list[str] | None = None,
    intervals: list[str] | None = None,
    profile: bool = False,
    toys: int | None = None,
    limit: bool = False,
) -> dict[str, object]:
    found = statement_entries(workflow, overrides, poi, intervals, profile, False, toys, limit)
    text = "\n".join(
        one if one.split("=")[1][0] in '["0123456789' else one.replace("=", '="') + '"'
        for one in found
    )
    return dict(tomllib.loads(text).get("statements", {}))


def test_an_option_adds_to_the_workflow_and_to_what_is_set() -> None:
    assert entries() == {}
    assert entries(profile=True) == {"intervals": ["posterior", "profile"]}
    both = ['statements.intervals=["posterior","neyman"]']
    assert entries(TINY, both, profile=True)["intervals"] == ["posterior", "neyman", "profile"]
    assert entries(TINY, both, toys=700)["toys"] == 700


def test_a_limit_is_made_as_the_workflow_makes_it() -> None:
    assert entries(limit=True)["limit"] == "asymptotics"
    assert entries(TINY, ["statements.limit=toys"], limit=True)["limit"] == "toys"
    assert entries(limit=True, toys=600)["limit"] == "toys"


@pytest.mark.parametrize(
    ("options", "words"),
    [({"toys": 5000}, "nothing asks for toys"),
     ({"poi": ["theta_0"]}, "nothing is stated but the posterior"),
     ({"poi": ["theta_0"], "intervals": ["posterior"]}, "nothing is stated but the posterior"),
     ({"intervals": ["minos"]}, "expected one of posterior")],
)  # fmt: skip
def test_an_option_that_nothing_would_come_of_is_refused(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        entries(**options)  # type: ignore[arg-type]


def test_a_limit_is_on_what_may_be_zero() -> None:
    """Of the interest of the bump hunt, the signal strength, and neither its mass nor its width."""
    limits = ["statements.limit=asymptotics"]
    assert limited(Session.open(BUMP)) == ()
    found, all_of_interest = (f(Session.open(BUMP, limits)) for f in (limited, interest))
    assert 0 < len(found) < len(all_of_interest)
    with pytest.raises(WorkflowError, match=r"m_z is from 88 to 94"):
        limited(Session.open(ZMUMU, limits))
    named = [*limits, "statements.parameters=['muon_resolution']"]
    with pytest.raises(WorkflowError, match="a limit on muon_resolution"):
        limited(Session.open(ZMUMU, named))
    # Zero is in its range, and what is known without the data has no limit by them.
    scale = [*limits, "statements.parameters=['muon_scale']"]
    with pytest.raises(WorkflowError, match=r"muon_scale has a constraint, Normal\(mean=0"):
        limited(Session.open(ZMUMU, scale))


def test_toys_are_drawn_at_both_ends_and_more_at_a_bound() -> None:
    bounds = torch.tensor([0.0]), torch.tensor([10.0])
    psi = toy_values(0.0, 4.0, bounds, 0, 1000, 1)
    assert [psi.min().item(), psi.max().item()] == [0.0, 4.0]
    assert int((psi == 0).sum()) == 50
    assert int((psi == 4).sum()) == 1
    inside = psi[(psi > 0) & (psi < 4)]
    assert abs(float(inside.mean()) - 2) < 5 * 4 / (12 * len(inside)) ** 0.5


def coverage(level: float, values: list[float], toys: int = 400) -> CoverageMap:
    c = np.array(values)
    return CoverageMap(
        ("m_z",), np.linspace(90, 92, len(c))[:, None], level, c,
        np.sqrt(level * (1 - level) / toys) * np.ones(len(c)), toys, "neyman",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("level", "values", "passed"),
    [(0.68, [0.68, 0.66, 0.70, 0.69, 0.71], True),
     # One point is off: its average with the others would hide it.
     (0.68, [0.68, 0.70, 0.55, 0.71, 0.76], False),
     (0.95, [0.95, 0.95, 0.95, 0.95, 0.88], False),
     (0.95, [0.95, 0.96, 0.94, 0.95, 0.93], True),
     # Sets that are too large are wrong, too.
     (0.68, [0.80, 0.68, 0.68, 0.68, 0.68], False)],
)  # fmt: skip
def test_coverage_is_judged_at_the_worst_point(
    level: float, values: list[float], passed: bool
) -> None:
    (check,) = coverage_checks(Session.open(TINY), [coverage(level, values)])
    assert check.passed == passed


EMPTY = Interval("m_z", 0.68, 91.0, (), "neyman", warnings=("the 0.68 set of m_z is empty",))
BEYOND = LimitScan(
    Limit("mu", 0.95, float("nan"), np.full(5, np.nan), "CLs", warnings=("mu lies beyond",)),
    np.zeros(1), np.zeros(1), np.zeros((1, 5)),
)  # fmt: skip


UNSURE = TestStatistic("q0", "mu", 0.0, 4.0, 1.0, 0.02, warnings=("best fit: it is no maximum",))


def test_a_statement_with_a_warning_is_a_check_that_fails() -> None:
    fine = dataclasses.replace(EMPTY, pieces=((90.0, 92.0),), method="profile", warnings=())
    checks = statement_checks((EMPTY, fine), Statements(), (BEYOND,), (UNSURE,), ())
    assert {c.name: c.passed for c in checks} == {
        "neyman: m_z": False, "profile: m_z": True, "limit: mu": False, "no signal: mu": False
    }  # fmt: skip
    assert "is empty" in checks[0].meaning
    gap = dataclasses.replace(EMPTY, warnings=("the 0.68 set of m_z is in 2 pieces",))
    for one, tolerable in ((EMPTY, EMPTY.warnings), (gap, ())):
        (known,) = statement_checks((one,), Statements(), (), (), tolerable)
        assert known.passed
        assert known.warning


@pytest.mark.parametrize("method", ["profile", "neyman"])
def test_an_interval_is_in_the_words_even_where_it_is_the_only_one(method: str) -> None:
    one = dataclasses.replace(EMPTY, method=method, pieces=((90.5, 91.5),), warnings=("so so",))
    estimate = ParameterEstimate.from_samples(np.linspace(90, 92, 500), "interest", "GeV")
    stated = {"intervals": [dataclasses.asdict(one)], "likelihood": "nle"}
    words = result_words(InferenceResult("npe", 5, {"m_z": estimate}, [], statements=stated), None)
    assert f"m_z {method}  68 %: [90.5, 91.5]" in words
    assert "likelihood: NLE" in words
    assert "so so" in words


def test_a_set_reaches_the_end_of_the_physical_range_and_is_not_open_there() -> None:
    """A signal strength whose best fit is zero: zero is in the set, as with Feldman and Cousins."""
    model = BoundedMean()
    physical = dataclasses.replace(model.parameters.free[0], low=0.0)
    model.parameters = ParameterSet([physical])
    psi = toy_values(0.0, 4.0, box(model.parameters), 0, 4000, 1)
    neyman = Neyman.fit(ClosedRatio(model), model.generate, psi[:, None])
    grid = torch.linspace(0.0, 4.0, 121, dtype=torch.float64)
    levels = (0.68, 0.95)
    ((small, large),) = neyman.intervals(Values(torch.tensor([-0.5]).double()), grid, levels)
    for one in (small, large):
        assert one.low == 0
        assert one.contains(0.0)
        assert not one.open_low
        assert one.warnings == ()
        assert one.high == pytest.approx(gaussian_interval(-0.5, one.level)[1], abs=0.15)
    ((_, cut),) = neyman.intervals(Values(torch.tensor([3.5]).double()), grid, levels)
    assert cut.open_high
    assert "goes on beyond 4, where nothing was simulated" in cut.warnings[0]


@pytest.fixture(scope="module")
def signal(tmp_path_factory: pytest.TempPathFactory) -> InferenceResult:
    """The limit on theta_0 of 200 events with theta_0 = 0.4, whose error is 0.1."""
    folder = tmp_path_factory.mktemp("signal")
    session = Session.open(
        TINY,
        [f"folder={str(folder / 'run')!r}", "statements.limit=asymptotics", "calibration.sets=21",
         "statements.parameters=['theta_0']", "inference.beside=[]",
         "parameters.theta_0.default=0.4", "nle.epochs=12", "nle.batch_size=512"],
    )  # fmt: skip
    data = Campaign(session.chain, session.parameters, 200, 5, prior=False)
    simulate_to_file(data, folder / "data.root", provenance={}, monitor=Silent())
    return infer(session, DataRequest([str(folder / "data.root")])).result


def test_a_limit_and_the_significance_go_from_the_workflow_to_the_words(
    signal: InferenceResult,
) -> None:
    (scan,), (test,) = signal.statements["limits"], signal.statements["tests"]
    mean, std = signal.parameters["theta_0"].mean, signal.parameters["theta_0"].std
    assert mean < scan["limit"]["observed"] < mean + 4 * std
    # Where the likelihood is a parabola, q₀ is the square of the distance in errors.
    assert test["observed"] ** 0.5 == pytest.approx(mean / std, rel=0.15)
    assert test["expected"] ** 0.5 == pytest.approx(0.4 / std, rel=0.15)
    assert test["p_value"] == pytest.approx(norm.sf(test["observed"] ** 0.5), rel=1e-3)
    words = result_words(signal, None)
    assert "theta_0 = 0: p = " in words
    assert "expected at 0.4: " in words
