"""What ``hepgen infer`` tests beside the calibration, what its error is made of, and what it says.

The chain is Gaussian with one parameter, and its estimators learn for seconds: checks are looked at
for what they are and where they turn, not for passing.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hepgen.errors import WorkflowError
from hepgen.pipeline.budget import _budget
from hepgen.pipeline.data import DataRequest
from hepgen.pipeline.infer import Inference, infer, write_results
from hepgen.pipeline.local import local_p_values, local_tests
from hepgen.pipeline.predictive_statistics import predictive_tests
from hepgen.pipeline.ratios import ratio_p_values, ratio_tests
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.pipeline.validate import calibrated, validate
from hepgen.simulators.campaign import Campaign

TINY = Path(__file__).parent / "tiny.toml"
STATISTICS = (
    'validation.statistics=[{kind="mean", columns=["x_0"]}, {kind="spread", columns=["x_0"]}, '
    '{kind="quantile", columns=["x_0"], level=0.9}]'
)
NRE = ("inference.method=nre", "nre.members=2", STATISTICS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("p-values") / "run"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.root"
    session = Session.open(TINY)
    campaign = Campaign(session.chain, session.parameters, 300, 9, fixed={"theta_0": 0.4},
                        prior=False, block_size=300)  # fmt: skip
    simulate_to_file(campaign, path, provenance={}, monitor=session.monitor)
    return path


def opened(folder: Path, *overrides: str) -> Session:
    return Session.open(TINY, [f"folder={str(folder)!r}", *overrides])


@pytest.fixture(scope="module")
def inference(folder: Path, data: Path) -> Inference:
    return infer(opened(folder, *NRE), DataRequest([str(data)]))


def test_every_test_is_in_the_one_correction(inference: Inference) -> None:
    tested = [c for c in inference.result.checks if "corrected for" in c.meaning]
    assert len({c.meaning.split("corrected for ")[1] for c in tested}) == 1
    assert f"corrected for {len(tested)} tests" in tested[0].meaning
    names = {c.name for c in tested}
    assert names >= {
        "NRE on 24 sets of pseudo-data: uniform ranks of theta_0",
        "NRE on 24 sets of pseudo-data: expected coverage", "NRE on 24 sets of pseudo-data: TARP",
        "NRE: ratio", "NRE: local two-sample test", "support: x_0", "support: nearest sets",
        "posterior predictive: x_0", "posterior predictive: mean of x_0",
        "posterior predictive: spread of x_0", "posterior predictive: 90 % quantile of x_0",
    }  # fmt: skip


def test_the_report_shows_them(folder: Path, inference: Inference, tmp_path: Path) -> None:
    report = write_results(opened(folder, *NRE), inference, tmp_path)
    page = report.read_text()
    for title in ("Local two-sample test", "Statistics of data and prediction",
                  "Calibration of ratios", "Error budget of theta_0"):  # fmt: skip
        assert title in page, title
    (budget,) = json.loads((tmp_path / "result.json").read_text())["statements"]["budget"]
    assert budget["parameter"] == "theta_0"
    assert budget["trainings"] == 2


def test_the_budget_has_the_finite_simulation(inference: Inference) -> None:
    (budget,) = inference.budget
    estimate = inference.result.parameters["theta_0"]
    # One parameter: all of the posterior's width is of the data.
    assert budget.statistical == pytest.approx(estimate.std, rel=0.2)
    assert budget.nuisances == pytest.approx(0, abs=1e-6)
    assert 0 < budget.simulation < math.inf
    assert budget.simulation_error == pytest.approx(budget.simulation / math.sqrt(2))
    (check,) = [c for c in inference.result.checks if c.name == "finite simulation: theta_0"]
    assert check.value == pytest.approx(budget.simulation / budget.statistical)
    assert check.threshold == 0.5


def test_one_training_does_not_know_its_spread(folder: Path, data: Path) -> None:
    session = opened(
        folder, "inference.method=nle", "inference.beside=[]", "validation.local=false"
    )
    found = infer(session, DataRequest([str(data)]))
    (budget,) = found.budget
    assert math.isnan(budget.simulation)
    assert found.result.to_dict()["statements"]["budget"][0]["simulation"] is None
    names = " ".join(check.name for check in found.result.checks)
    for word in ("finite simulation", "ratio", "local two-sample"):
        assert word not in names
    # By default the quantiles of each feature.
    for word in ("5 % quantile of x_0", "95 % quantile of x_0"):
        assert word in names


def test_held_nuisances_leave_the_error_of_the_data() -> None:
    session = Session.open(TINY.with_name("small.toml"))
    # m_z, and the resolution: ρ = 0.6.
    covariance = torch.tensor([[4.0, 1.2], [1.2, 1.0]], dtype=torch.float64)
    budget = _budget(session, ["m_z"], "m_z", "nle", covariance, None)
    assert budget.statistical == pytest.approx(2 * 0.8)
    assert budget.nuisances == pytest.approx(2 * 0.6)
    assert budget.total == pytest.approx(2)


def test_a_ratio_of_wrong_slope_fails_its_test(inference: Inference) -> None:
    (test,) = inference.tests.ratios
    assert len(test.numerator) == len(test.denominator) == 10_000
    wrong = dataclasses.replace(
        test, numerator=1.5 * test.numerator, denominator=1.5 * test.denominator
    )
    (p_value,) = ratio_p_values([wrong])
    assert p_value.value < 1e-6
    assert p_value.name == "NRE: ratio"
    # A line undoes a wrong slope, whatever else is wrong.
    assert wrong.recalibrated.p_value == pytest.approx(test.recalibrated.p_value, rel=0.1)
    assert wrong.recalibrated.p_value > p_value.value


@pytest.mark.usefixtures("inference")
def test_validate_tests_ratios_too(folder: Path) -> None:
    session = opened(folder, *NRE)
    _, checks = validate(session, ["nre"])
    assert "NRE: ratio" in {check.name for check in checks}
    assert ratio_tests(opened(folder, *NRE, "validation.ratio_events=0"), ["nre"]) == []


def test_a_posterior_that_is_off_at_the_data_fails_the_local_test(
    folder: Path, inference: Inference
) -> None:
    session = opened(folder, *NRE)
    calibration = calibrated(session, "nre")
    x = torch.from_numpy(inference.observed.events.flat(["x_0"]))
    assert calibration.drawn is not None
    # Every draw three widths too high: so is what is drawn at the data.
    moved = dataclasses.replace(calibration, drawn=calibration.drawn + 3 * calibration.std)
    (wrong,) = local_p_values(local_tests(session, [moved], x, None))
    assert wrong.smallest == 1 / 1000
    assert wrong.value <= 0.01


@pytest.mark.usefixtures("inference")
def test_the_local_test_is_left_out_where_the_data_do_not_allow_for_it(
    folder: Path,
) -> None:
    session = opened(folder, *NRE)
    calibrations = [calibrated(session, "nre")]
    assert local_tests(session, calibrations, torch.zeros(20, 1), None) == {}
    assert local_tests(session, calibrations, torch.zeros(90, 1), torch.ones(90)) == {}
    off = opened(folder, *NRE, "validation.local=false")
    assert local_tests(off, calibrations, torch.zeros(90, 1), None) == {}


def test_a_statistic_of_no_column_is_refused(folder: Path, inference: Inference) -> None:
    session = opened(folder, 'validation.statistics=[{kind="mean", columns=["x_9"]}]')
    from hepgen.pipeline.predictive import predict

    predictive = predict(session, np.zeros((40, 1)))
    with pytest.raises(WorkflowError, match="'x_9' is no feature and no control column"):
        predictive_tests(session, inference.observed, predictive)
    with pytest.raises(WorkflowError, match="correlation of 1 columns: expected 2"):
        opened(folder, 'validation.statistics=[{kind="correlation", columns=["x_0"]}]')


def test_a_statistic_that_the_posterior_does_not_predict(
    folder: Path, inference: Inference
) -> None:
    from hepgen.pipeline.predictive import predict

    session = opened(folder, *NRE)
    # At θ = −1, and the data at 0.4.
    predictive = predict(session, np.full((40, 1), -1.0))
    found = predictive_tests(session, inference.observed, predictive)
    assert found["mean of x_0"].normal < 1e-4
    assert found["spread of x_0"].normal > 1e-4
