"""Unfolding against closed forms, and against itself in other words."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.distributions import Normal
from torch import Tensor

from hepgen.errors import DataError
from hepgen.features import Feature
from hepgen.inference.unfolding import (
    Smearing,
    TrueBins,
    Unfolded,
    binned_smearing,
    bootstrap,
    density_weights,
    event_smearing,
    iterated,
    unfold,
)
from hepgen.simulators.chain import Chain
from hepgen.simulators.stage import Stage, State
from hepgen.surrogates.latent_posterior import learn_latent_posterior

WIDTH = 0.5


def flat(bins: int, efficiency: float = 1.0) -> TrueBins:
    one = torch.ones(bins, dtype=torch.float64)
    return TrueBins(torch.arange(bins + 1).double(), one / bins, efficiency * one)


def response(bins: int, seed: int) -> Tensor:
    """A matrix of probabilities, columns of sum 1, with most on the diagonal."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.rand(bins, bins, generator=generator, dtype=torch.float64)
    matrix = matrix + 2 * bins * torch.eye(bins, dtype=torch.float64)
    return matrix / matrix.sum(0)


def test_no_smearing_gives_the_data() -> None:
    counts = torch.tensor([7.0, 0.0, 3.0]).double()
    found = unfold(Smearing(flat(3, 0.5), torch.eye(3).double()), counts, iterations=3)
    torch.testing.assert_close(found.values, 2 * counts)
    torch.testing.assert_close(found.covariance, (4 * counts).diag())


def test_many_iterations_are_the_inverse_of_the_matrix() -> None:
    matrix, truth = response(4, 0), torch.tensor([100.0, 300.0, 200.0, 50.0]).double()
    counts = matrix @ truth
    found = unfold(Smearing(flat(4), matrix), counts, iterations=300)
    torch.testing.assert_close(found.values, truth)
    inverse = torch.linalg.inv(matrix)
    torch.testing.assert_close(found.covariance, inverse @ counts.diag() @ inverse.T)


@given(seed=st.integers(0, 1000), iterations=st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_events_are_conserved_and_likelihood_rises(seed: int, iterations: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    smearing = Smearing(flat(5), response(5, seed))
    counts = torch.poisson(torch.full((5,), 40.0, dtype=torch.float64), generator=generator)
    before, after = (iterated(smearing, counts, k) for k in (iterations, iterations + 1))
    torch.testing.assert_close(after.sum(), counts.sum())
    assert bool((after >= 0).all())
    old, new = (
        torch.xlogy(counts, smearing.likelihood @ m).sum() - m.sum() for m in (before, after)
    )
    assert new >= old - 1e-9


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_prior_is_a_fixed_point(seed: int) -> None:
    """Data as the simulation expects them change nothing."""
    smearing = Smearing(flat(4), response(4, seed))
    expected = 1000 * smearing.likelihood @ smearing.bins.share
    found = unfold(smearing, expected, iterations=5)
    torch.testing.assert_close(found.values, 1000 * smearing.bins.share)


def test_events_in_bins_are_the_bins() -> None:
    """A row for each event, or a row with a number: the same spectrum and covariance."""
    smearing = Smearing(flat(3), response(3, 1))
    counts = torch.tensor([4.0, 9.0, 5.0]).double()
    rows = torch.repeat_interleave(torch.arange(3), counts.long())
    # A factor for each event is of no account.
    factor = torch.rand(len(rows), 1, generator=torch.Generator().manual_seed(0)).double() + 0.1
    events = unfold(Smearing(flat(3), factor * smearing.likelihood[rows]), iterations=6)
    bins = unfold(smearing, counts, iterations=6)
    torch.testing.assert_close(events.values, bins.values)
    torch.testing.assert_close(events.covariance, bins.covariance)


def test_gaussians_stay_gaussians() -> None:
    r"""Prior N(0, 1), smearing s, data N(μ, τ² + s²): each iteration is a Kalman step.

    m' = m + K(μ − m), v' = (1 − K) v + K² (τ² + s²), K = v/(v + s²); bins of 0.05 are right to
    10⁻³.
    """
    mu, variance, s2 = 0.6, 0.5, 0.36
    edges = torch.linspace(-7, 7, 281, dtype=torch.float64)
    z = 0.5 * (edges[1:] + edges[:-1])
    x = torch.linspace(-7, 7, 281, dtype=torch.float64)
    share = torch.softmax(-0.5 * z.square(), 0)
    smearing = Smearing(
        TrueBins(edges, share, torch.ones_like(z)), torch.exp(-0.5 * (x[:, None] - z) ** 2 / s2)
    )
    counts = torch.softmax(-0.5 * (x - mu) ** 2 / (variance + s2), 0)
    mean, spread = 0.0, 1.0
    for k in range(1, 6):
        gain = spread / (spread + s2)
        mean = mean + gain * (mu - mean)
        spread = (1 - gain) * spread + gain**2 * (variance + s2)
        p = iterated(smearing, counts, k)
        found = float(p @ z)
        assert found == pytest.approx(mean, abs=1e-3)
        assert float(p @ (z - found).square()) == pytest.approx(spread, abs=1e-3)


@pytest.mark.parametrize("iterations", [1, 4, 12])
def test_propagated_and_bootstrapped_covariance_agree(iterations: int) -> None:
    """2000 replicas give a standard deviation to 1.6 %; 5 of them, and a little non-linearity."""
    smearing = Smearing(flat(4, 0.8), response(4, 2))
    counts = torch.tensor([400.0, 900.0, 700.0, 300.0]).double()
    found = unfold(smearing, counts, iterations)
    replicas = bootstrap(smearing, counts, iterations, replicas=2000)
    torch.testing.assert_close(replicas.std(0), found.errors, rtol=0.09, atol=0)
    scale = found.errors[:, None] * found.errors
    torch.testing.assert_close(
        torch.cov(replicas.T) / scale, found.covariance / scale, rtol=0, atol=0.13
    )


def test_the_matrix_is_that_of_the_simulation() -> None:
    true = torch.tensor([0.5, 0.5, 0.5, 1.5, 1.5, 2.0]).double()
    reco = torch.tensor([0.1, 1.2, 5.0, 1.1, 0.3, 1.9]).double()
    selected = torch.tensor([True, True, True, True, False, True])
    edges = torch.tensor([0.0, 1.0, 2.0]).double()
    smearing = binned_smearing(true, reco, selected, edges, edges)
    torch.testing.assert_close(smearing.likelihood, torch.tensor([[0.5, 0.0], [0.5, 1.0]]).double())
    torch.testing.assert_close(smearing.bins.efficiency, torch.tensor([2 / 3, 2 / 3]).double())
    torch.testing.assert_close(smearing.bins.share, torch.tensor([0.5, 0.5]).double())


def test_merged_bins_add_up_and_chi2_is_invariant() -> None:
    covariance = torch.tensor([[4.0, 1.0, 0.0], [1.0, 9.0, 2.0], [0.0, 2.0, 5.0]]).double()
    values = torch.tensor([10.0, 20.0, 30.0]).double()
    found = Unfolded(torch.arange(4).double(), values, covariance)
    wide = found.merged(torch.tensor([1.0, 3.0]))
    assert wide.values.tolist() == [50.0]
    assert wide.covariance.item() == pytest.approx(18.0)
    chi2, directions = found.chi2(values - 1)
    assert directions == 3
    assert chi2 == pytest.approx(float(torch.linalg.inv(covariance).sum()))
    with pytest.raises(DataError, match="expected some of"):
        found.merged(torch.tensor([0.5, 3.0]))


class _Smeared(Stage):
    """z ~ N(0, 1), a nuisance n ~ N(0, 1), x ~ N(z + n, WIDTH²)."""

    name = "smeared"
    provides = ("truth", "measured")

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        zero = torch.zeros(state["event"].shape, dtype=torch.float64)
        z = pyro.sample("z", Normal(zero, zero + 1))
        n = pyro.sample("n", Normal(zero, zero + 1))
        return state | {"truth": z, "measured": pyro.sample("x", Normal(z + n, zero + WIDTH))}


def test_weights_by_the_density_make_a_poor_posterior_exact() -> None:
    """p(z | x) = N(x/(2 + s²), 1 − 1/(2 + s²)); q has hardly been trained."""
    chain = Chain([_Smeared()])
    q = learn_latent_posterior(
        chain, [Feature("z")], [Feature("x")], {}, events=2000, method="coupling", device="cpu",
        epochs=1, options={"layers": 1, "hidden": [4]}, domain=None,
    )  # fmt: skip
    x = torch.tensor([-1.0, 0.2, 1.5], dtype=torch.float64)
    z, weights = density_weights(q, x[:, None], chain, {"x": x}, {}, draws=4000, inner=30)
    torch.testing.assert_close(weights.sum(0), torch.ones(3).double())
    total = 2 + WIDTH**2
    mean = (weights * z).sum(0)
    variance = (weights * (z - mean) ** 2).sum(0)
    # Effective draws are above 1000: 0.03 σ, and five of them.
    assert ((weights.square().sum(0)) < 1e-3).all()
    torch.testing.assert_close(mean, x / total, rtol=0, atol=0.12)
    torch.testing.assert_close(variance, torch.full((3,), 1 - 1 / total).double(), rtol=0.2, atol=0)
    plain = z.mean(0) - x / total
    assert plain.abs().max() > 0.15

    edges = torch.tensor([-6.0, 0.0, 6.0]).double()
    bins = TrueBins(edges, torch.tensor([0.5, 0.5]).double(), torch.ones(2).double())
    above = 1 - torch.special.ndtr(-(x / total) / (1 - 1 / total) ** 0.5)
    smearing = event_smearing(z, bins, weights)
    torch.testing.assert_close(smearing.likelihood[:, 1] / 2, above, rtol=0, atol=0.08)


def test_a_learned_posterior_is_set_against_the_prior_that_it_believes_in() -> None:
    """Whatever q has wrong, the events it was averaged over leave the prior as it is."""
    bins = TrueBins(torch.arange(4).double(), torch.tensor([0.2, 0.5, 0.3]).double(),
                    torch.ones(3).double())  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    draws = 3 * torch.rand(40, 300, generator=generator, dtype=torch.float64)
    found = unfold(event_smearing(draws, bins, simulated=draws), iterations=1)
    shares = torch.bincount(draws.flatten().long(), minlength=3) / draws.numel()
    likelihood = event_smearing(draws, bins).likelihood * bins.share / shares
    torch.testing.assert_close(event_smearing(draws, bins, simulated=draws).likelihood, likelihood)
    flat_bins = TrueBins(bins.edges, shares.double(), bins.efficiency)
    same = unfold(event_smearing(draws, flat_bins, simulated=draws), iterations=7)
    torch.testing.assert_close(same.values, 300 * shares.double())
    assert found.values.sum() == pytest.approx(300)


def test_bad_input_is_refused() -> None:
    edges, here = torch.arange(3).double(), torch.tensor([True, True])
    inside = torch.tensor([0.5, 1.5]).double()
    with pytest.raises(DataError, match="outside the bins"):
        TrueBins.of(inside + 1, here, edges)
    with pytest.raises(DataError, match="increasing"):
        TrueBins.of(inside, here, edges.flip(0))
    with pytest.raises(DataError, match="true bin 1 to 2"):
        TrueBins.of(inside, torch.tensor([True, False]), edges)
    with pytest.raises(DataError, match="negative or not finite"):
        Smearing(flat(2), torch.tensor([[1.0, -1.0]]).double())
    with pytest.raises(DataError, match=r"expected \(I, 2\)"):
        Smearing(flat(2), torch.eye(3).double())
    smearing = Smearing(flat(2), torch.eye(2).double())
    for counts, iterations in ((torch.ones(3), 1), (-torch.ones(2), 1), (torch.ones(2), 0)):
        with pytest.raises(DataError, match="not negative, and one iteration"):
            unfold(smearing, counts, iterations)
    with pytest.raises(DataError, match="no true bin"):
        unfold(Smearing(flat(2), torch.tensor([[0.0, 0.0], [1.0, 1.0]]).double()), torch.ones(2))
