"""The analysis in bins, from the workflow to files that pyhf reads, and what the bins cost."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyhf
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from hepgen.cli import app
from hepgen.cli.additions import added_entries
from hepgen.errors import DataError, InputError, WorkflowError
from hepgen.inference.density import ClosedForm
from hepgen.inference.exchange.hs3 import load_hs3, to_pyhf
from hepgen.inference.exchange.pyhf_workspace import PyhfWorkspace
from hepgen.inference.exchange.reweighted import ReweightedCounts
from hepgen.inference.posterior import PosteriorSample
from hepgen.io.tables import read
from hepgen.pipeline.exchange import exchange, observable
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.simulators.campaign import Campaign
from tests.inference.gaussian_chain import MODEL, PARAMETERS

# pyhf's own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Creating a tensor from a list:UserWarning"),
    pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning"),
]

TINY = Path(__file__).parent / "tiny.toml"
EVENTS = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exchange")
    session = Session.open(TINY)
    data = Campaign(session.chain, session.parameters, EVENTS, 5, prior=False)
    simulate_to_file(data, folder / "data.root", provenance={}, monitor=Silent())
    return folder


SETTINGS = ["inference.beside=[]", "calibration.sets=21", "nle.epochs=12", "nle.batch_size=512",
            "statements.fisher_events=40000"]  # fmt: skip


@pytest.fixture(scope="module")
def stated(folder: Path) -> dict[str, Any]:
    """What one command says, with the files and the information asked for."""
    settings = [f"folder={str(folder / 'run')!r}", *SETTINGS]
    command = [
        "infer", str(TINY), str(folder / "data.root"), "-o", str(folder / "out"), "--quiet",
        "--export", "pyhf", "--export", "hs3", "--fisher",
        *(part for one in settings for part in ("--set", one)),
    ]  # fmt: skip
    result = CliRunner().invoke(app, command)
    # 3: with so little training, a check may fail.
    assert result.exit_code in (0, 3), result.output
    assert "whole history  at least" in result.output
    assert "In bins of x_0: workspace.json, workspace.parameters.json, hs3.json" in result.output
    made: dict[str, Any] = json.loads((folder / "out" / "result.json").read_text())["statements"]
    return made


def test_the_files_are_read_by_pyhf_and_its_fit_is_that_of_the_events(
    folder: Path, stated: dict[str, Any]
) -> None:
    made, out = stated["exchange"], folder / "out"
    assert made["files"] == ["workspace.json", "workspace.parameters.json", "hs3.json"]
    content = json.loads((out / "workspace.json").read_text())
    pyhf.schema.validate(content, "workspace.json")
    assert to_pyhf(load_hs3(out / "hs3.json"))["observations"] == content["observations"]
    assert sum(content["observations"][0]["data"]) == EVENTS
    (one,) = made["fits"]
    theirs = PyhfWorkspace.load(out / "workspace.json").fit()["theta_0"]
    assert theirs.value == pytest.approx(one["value"], abs=0.02 * one["error"])
    assert theirs.error == pytest.approx(one["error"], rel=0.02)
    assert abs(one["value"] - one["unbinned_value"]) < 0.3 * one["unbinned_error"]
    # 40 bins of the mean of a Gaussian: nearly nothing is lost.
    assert 0 <= one["cost"] < 0.05
    assert one["errors"][0] > one["errors"][-1] >= one["unbinned"]
    assert one["unbinned"] == pytest.approx(expected_error(joint=False), rel=0.15)


def expected_error(*, joint: bool) -> float:
    return 1 / math.sqrt(float(MODEL.information(joint=joint)[0, 0]) * EVENTS)


def test_the_information_is_that_of_the_closed_form(stated: dict[str, Any]) -> None:
    (table,) = stated["information"]
    rows = {row["source"]: row for row in table["rows"]}
    assert table["events"] == EVENTS
    assert list(rows) == ["whole history", "NLE", "all features"]
    history, features = rows["whole history"], rows["all features"]
    # 4.5 σ of what 40,000 events say.
    exact = expected_error(joint=True)
    assert abs(history["profiled"] - exact) < 4.5 * history["profiled_error"]
    assert 0 < history["profiled_error"] < 0.02 * exact
    # A lower limit of the information, which a short training comes close to.
    exact = expected_error(joint=False)
    for row in (features, rows["NLE"]):
        assert row["profiled"] > exact - 4.5 * row["profiled_error"]
        assert row["profiled"] == pytest.approx(exact, rel=0.15)
        assert row["profiled"] == row["known"]  # nothing else is free


def test_a_ratio_fills_the_bins_by_simulated_events(folder: Path) -> None:
    session = Session.open(
        TINY, [f"folder={str(folder / 'run')!r}", "exchange.formats=['pyhf']", "exchange.bins=10"]
    )
    x = torch.from_numpy(read(folder / "data.root").read().flat(["x_0"]))
    sample = PosteriorSample(torch.zeros(1, 1).double(), ("theta_0",), "nuts", (1.0,))
    made, (check,) = exchange(session, x, {"nre": sample}, "nre")
    assert made.model is not None
    (region,), (fitted,) = made.model.channels, made.fits
    assert region.templates["events"].variance is not None
    assert float(region.data.sum()) == EVENTS
    assert check.passed == (fitted.cost < 0.1)
    # The templates of a ratio stand at the truth, not at what the ratio has learned of it.
    assert abs(fitted.shift) < 0.8


def test_reweighted_counts_are_those_of_the_closed_form() -> None:
    here, there = torch.tensor([0.2]).double(), torch.tensor([[0.2], [0.5]]).double()
    start, end = (MODEL.marginal(torch.tensor([t]).double()) for t in (0.0, 1.0))
    std = start.covariance_matrix.sqrt().item()

    def formula(x: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        mean = start.mean + (end.mean - start.mean) * values["theta_0"]
        return -0.5 * ((x[..., 0] - mean) / std).square()

    torch.manual_seed(1)
    # The second column is integrated over.
    x = MODEL.marginal(here).sample((100_000, 2))[..., 0].double()
    edges = torch.tensor([-8.0, -1.0, 0.0, 1.0, 8.0]).double()
    density = ClosedForm(PARAMETERS, ("x_0", "other"), formula)
    counts = ReweightedCounts(density, lambda t: torch.full((len(t),), 1000.0).double(), x, here)(
        there, edges
    )
    for mean, theta in zip(counts.mean, there, strict=True):
        exact = 1000 * torch.special.ndtr((edges - MODEL.marginal(theta).mean) / std).diff()
        # 5 σ of the counts of 100,000 events, whose weights are below 4 in the mean square.
        assert bool(((mean - exact).abs() < 5 * (4 * exact * 1000 / 1e5).sqrt()).all())
    assert counts.variance is not None
    assert torch.allclose(counts.variance, counts.mean[0] * 1000 / 1e5)


def test_what_cannot_be_written_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(InputError, match="expected one of pyhf, hs3"):
        added_entries(["root"], fisher=False, scan=None)
    asked = ["exchange.formats=['pyhf']"]
    with pytest.raises(DataError, match="no Poisson counts"):
        observable(Session.open(TINY, asked), weighted=True)
    with pytest.raises(WorkflowError, match=r"'x_9' is no feature.*x_0"):
        observable(Session.open(TINY, [*asked, "exchange.observable=x_9"]), weighted=False)
    with pytest.raises(WorkflowError, match="ascending"):
        Session.open(TINY, [*asked, "exchange.edges=[0.0, 2.0, 1.0]"])
