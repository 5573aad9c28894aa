"""By how much the chain's m_Z would be off on events of Pythia 8, stage by stage.

    python tests/benchmarks/chain_against_pythia.py

Histograms of the chain at several m_Z are fitted to 393,216 generated events of Pythia, all
other parameters at the truth: to the true mass, to that smeared by 2 %, to the mass of the muons
after radiation, and to what the detector measures; of all events and of those selected. Then the
true mass is fitted once more with a factor (M/m_Z)^p on the chain's spectrum. Takes about four
minutes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import cumulative_trapezoid
from scipy.optimize import minimize

from hepgen.simulators.chain import Chain
from hepgen.simulators.detector import MuonDetector
from hepgen.simulators.parton import DrellYan
from hepgen.simulators.processes.registry import process
from hepgen.simulators.pythia import PythiaDimuons
from hepgen.simulators.reconstruction import DimuonReconstruction

TRUTH = {"m_z": 91.1876, "muon_resolution": 1.6}
GRID = np.array([91.0, 91.1, 91.2, 91.3, 91.4])
EDGES = np.concatenate([np.arange(60, 86, 2), np.arange(86, 97, 0.25), np.arange(97, 121, 2)])
BLOCK = 32_768

Histograms = dict[str, NDArray[np.float64]]


def histograms(chain: Chain, m_z: float, blocks: int, seed: int) -> Histograms:
    """Counts of each mass in the bins, from ``blocks`` blocks of events."""
    values = chain.parameters.values(None, **{**TRUTH, "m_z": m_z})
    total: Histograms = {}
    for block in range(blocks):
        state = chain.simulate(values, BLOCK, seed, block).state
        selected = state["selected"]
        noise = torch.from_numpy(np.random.default_rng([seed, block]).standard_normal(BLOCK))
        masses = {
            "true mass, all": state["mass"].ravel(),
            "smeared by 2 %, all": state["mass"].ravel() * torch.exp(0.02 * noise),
            "true mass, selected": state["mass"][selected],
            "after radiation, all": state["bare_mass"].ravel(),
            "after radiation, selected": state["bare_mass"][selected],
            "measured, selected": state["Dimuon_mass"][selected],
        }
        for name, mass in masses.items():
            total[name] = total.get(name, 0) + np.histogram(mass.numpy(), EDGES)[0]
    return total


def fit(counts: NDArray[np.float64], templates: list[NDArray[np.float64]]) -> tuple[float, float]:
    """m_Z and its error from a parabola through the log-likelihood at the grid."""
    shares = np.array([t / t.sum() for t in templates])
    likelihood = (counts * np.log(shares)).sum(-1)
    curvature, slope, _ = np.polyfit(GRID - GRID.mean(), likelihood, 2)
    return GRID.mean() - slope / (2 * curvature), 1 / np.sqrt(-2 * curvature)


def tilt(counts: NDArray[np.float64]) -> tuple[float, float, float, int]:
    """m_Z, the power p, χ² and bins, of a fit of the true mass with a factor (M/m_Z)^p."""
    stage = DrellYan()
    values = Chain([stage]).parameters.values()
    mass = np.linspace(EDGES[0], EDGES[-1], 60_001)

    def expected(m_z: float, power: float) -> NDArray[np.float64]:
        at = values | {"m_z": torch.tensor(m_z, dtype=torch.float64)}
        density = stage._dsigma(torch.from_numpy(mass)[None], at)[0].numpy()
        below = cumulative_trapezoid(density * (mass / TRUTH["m_z"]) ** power, mass, initial=0)
        return np.asarray(counts.sum() * np.diff(np.interp(EDGES, mass, below / below[-1])))

    def loss(x: NDArray[np.float64]) -> float:
        return -float((counts * np.log(expected(x[0], x[1]))).sum())

    best = minimize(loss, [91.2, 0.1], method="Nelder-Mead", options={"xatol": 1e-4}).x
    model = expected(best[0], best[1])
    return best[0], best[1], float(((counts - model) ** 2 / model).sum()), len(counts)


def main() -> None:
    """Print fitted minus true m_Z: first of the chain's own events, then of Pythia's."""
    torch.set_num_threads(1)
    chain = process("zmumu")
    pythia = Chain([PythiaDimuons(), MuonDetector(), DimuonReconstruction()])
    templates = [histograms(chain, float(m), blocks=120, seed=1) for m in GRID]
    samples = {
        "the chain itself": histograms(chain, TRUTH["m_z"], blocks=60, seed=9),
        "Pythia 8": histograms(pythia, TRUTH["m_z"], blocks=12, seed=77),
    }
    for source, sample in samples.items():
        print(f"fitted − true m_Z [MeV], events of {source}:")
        for name, counts in sample.items():
            value, error = fit(counts, [t[name] for t in templates])
            print(f"  {name:26s} {1e3 * (value - TRUTH['m_z']):6.1f} ± {1e3 * error:.1f}")
        value, power, chi2, bins = tilt(sample["true mass, all"])
        shift = 1e3 * (value - TRUTH["m_z"])
        print(f"  true mass, (M/m_Z)^{power:.2f}    {shift:6.1f}, χ² = {chi2:.0f} in {bins} bins")


if __name__ == "__main__":
    main()
