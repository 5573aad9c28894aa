"""Calibration of the Z measurement, on the chain's own pseudo-data and on Pythia's.

    python tests/benchmarks/calibration.py [--jobs 2] [--pythia-sets 40]

Uses the run folder of workflows/zmumu.toml, training first where that is needed. Pythia
shares no code with the chain: its events go through the chain's detector and reconstruction.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hepgen.compute import Workers
from hepgen.pipeline.progress import monitor
from hepgen.pipeline.session import Session
from hepgen.pipeline.validate import calibrated, posterior_of
from hepgen.results import Calibration
from hepgen.simulators.chain import Chain
from hepgen.simulators.detector import MuonDetector
from hepgen.simulators.pythia import PythiaDimuons
from hepgen.simulators.reconstruction import DimuonReconstruction

WORKFLOW = Path(__file__).parents[2] / "workflows" / "zmumu.toml"
METHODS = ("nle", "npe")
EVENTS = 500
BLOCK = 20_000
SEED = 11
TRUTH = {"m_z": 91.1876, "muon_scale": 0.0, "muon_resolution": 1.2}


def main() -> None:
    """Print each number beside what is asked."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--pythia-sets", type=int, default=40)
    chosen = arguments.parse_args()
    session = Session.open(WORKFLOW, workers=Workers(chosen.jobs), monitor=monitor())
    for method in METHODS:
        result = calibrated(session, method)
        report(method, first(result, 200))
        report(method, result)
    sets = pythia_sets(session, chosen.pythia_sets)
    for method in METHODS:
        samples = posterior_of(session, method).draw_batched(1000, sets, seed=5)
        pulls = np.array([pull(session, s.theta) for s in samples])
        error = pulls.std(ddof=1) / np.sqrt(len(pulls))
        print(
            f"{method}: {len(sets)} Pythia sets of {EVENTS}: mean pull of m_z "
            f"{pulls.mean():+.3f} ± {error:.3f} (asked: within 0.5), width {pulls.std(ddof=1):.3f}"
        )


def first(result: Calibration, sets: int) -> Calibration:
    """The first data sets of a calibration."""
    parts = {
        name: getattr(result, name)[:sets] for name in ("events", "truth", "mean", "std", "rank")
    }
    return dataclasses.replace(result, **parts)


def report(method: str, result: Calibration) -> None:
    """One line on the chain's own pseudo-data."""
    mean, width = result.pull_mean("m_z"), result.pull_width("m_z")
    print(
        f"{method}: {len(result)} pseudo-data sets of {EVENTS}: 68 % coverage of m_z "
        f"{result.coverage('m_z'):.3f} ± {result.coverage_error('m_z'):.3f} (asked: 0.68 ± 0.07), "
        f"mean pull {mean[0]:+.3f} ± {mean[1]:.3f} (within 0.15), "
        f"pull width {width[0]:.3f} ± {width[1]:.3f} (0.85 to 1.15)"
    )


def pull(session: Session, theta: Tensor) -> float:
    """(mean − truth)/σ of m_Z."""
    draws = theta[:, session.parameters.free_names.index("m_z")]
    return float((draws.mean() - TRUTH["m_z"]) / draws.std())


def pythia_sets(session: Session, number: int) -> list[Tensor]:
    """Sets of selected masses, each of shape ``(500, 1)``."""
    detector = next(s for s in session.chain.stages if isinstance(s, MuonDetector))
    reconstruction = next(s for s in session.chain.stages if isinstance(s, DimuonReconstruction))
    chain = Chain([PythiaDimuons(), detector, reconstruction], name="pythia")
    values = chain.parameters.values(None, **TRUTH)
    masses: list[Tensor] = []
    block = 0
    while sum(map(len, masses)) < number * EVENTS:
        state = chain.simulate(values, BLOCK, SEED, block).state
        masses.append(state["Dimuon_mass"][state["selected"]])
        block += 1
    return list(torch.cat(masses)[: number * EVENTS].reshape(number, EVENTS, 1))


if __name__ == "__main__":
    main()
