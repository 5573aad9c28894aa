"""Profile, Neyman and posterior intervals of one data set, from the workflow to the report."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hepgen.errors import WorkflowError
from hepgen.inference.sampler import FromChain
from hepgen.pipeline.data import DataRequest
from hepgen.pipeline.infer import Inference, _figures, infer, statement_figures, write_results
from hepgen.pipeline.interest import interest
from hepgen.pipeline.session import Session
from hepgen.pipeline.show import result_words
from hepgen.simulators.processes.registry import process

SMALL = Path(__file__).parent / "small.toml"
ALL = ["statements.intervals=['posterior','profile','neyman']", "statements.toys=500",
       "statements.asimov=true"]  # fmt: skip


@pytest.fixture(scope="module")
def inference(run_folder: Path, session: Session, pseudo_file: Path) -> Inference:
    assert session.folder  # what the other tests trained is used again
    own = Session.open(SMALL, [f"folder={str(run_folder)!r}", *ALL])
    return infer(own, DataRequest([str(pseudo_file)]))


def test_every_construction_has_its_intervals(inference: Inference) -> None:
    found = {(one.method, one.level) for one in inference.statements.intervals}
    assert found == {(m, v) for m in ("posterior", "profile", "neyman") for v in (0.68, 0.95)}


def test_the_constructions_agree_where_all_hold(inference: Inference) -> None:
    # One parameter of interest, 1,000 events: the likelihood is near a parabola.
    own = {(one.method, one.level): one for one in inference.statements.intervals}
    width = own["posterior", 0.68].width
    for method in ("profile", "neyman"):
        for level in (0.68, 0.95):
            one, reference = own[method, level], own["posterior", level]
            assert abs(one.low - reference.low) < 0.5 * width, (method, level)
            assert abs(one.high - reference.high) < 0.5 * width, (method, level)


def test_the_smaller_set_is_inside_of_the_larger(inference: Inference) -> None:
    own = {(one.method, one.level): one for one in inference.statements.intervals}
    for method in ("posterior", "profile", "neyman"):
        small, large = own[method, 0.68], own[method, 0.95]
        assert large.low <= small.low < small.high <= large.high, method


def test_the_asimov_fit_finds_what_it_was_made_of(inference: Inference) -> None:
    # Its sample of 50,000 events leaves about 1/10 of the error of 1,000 events.
    scan, expected = inference.statements.scans[0], inference.statements.expected[0]
    assert abs(expected.best - scan.best) < 0.4 * scan.error


def test_nuisances_cost_precision(inference: Inference) -> None:
    breakdown = inference.statements.impacts[0].breakdown
    held, scan = inference.statements.held[0], inference.statements.scans[0]
    assert held.error <= scan.error * 1.001
    assert breakdown.total == pytest.approx(scan.error, rel=0.05)


def test_statements_are_in_the_result_and_in_the_words(
    inference: Inference, tmp_path: Path
) -> None:
    own = Session.open(SMALL, [*ALL])
    report = write_results(own, inference, tmp_path)
    content = json.loads((tmp_path / "result.json").read_text())
    assert len(content["statements"]["intervals"]) == 6
    words = result_words(inference.result, report)
    assert "neyman" in words
    assert all(len(line) <= 80 or "report" in line for line in words.splitlines())
    assert "Impacts on m_z" in report.read_text()


def test_figures_by_title(session: Session, inference: Inference) -> None:
    titles = statement_figures(session, inference)
    assert {"Intervals of m_z", "Profile likelihood of m_z", "Impacts on m_z",
            "Coverage of Neyman's sets of m_z"} <= set(titles)  # fmt: skip


def test_a_parameter_that_is_not_free_is_named() -> None:
    own = Session.open(SMALL, ["statements.parameters=['gamma_z']"])
    with pytest.raises(WorkflowError, match="gamma_z"):
        interest(own)


def test_pseudo_data_of_the_chain_have_their_numbers_and_their_parameters() -> None:
    chain = process("zmumu")
    values = chain.parameters.values() | {"m_z": torch.tensor([89.0, 93.0]).double()}
    counts = torch.tensor([400, 300])
    x = FromChain(chain, chain.parameters, ["Dimuon_mass"]).draw(counts, values, seed=3)
    assert x.shape == (700, 1)
    low, high = x[:400].median(), x[400:].median()
    assert high - low == pytest.approx(4.0, abs=0.8)  # 5 σ of a median of 300 events
    again = FromChain(chain, chain.parameters, ["Dimuon_mass"]).draw(counts, values, seed=3)
    assert torch.equal(x, again)


def test_a_set_that_one_estimator_leaves_out_costs_no_figure(
    session: Session, inference: Inference
) -> None:
    """Of the calibration: its posterior there had too few draws for a rank."""
    whole = inference.calibrations[0]
    rows = {
        field.name: value[:-1]
        for field in dataclasses.fields(whole)
        if isinstance(value := getattr(whole, field.name), np.ndarray)
    }
    several = [whole, dataclasses.replace(whole, method="npe", **rows)]  # type: ignore[arg-type]
    titles = set(_figures(session, inference))
    assert set(_figures(session, dataclasses.replace(inference, calibrations=several))) >= titles
