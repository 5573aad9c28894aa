"""Pythia 8 as a stage: reproducible, in its place in a chain, clear when it cannot run."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from hepgen.errors import SimulationError, WorkflowError
from hepgen.simulators.chain import Chain
from hepgen.simulators.detector import MuonDetector
from hepgen.simulators.pythia import COLUMNS, Generator, PythiaDimuons
from hepgen.simulators.reconstruction import MUON_COLUMNS, DimuonReconstruction

THEORY = {"m_z": 91.1876, "sin2_theta_w": 0.2312}


def chain() -> Chain:
    return Chain([PythiaDimuons(), MuonDetector(), DimuonReconstruction()], MUON_COLUMNS)


def test_without_pythia_the_command_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pythia8mc", None)

    with pytest.raises(SimulationError, match=r"pip install 'hepgen\[pythia\]'"):
        PythiaDimuons().draw(THEORY, 1, seed=1)


def test_it_stands_where_the_stages_that_it_replaces_stand() -> None:
    pytest.importorskip("pythia8mc")
    made = chain()
    state = made.simulate(made.parameters.values(), 300, seed=1).state

    assert set(PythiaDimuons.provides) <= set(state)
    assert state["muon_pt"].shape == (1, 300, 2)
    assert state["selected"].double().mean() > 0.2
    for name, column in state.items():
        assert column.double().isfinite().all(), name


def test_the_same_seed_gives_the_same_events() -> None:
    pytest.importorskip("pythia8mc")
    made = chain()
    one, same, seed, block = (
        made.simulate(made.parameters.values(), 50, *numbers).state["mass"]
        for numbers in ((1, 0), (1, 0), (2, 0), (1, 1))
    )

    assert torch.equal(one, same)
    assert not (one == seed).any()
    assert not (one == block).any()


def test_each_point_is_its_own_pythia() -> None:
    pytest.importorskip("pythia8mc")
    made = chain()
    masses = torch.tensor([[88.0], [94.0]], dtype=torch.float64)
    state = made.simulate(made.parameters.values() | {"m_z": masses}, 400, seed=1).state

    medians = state["mass"].median(-1).values.tolist()
    assert medians == pytest.approx([88.0, 94.0], abs=0.6)


def test_muons_of_the_boson() -> None:
    """Masses and momenta agree: M_μμ ≤ M, equal where nothing was radiated."""
    pytest.importorskip("pythia8mc")
    drawn = PythiaDimuons(settings={"PartonLevel:FSR": False}).draw(THEORY, 300, seed=4)
    c = dict(zip(COLUMNS, drawn.T, strict=True))
    np.testing.assert_allclose(c["bare_mass"], c["mass"], rtol=1e-6)
    px, py = (
        sum(c[f"pt_{q}"] * f(c[f"phi_{q}"]) for q in ("negative", "positive"))
        for f in (np.cos, np.sin)
    )
    np.testing.assert_allclose(np.hypot(px, py), c["pt"], atol=1e-6)

    radiated = dict(zip(COLUMNS, PythiaDimuons().draw(THEORY, 300, seed=4).T, strict=True))
    ratio = radiated["bare_mass"] / radiated["mass"]
    assert (ratio < 1 + 1e-6).all()
    assert 0.1 < (ratio < 0.999).mean() < 0.5


def test_generated_masses_stay_in_the_window() -> None:
    pytest.importorskip("pythia8mc")
    mass = PythiaDimuons(window=(88.0, 94.0)).draw(THEORY, 300, seed=5)[:, 0]

    assert mass.min() >= 88
    assert mass.max() <= 94


def test_the_cross_section_is_that_of_the_z() -> None:
    """718 ± 3 pb at leading order for 60 to 120 GeV at 7 TeV (from 20,000 events)."""
    pytest.importorskip("pythia8mc")
    generator = PythiaDimuons(window=(60.0, 120.0)).generator(THEORY, seed=1)
    generator.draw(500)

    assert generator.cross_section == pytest.approx(718, rel=0.15)
    assert generator.failed == 0


def test_the_density_is_not_known() -> None:
    pytest.importorskip("pythia8mc")
    made = chain()
    trace = made.simulate(made.parameters.values(), 5, seed=1)

    with pytest.raises(SimulationError, match="density of Pythia's events is not known"):
        made.log_prob(trace, made.parameters.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"Beams:eCN": 7000.0}, "no setting 'Beams:eCN'.*did you mean 'Beams:eCM'"),
        ({"PartonLevel:FRS": True}, "did you mean 'PartonLevel:FSR'"),
        ({"Beams:eCM": "seven"}, "'Beams:eCM' does not take the value 'seven'"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, bool | float | str], message: str) -> None:
    pytest.importorskip("pythia8mc")

    with pytest.raises(WorkflowError, match=message):
        PythiaDimuons(settings=settings).draw(THEORY, 1, seed=1)


def test_a_pythia_that_cannot_start() -> None:
    pytest.importorskip("pythia8mc")

    with pytest.raises(SimulationError, match="cannot start"):
        Generator({"Beams:eCM": 1.0, "WeakSingleBoson:ffbar2gmZ": True}, seed=1)


class Failing:
    """A Pythia that fails most of its events."""

    def __init__(self, pythia: object, every: int) -> None:
        self.pythia, self.every, self.calls = pythia, every, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.pythia, name)

    def next(self) -> bool:
        self.calls += 1
        return self.calls % self.every == 0 and bool(self.pythia.next())  # type: ignore[attr-defined]


def test_failed_events_are_counted_and_replaced() -> None:
    pytest.importorskip("pythia8mc")
    generator = PythiaDimuons().generator(THEORY, seed=1)
    generator.pythia = Failing(generator.pythia, every=3)

    assert generator.draw(10).shape == (10, len(COLUMNS))
    assert generator.failed == 20


def test_a_generator_that_only_fails_is_given_up() -> None:
    pytest.importorskip("pythia8mc")
    generator = PythiaDimuons().generator(THEORY, seed=1)
    generator.pythia = Failing(generator.pythia, every=10**9)

    with pytest.raises(SimulationError, match="failed 100 events in a row"):
        generator.draw(1)
