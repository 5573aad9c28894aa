"""Recoil and photons: conservation laws event by event, densities against quadrature.

Tests of samples are refused at p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import quad
from torch import Tensor

from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.kinematics import ThreeVector, around
from hepgen.simulators.parton import DrellYan
from hepgen.simulators.shower import (
    ALPHA_EM,
    FinalStateRadiation,
    InitialStateRecoil,
    PhotonSpectrum,
    collinear_log,
    running_coupling,
)

FALSE_ALARM = 1e-4
MUON = 0.1056584
Array = NDArray[np.float64]


def chain(x_min: float = 1e-5, window: tuple[float, float] = (50.0, 150.0)) -> Chain:
    return Chain([DrellYan(window=window), InitialStateRecoil(), FinalStateRadiation(x_min)])


def simulate(chain: Chain, n: int, seed: int = 1, **changed: float) -> Trace:
    return chain.simulate(chain.parameters.values(None, **changed), n, seed)


# --- Initial state --------------------------------------------------------------------------


def coupling(scale: float, alpha: float) -> float:
    """One-loop α_s at k [GeV] from α_s(91.1876 GeV), five flavours, at most 1."""
    inverse = 1 / alpha + 23 / (12 * math.pi) * math.log((scale / 91.1876) ** 2)
    return 1.0 if inverse < 1 else 1 / inverse


def sudakov(k: float, alpha: float) -> float:
    """P(k_T < k) at M = 91.1876 GeV by adaptive quadrature."""

    def rate(log_k: float) -> float:
        """dκ²/κ² · α_s C_F/π · ln(M²/κ²), in ln κ."""
        kappa = math.exp(log_k)
        return 2 * coupling(kappa, alpha) * 4 / (3 * math.pi) * 2 * math.log(91.1876 / kappa)

    return math.exp(-quad(rate, math.log(k), math.log(91.1876), limit=200)[0])


@pytest.mark.parametrize("alpha", [0.1, 0.1365, 0.2])
def test_recoil_follows_the_sudakov(alpha: float) -> None:
    """Above the cutoff of 0.5 GeV, k = M e^recoil is distributed as P(k_T < k)."""
    recoil = simulate(chain(), 50_000, alpha_s=alpha).sites["recoil"].ravel().numpy()
    grid = np.linspace(math.log(0.5 / 91.1876), 0, 120)
    below = np.array([sudakov(91.1876 * math.exp(x), alpha) for x in grid])
    below = (below - below[0]) / (1 - below[0])

    p_value = stats.kstest(recoil, lambda x: np.interp(x, grid, below)).pvalue

    assert p_value > FALSE_ALARM


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_quantiles_of_the_recoil(share: float) -> None:
    """The density itself, without the noise of samples: P(recoil < its quantile)."""
    stage = InitialStateRecoil()
    spectrum = stage._spectrum({"alpha_s": torch.tensor(0.1365, dtype=torch.float64)})
    below = spectrum.cumulative[0] / spectrum.integral
    log_k = float(np.interp(share, below.numpy(), stage.grid.numpy()))

    assert sudakov(91.1876 * math.exp(log_k), 0.1365) == pytest.approx(share, abs=2e-3)


def test_primordial_motion_adds_in_quadrature() -> None:
    """E[pT²] = E[k²] + σ²: the width is that of both components together."""
    n, width = 400_000, 8.0
    trace = simulate(chain(), n, primordial_kt=width)
    recoil = trace.state["mass"] * trace.sites["recoil"].exp()
    excess = trace.state["pt"].square() - recoil.square()

    error = excess.std().item() / math.sqrt(n)
    assert excess.mean().item() == pytest.approx(width**2, abs=4 * error)


def test_recoil_has_no_direction() -> None:
    phi = simulate(chain(), 50_000).state["pt_phi"].ravel().numpy()

    assert stats.kstest(phi, "uniform", (-math.pi, 2 * math.pi)).pvalue > FALSE_ALARM


def test_running_coupling() -> None:
    scales = [1.0, 10.0, 91.1876, 500.0]
    log_scale = torch.tensor([2 * math.log(q / 91.1876) for q in scales], dtype=torch.float64)
    found = running_coupling(log_scale, torch.tensor(0.118, dtype=torch.float64))

    expected = [coupling(q, 0.118) for q in scales]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    assert found[2].item() == pytest.approx(0.118)


def test_running_coupling_is_capped_beyond_its_pole() -> None:
    log_scale = torch.linspace(-40, -15, 20, dtype=torch.float64)

    assert (running_coupling(log_scale, torch.tensor(0.1365)) == 1).all()


# --- Photon rate ----------------------------------------------------------------------------


def rate(x: float, mass: float) -> float:
    """dN/dx of one leg: the collinear rate, with the dead cone of the muon that is left."""
    log = math.log((1 - x) * mass**2 / MUON**2) - 1
    return ALPHA_EM / (2 * math.pi) * log * (1 + (1 - x) ** 2) / x


def photons(low: float, high: float, mass: float) -> float:
    """∫dN over x in (low, high), in ln x and with x → 1 apart."""

    def integrate(start: float, stop: float) -> float:
        return float(
            quad(lambda t: math.exp(t) * rate(math.exp(t), mass), math.log(start), math.log(stop),
                 epsrel=1e-9)[0]
        )  # fmt: skip

    middle = min(max(0.5, low), high)
    return integrate(low, middle) + integrate(middle, high)


@pytest.mark.parametrize("mass", [50.0, 91.1876, 150.0, 3000.0])
@pytest.mark.parametrize("x_min", [1e-5, 1e-2])
def test_mean_number_of_photons(mass: float, x_min: float) -> None:
    spectrum = PhotonSpectrum(x_min)
    found = spectrum.mean(collinear_log(torch.tensor(mass, dtype=torch.float64)))

    assert found.item() == pytest.approx(photons(x_min, 0.999, mass), rel=2e-4)


def test_photon_counts_are_poisson() -> None:
    state = simulate(chain(), 200_000)
    mass, count = (v.ravel() for v in (state.state["mass"], state.sites["n_photons"]))
    kept = (mass - 91.1876).abs() < 0.5
    mean = 2 * photons(1e-5, 0.999, 91.1876)
    observed = torch.bincount(count[kept].long()).numpy()
    shares = stats.poisson(mean).pmf(np.arange(5))
    binned = np.append(observed[:5], observed[5:].sum())

    p_value = stats.chisquare(binned, np.append(shares, 1 - shares.sum()) * binned.sum()).pvalue

    assert p_value > FALSE_ALARM


def latents(trace: Trace, name: str) -> Array:
    return np.asarray(trace.sites[name][trace.masks[name]].numpy())


def near_the_peak() -> Trace:
    return simulate(chain(window=(91.0, 91.4)), 40_000)


def test_fractions_follow_the_rate() -> None:
    log_x = latents(near_the_peak(), "photon_fraction")
    grid = np.append(np.linspace(math.log(1e-5), math.log(0.5), 60), np.log(
        1 - np.logspace(math.log10(0.49), -3, 40)
    ))  # fmt: skip
    below = np.array([photons(1e-5, math.exp(t), 91.1876) for t in grid[1:]])
    cdf = np.append(0.0, below) / below[-1]

    p_value = stats.kstest(log_x, lambda t: np.interp(t, grid, cdf)).pvalue

    assert p_value > FALSE_ALARM


def test_photons_choose_a_leg_at_random() -> None:
    leg = latents(near_the_peak(), "photon_leg")

    assert leg.mean() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(len(leg)))


def test_angles_are_those_of_the_dead_cone() -> None:
    """In the variable in which each photon's own distribution is uniform."""
    trace = near_the_peak()
    xi, x = latents(trace, "photon_angle"), np.exp(latents(trace, "photon_fraction"))
    mass = trace.state["mass"][..., None].expand(trace.masks["photon_angle"].shape)
    xi0 = MUON**2 / ((1 - x) * mass[trace.masks["photon_angle"]].numpy() ** 2)

    def primitive(ratio: Array) -> Array:
        return np.asarray(np.log1p(ratio) - ratio / (1 + ratio))

    uniform = primitive(xi / xi0) / primitive(1 / xi0)
    assert stats.kstest(uniform, "uniform").pvalue > FALSE_ALARM


# --- Momentum -------------------------------------------------------------------------------

Four = NDArray[np.float64]  # (N, 4): E, x, y, z


def muons(trace: Trace) -> Four:
    """Laboratory four-momenta of massless muons, shape (N, 2, 4)."""
    pt, eta, phi = (trace.state[f"muon_{c}"].flatten(0, 1).numpy() for c in ("pt", "eta", "phi"))
    return np.stack(
        [pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=-1
    )


def pair_before(trace: Trace) -> Four:
    """The laboratory four-momentum of the pair before it radiates, shape (N, 4)."""
    mass, y, pt, phi = (trace.state[k].ravel().numpy() for k in ("mass", "y", "pt", "pt_phi"))
    transverse = np.hypot(mass, pt)
    return np.stack(
        [transverse * np.cosh(y), pt * np.cos(phi), pt * np.sin(phi), transverse * np.sinh(y)],
        axis=-1,
    )


def product(a: Four, b: Four) -> Array:
    return np.asarray(a[..., 0] * b[..., 0] - (a[..., 1:] * b[..., 1:]).sum(-1))


def boost(p: Four, frame: Four) -> Four:
    """A momentum from the rest frame of ``frame`` to where that moves, by its velocity."""
    beta = frame[1:] / frame[0]
    square = float(beta @ beta)
    if square < 1e-30:
        return p
    gamma = 1 / math.sqrt(1 - square)
    along = float(beta @ p[1:])
    vector = p[1:] + ((gamma - 1) * along / square + gamma * p[0]) * beta
    return np.array([gamma * (p[0] + along), *vector])


def collins_soper_axes(trace: Trace) -> Array:
    """The axes x, y, z of each pair's rest frame as laboratory four-vectors, (N, 3, 4)."""
    mass, y, pt, phi = (trace.state[k].ravel().numpy() for k in ("mass", "y", "pt", "pt_phi"))
    ratio, zero = pt / mass, np.zeros_like(pt)
    # x: along pT, boosted with the pair; y: normal to it and the beam; z: bisects the beams.
    energy, transverse = ratio, np.sqrt(1 + ratio**2)
    x = [energy * np.cosh(y), transverse * np.cos(phi), transverse * np.sin(phi),
         energy * np.sinh(y)]  # fmt: skip
    normal = [zero, -np.sin(phi), np.cos(phi), zero]
    z = [np.sinh(y), zero, zero, np.cosh(y)]
    return np.stack([np.stack(axis, axis=-1) for axis in (x, normal, z)], axis=1)


def muon_direction(trace: Trace) -> Array:
    """The μ⁻ direction on the Collins–Soper axes, shape (N, 3)."""
    c, phi = (trace.state[k].ravel().numpy() for k in ("cos_theta", "phi"))
    s = np.sqrt(1 - c**2)
    return np.stack([s * np.cos(phi), s * np.sin(phi), c], axis=-1)


def vector(direction: Array) -> ThreeVector:
    x, y, z = torch.from_numpy(direction).unbind(-1)
    return x, y, z


def photon_momenta(trace: Trace, event: int) -> tuple[Four, float]:
    """Σk of an event's photons in the rest frame the pair began in, and the mass left."""
    mass = trace.state["mass"].ravel()[event].item()
    axis = muon_direction(trace)[event]
    pair = np.array([mass, 0.0, 0.0, 0.0])
    total = np.zeros(4)
    for slot in range(int(trace.sites["n_photons"].ravel()[event])):
        names = ("photon_fraction", "photon_leg", "photon_angle", "photon_azimuth")
        log_x, leg, xi, azimuth = (trace.sites[n].flatten(0, 1)[event, slot] for n in names)
        sign = 1 - 2 * leg.item()
        direction = around(vector(sign * axis), 1 - 2 * xi, azimuth)
        energy = 0.5 * math.exp(log_x.item()) * mass
        photon = boost(energy * np.array([1.0, *(d.item() for d in direction)]), pair)
        total, pair = total + photon, pair - photon
        mass *= math.sqrt(1 - math.exp(log_x.item()))
    return total, mass


def test_muons_and_photons_carry_the_momentum_of_the_pair() -> None:
    """Σμ + Σγ = P in the laboratory, with the photons built from the latents."""
    trace = simulate(chain(), 400, seed=3)
    axes, before, after = collins_soper_axes(trace), pair_before(trace), muons(trace).sum(1)
    mass = trace.state["mass"].ravel().numpy()
    assert int(trace.sites["n_photons"].max()) >= 4

    for event in range(400):
        at_rest, _ = photon_momenta(trace, event)
        photons_in_laboratory = at_rest[0] * before[event] / mass[event] + at_rest[1:] @ axes[event]
        np.testing.assert_allclose(
            after[event] + photons_in_laboratory, before[event], atol=1e-6 * before[event, 0]
        )


def test_mass_after_radiation() -> None:
    """M_μμ² = M²·∏(1 − x_i), exactly: from the latents, the muons, and the stage's column."""
    trace = simulate(chain(), 20_000, seed=4)
    log_x = trace.sites["photon_fraction"]
    kept = torch.where(trace.masks["photon_fraction"], torch.log1p(-log_x.exp()), 0.0).sum(-1)
    law = (trace.state["mass"] * (0.5 * kept).exp()).ravel().numpy()

    np.testing.assert_allclose(trace.state["bare_mass"].ravel().numpy(), law, rtol=1e-12)
    pt, eta, phi = (trace.state[f"muon_{c}"].flatten(0, 1).numpy() for c in ("pt", "eta", "phi"))
    angles = np.cosh(eta[:, 0] - eta[:, 1]) - np.cos(phi[:, 0] - phi[:, 1])
    np.testing.assert_allclose(np.sqrt(2 * pt.prod(-1) * angles), law, rtol=1e-7)


def test_a_single_photon_is_where_its_latents_say() -> None:
    """k = P − Σμ is light-like, k·P = xM²/2, and k·q = ξ·xM²/2 for the muon q it leaves."""
    trace = simulate(chain(x_min=0.05), 30_000, seed=5)
    fraction, leg, xi = (
        trace.sites[n].flatten(0, 1)[:, 0].numpy()
        for n in ("photon_fraction", "photon_leg", "photon_angle")
    )
    x = np.exp(fraction)
    one = trace.sites["n_photons"].ravel().numpy() == 1
    axes, before, direction = collins_soper_axes(trace), pair_before(trace), muon_direction(trace)
    mass = trace.state["mass"].ravel().numpy()
    k = before - muons(trace).sum(1)
    spatial = np.einsum("ni,nij->nj", direction, axes)
    q = 0.5 * (before + ((1 - 2 * leg) * mass)[:, None] * spatial)
    scale = 0.5 * x * mass**2
    assert one.sum() > 1000

    np.testing.assert_allclose(product(k, k)[one], 0, atol=1e-6)
    np.testing.assert_allclose((product(k, before) / scale)[one], 1, rtol=1e-8)
    np.testing.assert_allclose((product(k, q) / scale)[one], xi[one], atol=1e-8)


def test_without_photons_the_muons_carry_everything() -> None:
    trace = simulate(chain(x_min=0.5), 5_000, seed=6)
    none = trace.sites["n_photons"].ravel().numpy() == 0
    difference = muons(trace).sum(1) - pair_before(trace)

    assert none.mean() > 0.9
    np.testing.assert_allclose(difference[none], 0, atol=1e-7)


def test_radiation_agrees_with_pythia() -> None:
    """Seven P(M_μμ/M < r) of Pythia 8.317 at 7 TeV, 60 < M < 120 GeV, within 6 %."""
    state = simulate(chain(window=(60.0, 120.0)), 400_000, seed=7).state
    ratio = (state["bare_mass"] / state["mass"]).ravel().numpy()
    below = {0.999: 0.274, 0.995: 0.204, 0.99: 0.172, 0.98: 0.138, 0.95: 0.0935,
             0.9: 0.0613, 0.8: 0.0332}  # fmt: skip

    for r, expected in below.items():
        assert (ratio < r).mean() == pytest.approx(expected, rel=0.06)


def test_collinear_logarithm() -> None:
    mass: Tensor = torch.tensor(91.1876, dtype=torch.float64)

    assert collinear_log(mass).item() == pytest.approx(math.log(91.1876**2 / MUON**2) - 1)
