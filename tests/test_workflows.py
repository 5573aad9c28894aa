"""Every workflow that hepgen ships can be simulated, plain and with all that there is to keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hepgen.cli import app
from hepgen.io.tables import read, read_metadata
from hepgen.pipeline.session import Session
from hepgen.simulators.processes.registry import PROCESSES

# Torch's own forward-mode differentiation calls something that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")

FOLDER = Path(__file__).parents[1] / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.toml"))

every = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)


def test_every_process_has_a_workflow() -> None:
    assert {Session.open(path).workflow.process for path in WORKFLOWS} >= set(PROCESSES)


@every
@pytest.mark.parametrize("more", [[], ["--augment", "--latents", "--all"]], ids=["plain", "all"])
def test_a_workflow_simulates(workflow: Path, more: list[str], tmp_path: Path) -> None:
    if "pythia" in workflow.stem:
        pytest.importorskip("pythia8mc")
    output = tmp_path / "out.root"
    command = ["simulate", str(workflow), "-n", "300", "--seed", "3", "-o", str(output)]
    sizes = ["--set", "simulation.block_size=150", "--quiet", "--jobs", "1"]

    result = CliRunner().invoke(app, [*command, *sizes, *more])

    assert result.exit_code == 0, result.output
    session, events = Session.open(workflow), read(output).read()
    assert read_metadata(output)["genEventCount"] == 300
    assert set(session.chain.observables) <= set(events.fields)
    if more:
        assert len(events) == 300
        defaults = session.parameters.values()
        fixed = {p.name: float(defaults[p.name]) for p in session.parameters if not p.free}
        for name in session.augmented(fixed):
            assert np.isfinite(np.asarray(events[f"score_{name}"])).all(), name
        assert any(name.startswith("latent_") for name in events.fields)
