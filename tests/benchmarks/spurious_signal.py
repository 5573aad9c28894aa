"""The strength of a resonance that a learned density finds, where the truth is known.

    python tests/benchmarks/spurious_signal.py [--events 30000000] [--strengths 0 1 2] [--one]

The mass spectrum of ``workflows/dijet_limit.toml`` is known without Monte Carlo. Data in which
nothing fluctuates, at some strengths of the signal, are fitted with the density that the workflow
learns, all nuisance parameters profiled: an ideal one finds the strength that is in them. What it
finds beyond is a spurious signal, of the learned background. ``--one`` learns signal and background
by one network, without the ``[[samples]]``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from hepgen.inference.statistics.fit import curvature_error, fit
from hepgen.pipeline.likelihoods import likelihood_of
from hepgen.pipeline.session import Session
from hepgen.simulators.dijet_spectrum import DijetSpectrum

WORKFLOW = Path(__file__).parents[2] / "workflows" / "dijet_limit.toml"
DATA = 219_039
"""Events of 1 fb⁻¹ that are selected."""
BINS, MU = 1500, "signal_strength"
ASKED = 0.2


def main() -> None:
    """Print a line for each strength."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, help="generated for the density (of the background)")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 1.0, 2.0])
    parser.add_argument("--one", action="store_true", help="one network for all events")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        settings = [f"folder={place!r}"] + (["samples=[]"] if chosen.one else [])
        if chosen.events:
            settings.append(f"simulation.events={chosen.events}")
        session, started = Session.open(WORKFLOW, settings), time.monotonic()
        likelihood = likelihood_of(session, DATA, "nle")
        print(f"{session.workflow.simulation.events} events generated for the density, learned in "
              f"{time.monotonic() - started:.0f} s", flush=True)  # fmt: skip
        for strength in chosen.strengths:
            x, number = expected(session, strength)
            best = fit(likelihood, likelihood.encode([x], [number]))
            found, error = (float(v) for v in (best.column(MU)[0], curvature_error(best, MU)[0]))
            shift = (found - strength) / error
            print(f"mu = {strength:g} in the data: found {found:+.3f} ± {error:.3f}; asked within "
                  f"{ASKED} sigma, measured {shift:+.2f}", flush=True)  # fmt: skip


def expected(session: Session, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Masses ``(BINS, 1)``, and how many of the data are expected about each."""
    spectrum = DijetSpectrum.of(session.simulator)
    # Narrow where the spectrum is steep: a wider bin is not what the density is at its middle.
    edges = 1200 + 3300 * torch.linspace(0, 1, BINS + 1, dtype=torch.float64) ** 2
    values = session.parameters.values() | {MU: torch.tensor(strength, dtype=torch.float64)}
    number = spectrum(values, edges).flatten()
    return (0.5 * (edges[1:] + edges[:-1]))[:, None], number / number.sum() * DATA


if __name__ == "__main__":
    main()
