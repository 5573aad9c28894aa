"""Event shapes: known configurations, brute force, and Pythia's own on Pythia's events."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hepgen.simulators.chain import Chain
from hepgen.simulators.event_shapes import EventShapes, c_parameter, heavy_jet_mass, sphericity
from hepgen.simulators.stage import State
from hepgen.simulators.thrust import thrust
from tests.simulators.gun import Sprayer


def brute_force(p: Tensor) -> Tensor:
    """The largest |Σ s_k p_k| of all signs, over Σ|p|."""
    signs = torch.tensor(list(itertools.product((1.0, -1.0), repeat=p.shape[1])), dtype=p.dtype)
    longest: Tensor = torch.einsum("sk,bkc->bsc", signs, p).norm(dim=-1).amax(-1)
    value: Tensor = longest / p.norm(dim=-1).sum(-1)
    return value


def star(n: int) -> Tensor:
    """n unit momenta at equal angles in a plane, as one event."""
    angle = torch.arange(n).double() * 2 * math.pi / n
    return torch.stack((angle.cos(), angle.sin(), torch.zeros(n).double()), dim=-1)[None]


def sphere(n: int) -> Tensor:
    """n directions spread evenly over the sphere, as one event."""
    k = torch.arange(n).double() + 0.5
    z, phi = 1 - 2 * k / n, math.pi * (1 + math.sqrt(5)) * k
    rho = (1 - z.square()).sqrt()
    return torch.stack((rho * phi.cos(), rho * phi.sin(), z), dim=-1)[None]


@pytest.mark.parametrize(
    ("momenta", "expected", "sphericity_", "c"),
    [(star(2), 1.0, 0.0, 0.0), (star(3), 2 / 3, 0.75, 0.75), (star(4), math.sqrt(0.5), 0.75, 0.75)],
    ids=["pencil", "three jets", "cross"],
)
def test_known_configurations(
    momenta: Tensor, expected: float, sphericity_: float, c: float
) -> None:
    assert thrust(momenta)[0].item() == pytest.approx(expected, abs=1e-12)
    assert sphericity(momenta).item() == pytest.approx(sphericity_, abs=1e-12)
    assert c_parameter(momenta).item() == pytest.approx(c, abs=1e-12)


def test_an_isotropic_event() -> None:
    momenta = sphere(150)
    assert thrust(momenta)[0].item() == pytest.approx(0.5, abs=0.01)
    assert sphericity(momenta).item() == pytest.approx(1, abs=0.01)
    assert c_parameter(momenta).item() == pytest.approx(1, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 8),
    st.integers(0, 2**31),
    st.sampled_from(["any", "plane", "parallel", "padded"]),
)
def test_thrust_is_that_of_brute_force(n: int, seed: int, kind: str) -> None:
    """Also where momenta are in a plane, parallel to each other, or padding."""
    p = torch.randn(20, n, 3, generator=torch.Generator().manual_seed(seed)).double()
    if kind == "plane":
        p[..., 2] = 0
    if kind == "parallel":
        p[:, 1] = 2.5 * p[:, 0]
        p[:, -1] = -0.5 * p[:, 0]
    if kind == "padded":
        p[:10, -1] = 0
    torch.testing.assert_close(thrust(p)[0], brute_force(p), rtol=1e-12, atol=1e-12)


def test_the_axis_gives_the_thrust_and_no_direction_gives_more() -> None:
    generator = torch.Generator().manual_seed(1)
    p = torch.randn(50, 30, 3, generator=generator).double()
    value, axis = thrust(p)
    total = p.norm(dim=-1).sum(-1)
    directions = torch.nn.functional.normalize(torch.randn(2000, 3, generator=generator).double())
    others = torch.einsum("bkc,dc->bkd", p, directions).abs().sum(1) / total[:, None]

    torch.testing.assert_close(axis.norm(dim=-1), torch.ones(50).double())
    along = torch.einsum("bkc,bc->bk", p, axis).abs().sum(-1) / total
    torch.testing.assert_close(along, value)
    assert (others.amax(-1) <= value).all()


def test_an_event_without_momentum_has_zeros() -> None:
    empty = torch.zeros(2, 4, 3).double()
    value, axis = thrust(empty)

    assert (value == 0).all()
    assert (axis == 0).all()
    assert (c_parameter(empty) == 0).all()
    assert (sphericity(empty) == 0).all()


def test_heavy_jet_mass_of_three_jets() -> None:
    """Two massless momenta of a symmetric star have M² = 3E², of E_vis = 3E: ⅓."""
    p = star(3)
    assert heavy_jet_mass(p, p.norm(dim=-1), thrust(p)[1]).item() == pytest.approx(1 / 3)
    two = star(2)
    assert heavy_jet_mass(two, two.norm(dim=-1), thrust(two)[1]).item() == pytest.approx(0)


def test_shapes_do_not_depend_on_scale_or_padding() -> None:
    chain = Chain([Sprayer(width=1.0), EventShapes("Particle")])
    state = chain.simulate(chain.parameters.values(), 100, seed=1).state
    wider: State = {}
    for name in ("px", "py", "pz", "e", "id"):
        column = state[f"Particle_{name}"]
        wider[f"Particle_{name}"] = torch.nn.functional.pad(
            3 * column if name != "id" else column, (0, 5)
        )
    again = EventShapes("Particle")(wider, {})

    for name in EventShapes.provides:
        torch.testing.assert_close(again[name], state[name])
    charged = torch.isin(state["Particle_id"].abs(), torch.tensor([211, 321, 13, 11]))
    assert torch.equal(state["nCharged"], charged.sum(-1))


def test_against_pythia() -> None:
    """Thrust, sphericity, C and y₂₃ of Pythia's own analysis, event by event at 91.2 GeV."""
    pythia8mc = pytest.importorskip("pythia8mc")
    pythia = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", "Beams:idA = 11", "Beams:idB = -11", "Beams:eCM = 91.188",
                 "PDF:lepton = off", "WeakSingleBoson:ffbar2gmZ = on", "23:onMode = off",
                 "23:onIfAny = 1 2 3 4 5", "Random:setSeed = on", "Random:seed = 5"):  # fmt: skip
        assert pythia.readString(line)
    assert pythia.init()
    # select = 2: all that is visible.
    axes, sphere_, lines = (
        pythia8mc.Thrust(2),
        pythia8mc.Sphericity(2.0, 2),
        pythia8mc.Sphericity(1.0, 2),
    )
    durham_ = pythia8mc.ClusterJet("Durham", 2, 2)
    events, expected = [], []
    for _ in range(150):
        assert pythia.next()
        for one in (axes, sphere_, lines):
            assert one.analyze(pythia.event)
        assert durham_.analyze(pythia.event, 1.0, 0.0, 2)
        a, b, c = (lines.eigenValue(i) for i in (1, 2, 3))
        expected.append((axes.thrust(), sphere_.sphericity(), 3 * (a * b + b * c + c * a),
                         durham_.distance(0)))  # fmt: skip
        particles = [p for p in pythia.event if p.isFinal() and p.isVisible()]
        events.append([(p.px(), p.py(), p.pz(), p.e(), p.id()) for p in particles])
    width = max(map(len, events))
    rows = np.array([e + [(0.0, 0.0, 0.0, 0.0, 0)] * (width - len(e)) for e in events])[None]
    columns = dict(
        zip(("px", "py", "pz", "e", "id"), torch.from_numpy(rows).unbind(-1), strict=True)
    )
    state = {f"Particle_{n}": c.long() if n == "id" else c for n, c in columns.items()}
    shapes = EventShapes("Particle")(state, {})

    values = np.array(expected)
    # Pythia climbs to a maximum from a few seeds: it may stop at a lower one, never above.
    ours = shapes["Thrust"][0].numpy()
    assert (ours >= values[:, 0] - 1e-9).all()
    assert np.mean(np.abs(ours - values[:, 0]) < 1e-6) > 0.95
    np.testing.assert_allclose(shapes["Sphericity"][0], values[:, 1], atol=1e-6)
    np.testing.assert_allclose(shapes["C_parameter"][0], values[:, 2], atol=1e-6)
    # Pythia's distance is not divided by the visible energy.
    distance = shapes["Durham_y23"][0] * columns["e"][0].sum(-1).square()
    np.testing.assert_allclose(distance, values[:, 3], rtol=1e-5, atol=1e-6)
