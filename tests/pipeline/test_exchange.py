"""The analysis in bins, from the workflow to files that pyhf reads, and what the bins cost."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest
import torch
from typer.testing import CliRunner

from hepgen.cli import app
from hepgen.cli.additions import added_entries
from hepgen.errors import DataError, InputError, WorkflowError
from hepgen.inference.density import ClosedForm
from hepgen.inference.exchange.hs3 import load_hs3, to_pyhf
from hepgen.inference.exchange.pyhf_workspace import PyhfWorkspace
from hepgen.inference.exchange.reweighted import ReweightedCounts
from hepgen.pipeline.exchange import observable
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


def infer(folder: Path, output: str, *options: str) -> dict[str, Any]:
    command = ["infer", str(TINY), str(folder / "data.root"), "-o", str(folder / output), "--quiet"]
    settings = [f"folder={str(folder / 'run')!r}", "inference.beside=[]", "calibration.sets=21",
                "nle.epochs=12", "nle.batch_size=512", "nre.batch_size=512"]  # fmt: skip
    sets = [part for one in settings for part in ("--set", one)]
    result = CliRunner().invoke(app, [*command, *sets, *options])
    # 3: with so little training, a check may fail.
    assert result.exit_code in (0, 3), result.output
    made: dict[str, Any] = json.loads((folder / output / "result.json").read_text())
    found: dict[str, Any] = made["statements"]["exchange"]
    return found


@pytest.mark.parametrize("method", ["nle", "nre"])
def test_the_files_are_read_by_pyhf_and_its_fit_is_that_of_the_events(
    folder: Path, method: str
) -> None:
    """Of a density by its integrals, of a ratio by simulated events."""
    made = infer(folder, method, "--export", "pyhf", "--export", "hs3", "--method", method)
    assert made["files"] == ["workspace.json", "workspace.parameters.json", "hs3.json"]
    content = json.loads((folder / method / "workspace.json").read_text())
    pyhf.schema.validate(content, "workspace.json")
    again = to_pyhf(load_hs3(folder / method / "hs3.json"))
    assert again["observations"] == content["observations"]
    assert sum(content["observations"][0]["data"]) == EVENTS
    (one,) = made["fits"]
    theirs = PyhfWorkspace.load(folder / method / "workspace.json").fit()["theta_0"]
    assert theirs.value == pytest.approx(one["value"], abs=0.02 * one["error"])
    assert theirs.error == pytest.approx(one["error"], rel=0.02)
    # The templates of a ratio stand at the truth, not at what the ratio has learned of it.
    assert abs(one["value"] - one["unbinned_value"]) < 0.8 * one["unbinned_error"]
    # 40 bins of the mean of a Gaussian: nearly nothing is lost.
    assert 0 <= one["cost"] < 0.05
    assert one["errors"][0] > one["errors"][-1] >= one["unbinned"]
    exact = float(MODEL.information()[0, 0] * EVENTS) ** -0.5
    assert one["unbinned"] == pytest.approx(exact, rel=0.15)


def test_reweighted_counts_are_those_of_the_closed_form() -> None:
    density = ClosedForm(
        PARAMETERS, ("x_0",),
        lambda x, v: MODEL.log_prob(x, v["theta_0"][..., None].expand(*x.shape[:-1], 1)),
    )  # fmt: skip
    here, there = torch.tensor([0.2]).double(), torch.tensor([[0.2], [0.5]]).double()
    torch.manual_seed(1)
    x = MODEL.marginal(here).sample((100_000, 2)).double()  # the second column is integrated over
    edges = torch.tensor([-8.0, -1.0, 0.0, 1.0, 8.0]).double()
    filler = ReweightedCounts(
        ClosedForm(PARAMETERS, ("x_0", "other"), lambda y, v: density.formula(y[..., :1], v)),
        lambda theta: torch.full((len(theta),), 1000.0).double(), x.reshape(-1, 2), here,
    )  # fmt: skip
    counts = filler(there, edges)
    for k, theta in enumerate(there):
        exact = MODEL.marginal(theta)
        std = math.sqrt(float(exact.covariance_matrix))
        cdf = torch.special.ndtr((edges - exact.mean) / std)
        # 5 σ of the counts of 100,000 events, whose weights are below 4 in the mean square.
        error = 5 * 1000 * np.sqrt(4 * cdf.diff().numpy() / 1e5)
        assert np.all(np.abs(counts.mean[k].numpy() - 1000 * cdf.diff().numpy()) < error)
    assert counts.variance is not None
    assert counts.variance.sqrt().numpy() == pytest.approx(
        np.sqrt(counts.mean[0].numpy() * 1000 / 1e5), rel=1e-6
    )


def test_what_cannot_be_written_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(InputError, match="expected one of pyhf, hs3"):
        added_entries(["root"])
    asked = ["exchange.formats=['pyhf']"]
    with pytest.raises(DataError, match="no Poisson counts"):
        observable(Session.open(TINY, asked), weighted=True)
    with pytest.raises(WorkflowError, match=r"'x_9' is no feature.*x_0"):
        observable(Session.open(TINY, [*asked, "exchange.observable=x_9"]), weighted=False)
    with pytest.raises(WorkflowError, match="ascending"):
        Session.open(TINY, [*asked, "exchange.edges=[0.0, 2.0, 1.0]"])
