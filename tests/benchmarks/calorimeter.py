"""Calorimeter showers: longitudinal profile, resolution, linearity, spots, speed and memory.

    python tests/benchmarks/calorimeter.py

One process, one thread, about a minute. What is asked is on each line.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import optimize, special

from hepgen.simulators.calorimeter.profile import LongitudinalMoments
from hepgen.simulators.chain import Chain
from hepgen.simulators.processes.registry import process
from hepgen.simulators.stage import State

BLOCK = 256


def simulated(
    chain: Chain, n: int, column: Callable[[State], Any], seed: int = 1, **fixed: float
) -> Any:
    """Something of ``n`` events, made in blocks."""
    values = chain.parameters.values(None, **fixed)
    parts = [
        column(chain.simulate(values, BLOCK, seed, block=b).state)[0].numpy()
        for b in range(math.ceil(n / BLOCK))
    ]
    return np.concatenate(parts)[:n]


def contained(state: State) -> Any:
    """The energy in the cells, before digitisation, GeV, and what is read."""
    deposit = state["layer_deposit"]
    inside = state["cell_share"].reshape(*deposit.shape, -1).sum(-1)
    return torch.stack([(inside * deposit).sum(-1), state["Calo_energy"]], dim=-1)


def line(what: str, asked: str, measured: str, reached: bool) -> None:
    """One result."""
    print(f"{what}: asked {asked}, measured {measured}: {'reached' if reached else 'NOT reached'}")


def longitudinal(energy: float = 50.0, n: int = 200_000) -> None:
    """The moments of (ln T, ln α), and the mean energies of the layers."""
    profile = Chain(process("calo_shower").stages[:1])
    state = profile.simulate(profile.parameters.values(None, energy=energy), n, seed=1).state
    t, alpha = (state[name].log()[0] for name in ("shower_t", "shower_alpha"))
    law = LongitudinalMoments.at(torch.tensor(energy, dtype=torch.float64))
    rows = {
        "<ln T>": (t.mean(), law.log_t), "sigma(ln T)": (t.std(), law.sigma_log_t),
        "<ln alpha>": (alpha.mean(), law.log_alpha),
        "sigma(ln alpha)": (alpha.std(), law.sigma_log_alpha),
        "rho": (torch.corrcoef(torch.stack([t, alpha]))[0, 1], law.correlation),
    }  # fmt: skip
    for name, (found, expected) in rows.items():
        off = float(found / expected - 1)
        line(f"{name} at {energy:g} GeV", f"{expected:.4f} to 1 %",
             f"{found:.4f} ({off:+.2%})", abs(off) < 0.01)  # fmt: skip
    spots = Chain(process("calo_shower", eta_cells=2, phi_cells=2, slices=1).stages[:2])
    found = simulated(spots, 100_000, lambda s: s["layer_deposit"], energy=energy).mean(0) / energy
    worst = float(np.max(np.abs(found / quadrature(law) - 1)))
    line("mean energy of the 10 layers against the integral", "1 %", f"{worst:.2%} at worst",
         worst < 0.01)  # fmt: skip


def quadrature(law: LongitudinalMoments) -> Any:
    """The mean share of each layer: the incomplete gamma function over the bivariate normal."""
    node, weight = np.polynomial.hermite_e.hermegauss(20)
    first, second = np.meshgrid(node, node)
    rho = float(law.correlation)
    alpha = np.exp(float(law.log_alpha) + float(law.sigma_log_alpha) * first)
    mixed = rho * first + math.sqrt(1 - rho**2) * second
    t = np.exp(float(law.log_t) + float(law.sigma_log_t) * mixed)
    inside = special.gammainc(
        alpha[..., None], ((alpha - 1) / t)[..., None] * np.linspace(0, 25, 11)
    )
    return np.einsum("i,j,jik->k", weight, weight, np.diff(inside)) / weight.sum() ** 2


def resolution() -> None:
    """The fit of a/√E ⊕ b ⊕ c/E, without leakage and with that of the default calorimeter."""
    whole = process(
        "calo_shower", layers=4, eta_cells=2, phi_cells=2, depth=80.0, cell_size=5000.0, slices=1,
        light_yield=1000.0, threshold=0.0, adc_bits=24, adc_step=0.01,
    )  # fmt: skip
    put_in = {"sampling_term": 0.1, "constant_term": 0.02, "noise": 0.05}
    expected = (math.sqrt(0.1**2 + 1 / 1000), 0.02, 0.05 * math.sqrt(16))
    fit, error, linear = fitted(whole, (1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 300.0), 50_000, put_in)
    for name, value, sigma, truth in zip("abc", fit, error, expected, strict=True):
        line(f"resolution, no leakage: {name}", f"{truth:.4f} to 3 %",
             f"{value:.4f} ± {sigma:.4f}", abs(value / truth - 1) < 0.03)  # fmt: skip
    line("linearity, no leakage, 1 to 300 GeV", "1 %", f"{linear:.2%} at worst", linear < 0.01)
    default = process("calo_shower", threshold=0.0)
    expected = (math.sqrt(0.03**2 + 1 / 4500), 0.003, 0.003 * math.sqrt(1440))
    fit, error, linear = fitted(default, (3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0), 6_000, {})
    for name, value, sigma, truth in zip("abc", fit, error, expected, strict=True):
        line(f"resolution, 10 x 12 x 12, leakage taken out: {name}", f"{truth:.4f} in 3 sigma",
             f"{value:.4f} ± {sigma:.4f}", abs(value - truth) < 3 * sigma)  # fmt: skip
    print(f"linearity, 10 x 12 x 12, 3 to 200 GeV, leakage included: {linear:.2%} at worst")


def fitted(
    chain: Chain, energies: tuple[float, ...], n: int, fixed: dict[str, float]
) -> tuple[Any, Any, float]:
    """(a, b, c) of the contained energy, their errors, and the largest |⟨E⟩/E − 1|.

    A common scale is taken out of the last.
    """
    widths, errors, means = [], [], []
    for energy in energies:
        inside, reading = simulated(chain, n, contained, seed=int(energy), energy=energy, **fixed).T
        means.append(reading.mean() / energy)
        variance = (reading.var() - inside.var()) / inside.mean() ** 2
        widths.append(math.sqrt(variance))
        errors.append(reading.var() / inside.mean() ** 2 / math.sqrt(2 * n) / widths[-1])

    def model(e: Any, a: float, b: float, c: float) -> Any:
        return np.sqrt(a**2 / e + b**2 + (c / e) ** 2)

    fit, covariance = optimize.curve_fit(
        model, np.array(energies) * means, widths, (0.1, 0.01, 0.1), errors, absolute_sigma=True
    )
    scale = np.mean(means)
    return np.abs(fit), np.sqrt(np.diag(covariance)), float(np.max(np.abs(means / scale - 1)))


def memory(entry: str) -> float:
    """An entry of this process's status, MB."""
    rows = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
    return float(rows[entry].split()[0]) / 1024


def speed(counted: bool) -> tuple[float, float, float]:
    """Images and spots per processor second, and peak memory in MB, at 50 GeV.

    The whole chain; or spots thrown one by one, in single precision, into the same cells, and
    nothing else.
    """
    torch.set_num_threads(1)
    chain = process("calo_shower")
    values = chain.parameters.values()
    before = memory("VmRSS")
    blocks = 16 if counted else 4
    number = 93 * math.log(68.4) * 50**0.876
    chain.simulate(values, BLOCK, seed=1)
    start = time.process_time()
    for block in range(blocks):
        if counted:
            chain.simulate(values, BLOCK, seed=1, block=block)
        else:
            throw(BLOCK // 8, number)
    events = blocks * (BLOCK if counted else BLOCK // 8)
    rate = events / (time.process_time() - start)
    return rate, rate * number, memory("VmHWM") - before


def throw(events: int, number: float) -> torch.Tensor:
    """The least work that spots thrown one by one can be: layer, radius, azimuth, cell."""
    counts = torch.poisson(torch.full((events * 10,), number / 10))
    layer = torch.repeat_interleave(torch.arange(events * 10), counts.long())
    n = len(layer)
    scale = torch.where(torch.rand(n) < 0.9, 0.1, 1.0)
    u, phi = torch.rand(n), torch.rand(n) * 2 * math.pi
    radius = scale * (u / (1 - u)).sqrt()
    x, y = ((radius * f(phi) + 6).floor().clamp(0, 11).long() for f in (torch.cos, torch.sin))
    return torch.bincount(layer * 144 + x * 12 + y, minlength=events * 1440)


def alone(counted: bool) -> tuple[float, float, float]:
    """The speed in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(speed, (counted,))


def main() -> None:
    """Print everything."""
    torch.set_num_threads(1)
    longitudinal()
    resolution()
    for number in range(3):
        (rate, spots, peak), (other, _, _) = alone(True), alone(False)
        line(
            f"round {number + 1}: 10 x 12 x 12 images at 50 GeV per second and core, whole chain",
            "500", f"{rate:.0f} ({spots:.2g} spots/s, {peak:.0f} MB above the imports)",
            rate >= 500,
        )  # fmt: skip
        print(f"  spots thrown one by one and binned, nothing else: {other:.0f} images/s")


if __name__ == "__main__":
    main()
