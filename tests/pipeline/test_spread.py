"""Pseudo-experiments and calibrations are the same, whoever makes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hepgen.compute import Workers
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.statistics.fit import fit
from hepgen.inference.statistics.limits import upper_limit
from hepgen.inference.statistics.scans import profile_scan
from hepgen.pipeline import spread as module
from hepgen.pipeline.likelihoods import likelihood_of
from hepgen.pipeline.session import Session
from hepgen.pipeline.spread import spread
from hepgen.pipeline.statements import neyman_intervals
from hepgen.pipeline.validate import draw_all
from hepgen.results import to_json
from tests.inference.conftest import GaussianMean

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
TINY = Path(__file__).parent / "tiny.toml"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("spread")
    return Session.open(TINY, [f"folder='{folder}'", "statements.toys=1000"])


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the first call go to workers."""
    monkeypatch.setattr(module, "_WORTH_WORKERS", 0.0)


def process(_: Any) -> tuple[int, int]:
    return os.getpid(), torch.get_num_threads()


@pytest.mark.usefixtures("everywhere")
def test_calls_are_made_by_workers_on_one_thread_each(session: Session) -> None:
    told: list[str] = []
    with spread(replace(session, workers=Workers(2)), told.append) as over:
        first, *others = over(process, range(5))
        again = list(over(process, range(5)))
    assert first == (os.getpid(), 1)
    assert told == [f"{n} of 5 calls" for n in range(1, 6)] * 2
    makers = {maker for maker, _ in others}
    assert 1 <= len(makers) <= 2
    assert os.getpid() not in makers
    assert {maker for maker, _ in again} <= makers
    assert {threads for _, threads in [*others, *again]} == {1}


def calibration(session: Session) -> str:
    model, generator = GaussianMean(), torch.Generator().manual_seed(1)
    truth = torch.randn(45, 1, generator=generator).double()
    sets = [model.simulate(t.expand(20, 1), generator) for t in truth]
    drawn = draw_all(session, LikelihoodPosterior(model), sets, truth.numpy(), "draw")
    return to_json(drawn._asdict())


def neyman(session: Session) -> str:
    x = torch.randn(200, 1, generator=torch.Generator().manual_seed(3)).double()
    likelihood = likelihood_of(session, len(x))
    data = likelihood.encode([x], [None])
    best = fit(likelihood, data)
    scan = profile_scan(likelihood, data, "theta_0", best=best)
    with spread(session) as over:
        return to_json(neyman_intervals(session, likelihood, data, scan, best, over))


def limit(session: Session) -> str:
    likelihood = likelihood_of(session, 200)
    x = torch.randn(200, 1, generator=torch.Generator().manual_seed(3)).double()
    data = likelihood.encode([x], [None])
    with spread(session) as over:
        found = upper_limit(
            likelihood, data, "theta_0", method="toys", toys=501, points=2, over=over
        )
    return to_json(found)


MADE: dict[str, tuple[Callable[[Session], str], Workers]] = {
    "calibration": (calibration, Workers(2)),
    "Neyman": (neyman, Workers(2)),
    "limit": (limit, Workers(2, dask="local")),
}


@pytest.mark.parametrize("what", MADE)
@pytest.mark.usefixtures("everywhere")
def test_workers_make_what_one_process_makes(session: Session, what: str) -> None:
    make, workers = MADE[what]
    if workers.dask is not None:
        pytest.importorskip("distributed", reason="pip install 'hepgen[dask]'")
    alone = make(replace(session, workers=Workers(1)))
    assert make(replace(session, workers=workers)) == alone
