"""Morphing: identities of the weights, and events of one coupling from events of others."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from hepgen.errors import SimulationError
from hepgen.simulators.chain import Chain
from hepgen.simulators.contact import COUPLINGS, ContactDrellYan
from hepgen.simulators.morphing import Morphing, monomials
from hepgen.simulators.processes.registry import process

NAMES = [p.name for p in COUPLINGS]
POINTS = [
    [0.0, 0.0, 0.0, 0.0],
    [-0.3, 0.0, 0.0, 0.0],
    [0.2, -0.1, 0.4, 0.05],
    [5.0, -3.0, 2.0, 4.0],
]


def vector(c: list[float]) -> Tensor:
    return torch.tensor(c, dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=4), st.integers(0, 1000))
def test_any_quadratic_function_is_reproduced(c: list[float], seed: int) -> None:
    basis = Morphing.around([1.0] * len(c))
    coefficients = torch.from_numpy(np.random.default_rng(seed).normal(size=len(basis.points)))
    at_basis = monomials(basis.points) @ coefficients

    found = basis.combine(vector(c), at_basis)

    expected = monomials(vector(c)) @ coefficients
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("c", POINTS)
def test_the_weights_sum_to_one_and_are_one_at_their_own_point(c: list[float]) -> None:
    basis = Morphing.around([0.2, 0.1, 0.3, 0.4])

    assert basis.weights(vector(c)).sum().item() == pytest.approx(1, abs=1e-9)
    identity = torch.eye(15, dtype=torch.float64)
    torch.testing.assert_close(basis.weights(basis.points), identity, rtol=0, atol=1e-12)


def test_three_points_of_one_coupling_are_lagrange_polynomials() -> None:
    a, b, d = nodes = (-0.5, 0.1, 0.7)
    found = Morphing(vector(list(nodes))[:, None]).weights(vector([0.3]))
    c = 0.3
    expected = [
        (c - b) * (c - d) / ((a - b) * (a - d)),
        (c - a) * (c - d) / ((b - a) * (b - d)),
        (c - a) * (c - b) / ((d - a) * (d - b)),
    ]

    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[0.0], [1.0]], "2 basis points for 1 couplings; expected 3"),
        ([[0.0], [1.0], [1.0]], "does not determine a quadratic form"),
        ([[float(i), float(i)] for i in range(6)], "does not determine a quadratic form"),
    ],
)
def test_a_basis_that_is_none(points: list[list[float]], message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        Morphing(torch.tensor(points))


def values(chain: Chain, c: Tensor) -> dict[str, Tensor]:
    return chain.parameters.values(None, **dict(zip(NAMES, c.tolist(), strict=True)))


def test_the_joint_density_of_every_event_is_morphed() -> None:
    """The whole chain, detector included, against the matrix element itself: to 10⁻⁶."""
    chain = process("dy_eft")
    trace = chain.simulate(values(chain, vector([-0.1, 0.0, 0.1, 0.0])), 1000, seed=1)
    reference = chain.log_prob(trace, values(chain, torch.zeros(4)))

    def sigma_times_density(c: Tensor) -> Tensor:
        """σ(c) p(x, z | c) of each event, in units of p(x, z | 0)."""
        sigma = chain.stages[0].cross_section(values(chain, c))
        assert sigma is not None
        return sigma[:, None] * (chain.log_prob(trace, values(chain, c)) - reference).exp()

    basis = Morphing.around([0.2, 0.1, 0.3, 0.4])
    table = torch.stack([sigma_times_density(c) for c in basis.points])
    for c in map(vector, POINTS):
        direct = sigma_times_density(c)
        torch.testing.assert_close(basis.combine(c, table), direct, rtol=1e-6, atol=0)


@pytest.mark.parametrize("c", POINTS)
def test_the_spectrum_and_the_cross_section_are_morphed(c: list[float]) -> None:
    stage = ContactDrellYan()
    chain = Chain([stage])
    basis = Morphing.around([0.2, 0.1, 0.3, 0.4])

    for quantity in (lambda v: stage.channels(v)[0].sum(0), stage.cross_section):
        table = torch.stack([quantity(values(chain, p)) for p in basis.points])
        direct = quantity(values(chain, vector(c)))
        torch.testing.assert_close(basis.combine(vector(c), table), direct, rtol=1e-9, atol=0)


def test_weighted_samples_of_the_basis_have_the_distribution_of_another_point() -> None:
    """Reconstructed spectra in bins: morphed beside simulated at c, within 4.5 errors each."""
    chain = process("dy_eft")
    basis, c, n = Morphing(vector([-0.4, 0.0, 0.4])[:, None]), -0.2, 60_000
    edges = np.array([1000.0, 1200, 1500, 1900, 2400, 3000])

    def spectrum(c_ll: float, seed: int) -> tuple[np.ndarray, float]:
        at = chain.parameters.values(None, c_ll=c_ll)
        state = chain.simulate(at, n, seed).state
        sigma = chain.stages[0].cross_section(at)
        assert sigma is not None
        mass = state["Dimuon_mass"][state["selected"]].numpy()
        return np.histogram(mass, edges)[0].astype(float), sigma.item()

    samples = [spectrum(p, seed) for seed, p in enumerate(basis.points[:, 0].tolist())]
    counts = np.array([s[0] for s in samples])
    sigmas = vector([s[1] for s in samples])
    weight = basis.event_weights(vector([c]), sigmas, torch.full((3,), n)).numpy()
    direct, sigma = spectrum(c, 9)

    difference = weight @ counts - direct * sigma / n
    error = np.sqrt(weight**2 @ counts + direct * (sigma / n) ** 2)
    assert np.abs(difference / error).max() < 4.5
