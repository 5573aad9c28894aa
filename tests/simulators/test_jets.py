"""Jets: against an independent clusterer, Pythia, and what must be true of any jet.

Statistical tests are refused at 4 standard errors or p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

import math
import subprocess
import sys
from functools import partial
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hepgen.errors import SimulationError, WorkflowError
from hepgen.simulators import jets as jets_module
from hepgen.simulators.btag import BTAG_COLUMNS, BTagging, tag_probability
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain
from hepgen.simulators.coordinates import cylindrical, momenta
from hepgen.simulators.detectors.cms import cms_detector
from hepgen.simulators.jet_energy import JET_COLUMNS, JetEnergy, correction
from hepgen.simulators.jets import JetFinder, antikt, durham, durham_y
from hepgen.simulators.missing_momentum import MissingMomentum
from hepgen.simulators.stage import State
from tests.simulators.gun import Gun, Sprayer, real
from tests.simulators.recombination import antikt_jets, durham_y23

FALSE_ALARM = 1e-4


def sample(n: int, seed: int = 1, least: int = 0, most: int = 12) -> Any:
    """Events of random massive particles, some of them empty."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(least, most, n)
    p = rng.normal(scale=10, size=(counts.sum(), 3))
    energy = np.sqrt((p**2).sum(-1) + 0.1**2)
    columns = {"px": p[:, 0], "py": p[:, 1], "pz": p[:, 2], "E": energy}
    return ak.unflatten(ak.zip(columns, with_name="Momentum4D"), counts)


def dense(events: Any) -> Tensor:
    """Events as (B, N, 4), padded with zeros."""
    width = int(ak.max(ak.num(events)))
    columns = [ak.fill_none(ak.pad_none(events[c], width), 0) for c in ("px", "py", "pz", "E")]
    return torch.stack([torch.from_numpy(ak.to_numpy(c)) for c in columns], dim=-1)


def sprays(*stages: Any, n: int = 300, width: float = 0.2, **changed: float) -> State:
    chain = Chain([Sprayer(width=width), *stages])
    return chain.simulate(chain.parameters.values(None, **changed), n, seed=3).state


# --- Clustering -----------------------------------------------------------------------------


def test_antikt_is_that_of_another_implementation() -> None:
    events = sample(300)
    found, _ = antikt(events, radius=0.7, pt_min=0.0)
    expected = antikt_jets(dense(events), radius=0.7)
    pt = torch.hypot(expected[..., 0], expected[..., 1]).sort(descending=True).values
    ours = torch.zeros_like(pt)
    for event, jets in enumerate(ak.to_list(np.hypot(found.px, found.py))):
        ours[event, : len(jets)] = real(*jets)

    torch.testing.assert_close(ours, pt)


def test_durham_is_that_of_another_implementation() -> None:
    events = sample(300, least=10, most=11)
    torch.testing.assert_close(
        torch.from_numpy(durham_y(events, 2)), durham_y23(dense(events)), rtol=1e-8, atol=1e-12
    )


@pytest.mark.parametrize("how", ["sliced", "shuffled", "masked"])
def test_an_event_never_sees_particles_of_another(how: str) -> None:
    """FastJet reads the wrong buffers of lists that were sliced, unless they are packed."""
    events = sample(60, seed=4)
    order = np.random.default_rng(1).permutation(60)
    parts = {"sliced": events[7:40], "shuffled": events[order], "masked": events[:, 1:]}
    part = parts[how]
    part = part[ak.num(part) > 2]
    for cluster in (partial(antikt, radius=0.6, pt_min=1.0), partial(durham, n_jets=3)):
        together, index = cluster(part)
        for i in range(len(part)):
            alone, own = cluster(ak.Array([ak.to_list(part[i])], with_name="Momentum4D"))
            assert ak.to_list(index[i]) == ak.to_list(own[0])
            assert ak.to_list(together[i]) == ak.to_list(alone[0])
    y = durham_y(part, 2)
    alone_y = [durham_y(part[i : i + 1], 2)[0] for i in range(len(part))]
    np.testing.assert_array_equal(y, alone_y)


@pytest.mark.parametrize("algorithm", ["antikt", "durham"])
def test_a_jet_is_the_sum_of_its_constituents(algorithm: str) -> None:
    state = sprays(JetFinder(algorithm, pt_min=5.0, source="Particle"), width=0.6)
    jet = state["Particle_jet"]
    for p, raw in zip(momenta(state, "Particle"), momenta(state, "RawJet"), strict=True):
        total = torch.zeros(*raw.shape[:2], raw.shape[2] + 1, dtype=p.dtype)
        total.scatter_add_(-1, jet + 1, p)
        torch.testing.assert_close(total[..., 1:], raw)
    assert (jet.amax(-1) + 1 == state["nRawJet"]).all()


def test_durham_uses_every_visible_particle() -> None:
    state = sprays(JetFinder("durham", n_jets=3, source="Particle"))

    assert (state["nRawJet"] == 3).all()
    assert torch.equal(state["Particle_jet"] == -1, state["Particle_id"].abs() == 12)


def test_events_with_too_few_particles_have_no_durham_jets() -> None:
    events = sample(50, least=0, most=4)
    jets, index = durham(events, 2)

    expected = np.where(ak.to_numpy(ak.num(events)) >= 2, 2, 0)
    np.testing.assert_array_equal(ak.num(jets), expected)
    np.testing.assert_array_equal(ak.num(index), expected)
    assert len(durham(events[ak.num(events) < 2], 2)[0]) == int(ak.sum(ak.num(events) < 2))
    assert (durham_y(events, 2)[ak.to_numpy(ak.num(events)) <= 2] == 0).all()


@pytest.mark.parametrize("algorithm", ["antikt", "durham"])
def test_two_particles_are_two_jets(algorithm: str) -> None:
    gun = Gun((50.0, 40.0), (0.3, -0.2), (0.0, 3.0), (211, 22))
    state = Chain([gun, JetFinder(algorithm, source="Particle")]).simulate({}, 3, seed=1).state

    assert (state["nRawJet"] == 2).all()
    pt, eta, phi = cylindrical(*momenta(state, "RawJet")[:3])
    torch.testing.assert_close(pt[0, 0], real(50.0, 40.0))
    torch.testing.assert_close(eta[0, 0], real(0.3, -0.2))
    torch.testing.assert_close(phi[0, 0], real(0.0, 3.0))


def test_no_event_may_have_a_jet() -> None:
    gun = Gun((5.0,), (0.3,), (0.0,), (211,))
    chain = Chain([gun, JetFinder(source="Particle"), JetEnergy()])
    state = chain.simulate(chain.parameters.values(), 4, seed=1).state

    assert (state["nRawJet"] == 0).all()
    assert (state["nJet"] == 0).all()
    assert (state["Particle_jet"] == -1).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"algorithm": "kt"}, "'kt'; expected 'antikt' or 'durham'"),
        ({"radius": 0.0}, "radius 0.0"),
        ({"pt_min": -1.0}, "pt_min -1.0"),
        ({"n_jets": 0}, "n_jets 0"),
    ],
)
def test_nonsense_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(WorkflowError, match=words):
        JetFinder(**options)


def test_without_fastjet_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    jets_module.library.cache_clear()
    monkeypatch.setitem(sys.modules, "fastjet", None)
    with pytest.raises(SimulationError, match=r"pip install 'hepgen\[jets\]'"):
        JetFinder()


def test_the_banner_of_fastjet_is_not_in_the_results() -> None:
    code = "from hepgen.simulators.jets import library; library(); print('{}')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{}\n"


# --- Energy of jets -------------------------------------------------------------------------


def test_the_correction_is_that_of_the_card() -> None:
    value = correction(real(20.0, 20.0), real(0.0, -2.0))
    torch.testing.assert_close(value, real(math.sqrt(6.25 / 20 + 1), math.sqrt(2.2**2 / 20 + 1)))


@pytest.mark.parametrize("corrected", [True, False])
def test_scale_and_resolution_of_jets_are_those_put_in(corrected: bool) -> None:
    gun = Gun((50.0,), (0.3,), (0.0,), (22,))
    chain = Chain([gun, JetFinder(source="Particle"), JetEnergy(corrected)])
    values = chain.parameters.values(None, jet_energy_scale=0.04, jet_energy_resolution=0.1)
    state = chain.simulate(values, 20_000, seed=1).state
    mean = 52 * (math.sqrt((2.5 - 0.045) ** 2 / 50 + 1) if corrected else 1)
    sigma = math.sqrt(math.log1p(0.01))
    expected = stats.lognorm(s=sigma, scale=mean * math.exp(-(sigma**2) / 2))
    pt = state["Jet_pt"][0, :, 0]

    assert stats.kstest(pt.numpy(), expected.cdf).pvalue > FALSE_ALARM
    torch.testing.assert_close(state["Jet_rawFactor"][0, :, 0], 1 - 50 / pt)


def test_measured_jets_come_hardest_first_with_their_mass() -> None:
    stages = (JetFinder(pt_min=5.0, source="Particle"), JetEnergy())
    state = sprays(*stages, width=0.6, jet_energy_resolution=0.4)
    px, py, pz, e = momenta(state, "RawJet")
    mass = (e.square() - px.square() - py.square() - pz.square()).clamp_min(0).sqrt()
    raw = (mass / torch.hypot(px, py).clamp_min(1e-9)).sort(dim=-1).values
    ratio = (state["Jet_mass"] / state["Jet_pt"].clamp_min(1e-9)).sort(dim=-1).values

    assert (state["Jet_pt"].diff(dim=-1) <= 0).all()
    torch.testing.assert_close(ratio, raw, rtol=1e-6, atol=1e-6)


def test_a_cut_on_measured_jets() -> None:
    state = sprays(JetFinder(pt_min=5.0, source="Particle"), JetEnergy(pt_min=60.0))
    exists = torch.arange(state["Jet_pt"].shape[-1]) < state["nJet"][..., None]

    assert torch.equal(state["Jet_pt"] > 0, exists)
    assert state["Jet_pt"][exists].min() > 60
    with pytest.raises(WorkflowError, match="pt_min = -1"):
        JetEnergy(pt_min=-1)


# --- Flavour --------------------------------------------------------------------------------


def test_tag_probabilities_of_the_card() -> None:
    value = tag_probability(torch.tensor([5, 4, 0]), real(100.0))
    expected = (0.85 * math.tanh(0.25) * 25 / 7.3, 0.25 * math.tanh(1.8) / 1.13, 0.0138)
    torch.testing.assert_close(value, real(*expected))


@pytest.mark.parametrize("truth", ["parton", "hard"])
def test_flavour_and_tags_of_jets(truth: str) -> None:
    """The spray along the b is a b jet; by the flavour of the event both are."""
    stages = (JetFinder(radius=1.0, source="Particle"), JetEnergy(), BTagging(truth))
    state = sprays(*stages, n=8000, width=0.1, btag_efficiency=0.9, mistag_rate=2.0)
    exists = torch.arange(state["Jet_pt"].shape[-1]) < state["nJet"][..., None]
    flavour, pt = state["Jet_flavour"], state["Jet_pt"]
    number = (flavour == 5).sum(-1)

    assert (number == (1 if truth == "parton" else 2)).double().mean() > 0.99
    for wanted, factor in ((5, 0.9), (0, 2.0)):
        chosen = exists & (flavour == wanted)
        if chosen.sum() < 1000:
            continue
        probability = factor * tag_probability(flavour, pt)[chosen]
        error = (probability * (1 - probability)).sum().sqrt() / chosen.sum()
        share = state["Jet_btag"][chosen].mean()
        assert abs(share - probability.mean()) < 4 * error


def test_nonsense_truth_is_refused() -> None:
    with pytest.raises(WorkflowError, match="'guess'; expected 'parton' or 'hard'"):
        BTagging("guess")
    with pytest.raises(WorkflowError, match="cone = 0"):
        BTagging(cone=0)


def test_jets_are_recorded_as_jagged_columns() -> None:
    """With as many entries as the event has jets, and the flags of their tags."""
    stages = (JetFinder(pt_min=5.0, source="Particle"), JetEnergy(), BTagging())
    observables = JET_COLUMNS | BTAG_COLUMNS
    chain = Chain([Sprayer(width=0.6), *stages], observables=observables)
    campaign = Campaign(
        chain, chain.parameters, 200, prior=False, block_size=200, latents=True,
        scores=["mistag_rate"],
    )  # fmt: skip
    events = campaign.simulate(0).events

    assert set(observables) <= set(events.fields)
    np.testing.assert_array_equal(ak.num(events["Jet_pt"]), ak.num(events["Jet_btag"]))
    assert ak.min(events["Jet_pt"]) > 0
    assert set(np.unique(ak.flatten(events["Jet_btag"]))) == {0, 1}


# --- Missing momentum -----------------------------------------------------------------------


def balanced(*stages: Any, ids: tuple[int, ...] = (22, 22), **changed: float) -> State:
    """Two particles of 100 GeV, back to back."""
    gun = Gun((100.0, 100.0), (0.0087, 0.0087), (0.00873, 0.00873 - math.pi), ids)
    chain = Chain([gun, *cms_detector(), *stages])
    return chain.simulate(chain.parameters.values(None, **changed), 4000, seed=1).state


def test_a_balanced_event_misses_no_more_than_the_resolution() -> None:
    """Photons: each component of the MET along the axis is √2 σ_E wide."""
    state = balanced(MissingMomentum(), ecal_resolution=0.05)
    assert state["MET_pt"].max() < 1.0
    wide = balanced(MissingMomentum())["MET_pt"].square().mean().sqrt().item()
    sigma = math.sqrt(0.008**2 * 100**2 + 0.11**2 * 100 + 0.16)
    assert wide == pytest.approx(math.sqrt(2) * sigma, rel=0.05)


def test_a_neutrino_is_missing() -> None:
    state = balanced(MissingMomentum(), ids=(22, 12), ecal_resolution=0.05)

    assert state["MET_pt"].mean().item() == pytest.approx(100, abs=0.5)
    away = torch.remainder(state["MET_phi"] - 0.00873, 2 * math.pi) - math.pi
    assert away.abs().max() < 0.02


def test_the_energy_of_jets_reaches_the_corrected_missing_momentum() -> None:
    """With jets of twice the momentum, −Σ flow − Σ (jets − clustered) = −2 Σ flow."""
    jets = (JetFinder(pt_min=1.0), JetEnergy(corrected=False), MissingMomentum(corrected=True))
    state = balanced(*jets, ids=(22, 12), jet_energy_scale=0.2, jet_energy_resolution=0.005)

    ratio = state["MET_pt"] / torch.hypot(state["Flow_px"].sum(-1), state["Flow_py"].sum(-1))
    assert ratio.mean().item() == pytest.approx(1.2, abs=4 * 1.2 * 0.005 / math.sqrt(4000))
