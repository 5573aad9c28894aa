"""One small trained workflow that the tests of the pipeline share."""

from __future__ import annotations

from pathlib import Path

import pytest

from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.simulators.campaign import Campaign

SMALL = Path(__file__).parent / "small.toml"


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small workflow keeps what it simulated and trained."""
    return tmp_path_factory.mktemp("small") / "run"


@pytest.fixture(scope="session")
def session(run_folder: Path) -> Session:
    """The small workflow."""
    return Session.open(SMALL, [f"folder={str(run_folder)!r}"])


@pytest.fixture(scope="session")
def pseudo_file(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ROOT file of simulated events at m_Z = 91.5 GeV."""
    path = tmp_path_factory.mktemp("data") / "pseudo.root"
    campaign = Campaign(
        session.chain, session.parameters, 2500, 5, prior=False,
        fixed={"m_z": 91.5, "muon_resolution": 1.5}, block_size=2500,
    )  # fmt: skip
    simulate_to_file(campaign, path, provenance={}, monitor=session.monitor)
    return path
