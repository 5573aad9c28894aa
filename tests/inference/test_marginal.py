"""The marginal likelihood of chains whose truth is known: in closed form, or by quadrature.

Statistical tests are refused at 4.5 standard errors, at fixed seeds: another choice would fail
with a probability below 1 % for the whole file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from numpy.typing import NDArray
from pyro.distributions import Bernoulli, Gamma, Normal
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from hepgen.errors import DataError, SimulationError
from hepgen.inference.marginal import (
    ENOUGH,
    MarginalLikelihood,
    Proposal,
    importance_likelihood,
    likelihood_bound,
    prior_likelihood,
)
from hepgen.inference.proposal import LearnedProposal
from hepgen.parameters import Parameter
from hepgen.simulators.chain import Chain
from hepgen.simulators.distributions import TruncatedExponential
from hepgen.simulators.linear_gaussian import LinearGaussian
from hepgen.simulators.processes.registry import process
from hepgen.simulators.stage import Stage, State

SIGMAS = 4.5
THETA = torch.tensor([0.7], dtype=torch.float64)


class Known:
    """One linear-Gaussian chain, some of its events, and the truth about them."""

    def __init__(self, depth: int, dimension: int, events: int = 20, noise: float = 0.5) -> None:
        self.chain = process(
            "gaussian", depth=depth, dimension=dimension, parameters=1, noise=noise
        )
        self.model = LinearGaussian.standard(depth, dimension, 1, noise)
        self.values = self.chain.parameters.values(None, theta_0=THETA.item())
        self.x = self.chain.simulate(self.values, events, seed=11).sites["x"][0]
        self.observed = {"x": self.x}
        self.truth: NDArray[np.float64] = self.model.log_prob(self.x, THETA).numpy()

    def exact(self, x: Tensor, parameters: Mapping[str, Tensor]) -> Distribution:
        return self.model.latent_posterior(x, parameters["theta_0"])

    def wide(self, x: Tensor, parameters: Mapping[str, Tensor]) -> MultivariateNormal:
        """A proposal with the posterior's mean, moved a little, and 1.5 times its covariance."""
        exact = self.model.latent_posterior(x, parameters["theta_0"])
        factor = exact.scale_tril * math.sqrt(1.5)
        return MultivariateNormal(exact.mean + 0.1, scale_tril=factor, validate_args=False)

    def pulls(self, found: MarginalLikelihood) -> NDArray[np.float64]:
        return (found.value - self.truth) / found.error


@pytest.fixture(scope="module")
def small() -> Known:
    return Known(3, 2)


def log_prob(density: Distribution, value: Tensor) -> Tensor:
    """As torch's own distributions do not annotate it."""
    found: Tensor = density.log_prob(value)
    return found


def calibrated(pulls: NDArray[np.float64]) -> bool:
    """No pull is too large, and their squares are on average what they are for a normal."""
    n = len(pulls)
    square = float(np.mean(pulls**2))
    return bool((np.abs(pulls) < SIGMAS).all()) and abs(square - 1) < SIGMAS * math.sqrt(2 / n)


# --- The estimates --------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "dimension"), [(1, 1), (3, 1), (3, 2), (6, 2)])
def test_draws_from_the_chain_give_the_truth(depth: int, dimension: int) -> None:
    known = Known(depth, dimension, events=40)
    found = prior_likelihood(known.chain, known.observed, known.values, 20_000, seed=1)

    assert found.kind == "estimate"
    assert found.trusted.sum() >= 30
    assert calibrated(known.pulls(found)[found.trusted])


def test_a_proposal_gives_the_truth_with_fewer_draws(small: Known) -> None:
    plain = prior_likelihood(small.chain, small.observed, small.values, 5000, seed=2)
    found = importance_likelihood(
        small.chain, small.observed, small.values, small.wide, 5000, seed=2
    )

    assert found.trusted.all()
    assert calibrated(small.pulls(found))
    assert (found.error < plain.error).all()


def test_effective_draws_of_the_chain_are_those_of_the_closed_form() -> None:
    """ESS/N tends to E[w]²/E[w²], and E[w²] is a Gaussian integral too."""
    known = Known(3, 1, events=10)
    found = prior_likelihood(known.chain, known.observed, known.values, 200_000, seed=3)
    joint, noise = known.model.joint(THETA), known.model.sigmas[-1]
    z_to_x = known.model.matrices[-1]
    last = joint.covariance_matrix[-2:-1, -2:-1]
    # w = N(x; Wz + b, σ²), so w² = N(x; Wz + b, σ²/2)/√(4πσ²).
    half = torch.distributions.Normal(
        joint.mean[-1], (z_to_x @ last @ z_to_x.T + noise**2 / 2).sqrt()
    )
    square = log_prob(half, known.x).ravel() - 0.5 * math.log(4 * math.pi * noise**2)
    expected = np.exp(2 * known.truth - square.numpy())

    np.testing.assert_allclose(found.effective_samples / 200_000, expected, rtol=0.03)


def test_the_posterior_as_proposal_has_no_variance(small: Known) -> None:
    found = importance_likelihood(
        small.chain, small.observed, small.values, small.exact, 100, seed=4
    )

    np.testing.assert_allclose(found.value, small.truth, rtol=1e-10)
    np.testing.assert_allclose(found.effective_samples, 100, rtol=1e-10)
    assert (found.error < 1e-7).all()


def test_draws_from_the_chain_fail_as_the_dimension_grows() -> None:
    """Few draws count, the answer is too low by much more than its error, and says so."""
    counts, biases = [], []
    for dimension in (1, 2, 4, 8, 16):
        known = Known(3, dimension)
        found = prior_likelihood(known.chain, known.observed, known.values, 2000, seed=5)
        counts.append(np.median(found.effective_samples))
        biases.append(np.median(found.value - known.truth))
        if dimension == 16:
            assert not found.trusted.any()
            assert np.median(np.abs(known.pulls(found))) > 5

    assert (np.diff(counts) < 0).all()
    assert counts[0] > ENOUGH
    assert counts[-1] < 3
    assert biases[-1] < -5


def test_a_learned_proposal_is_nearly_the_posterior(small: Known) -> None:
    learned = LearnedProposal.fit(small.chain, ["x"], small.values, events=20_000, epochs=3)
    found = importance_likelihood(small.chain, small.observed, small.values, learned, 2000)

    assert np.median(found.effective_samples) > 0.9 * 2000
    assert calibrated(small.pulls(found))


def test_a_proposal_learned_over_a_prior_knows_the_parameters() -> None:
    """Trained at many θ, asked at others: one θ for each event."""
    known = Known(2, 1, events=5)
    generator = torch.Generator().manual_seed(6)
    prior = 4 * torch.rand(200, 1, generator=generator, dtype=torch.float64) - 2
    at = known.values | {"theta_0": prior}
    learned = LearnedProposal.fit(known.chain, ["x"], at, events=20_000, epochs=3)
    theta = torch.linspace(-1.5, 1.5, 5, dtype=torch.float64)[:, None]
    asked = known.values | {"theta_0": theta}

    found = importance_likelihood(known.chain, known.observed, asked, learned, 2000)
    truth = known.model.log_prob(known.x, theta).numpy()
    assert (found.effective_samples > 0.8 * 2000).all()
    assert calibrated((found.value - truth) / found.error)


# --- Bounds ---------------------------------------------------------------------------------


def test_the_elbo_is_what_the_closed_form_says(small: Known) -> None:
    found = likelihood_bound(small.chain, small.observed, small.values, small.wide, 5000, seed=7)
    each = small.values["theta_0"].expand(len(small.x), 1)
    proposal = small.wide(small.x, {"theta_0": each})
    expected = small.model.elbo(proposal, small.x, THETA).numpy()

    assert found.kind == "bound"
    assert found.trusted.all()
    assert calibrated((found.value - expected) / found.error)
    assert (found.value + SIGMAS * found.error < small.truth).all()


def test_the_bound_rises_towards_the_truth_with_more_weights(small: Known) -> None:
    bounds = [
        likelihood_bound(
            small.chain, small.observed, small.values, small.wide, 20_000, importance=k, seed=8
        )
        for k in (1, 4, 20, 200)
    ]
    for low, high in pairwise(bounds):
        assert (high.value > low.value).all()
    last = bounds[-1]
    assert (last.value < small.truth + SIGMAS * last.error).all()
    assert np.mean(small.truth - last.value) < 0.05 * np.mean(small.truth - bounds[0].value)
    assert [b.terms for b in bounds] == [20_000, 5000, 1000, 100]


def test_one_group_of_all_draws_is_the_estimate(small: Known) -> None:
    bound = likelihood_bound(
        small.chain, small.observed, small.values, small.wide, 500, importance=500, seed=9
    )
    estimate = importance_likelihood(
        small.chain, small.observed, small.values, small.wide, 500, seed=9
    )

    np.testing.assert_allclose(bound.value, estimate.value)
    assert np.isinf(bound.error).all()
    assert not bound.trusted.any()


def test_the_posterior_as_proposal_makes_the_bound_the_truth(small: Known) -> None:
    found = likelihood_bound(small.chain, small.observed, small.values, small.exact, 100)

    np.testing.assert_allclose(found.value, small.truth, rtol=1e-10)


# --- Any chain ------------------------------------------------------------------------------


class Square(Stage):
    """z ~ N(0, 1), x ~ N(z², s), y ~ N(x, 1): two modes, and a latent-free site after x."""

    name = "square"
    provides = ("z",)
    parameters = (Parameter("s", 0.3, low=0.01, high=10.0),)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        zero = torch.zeros(state["event"].shape, dtype=torch.float64)
        z = pyro.sample("z", Normal(zero, 1.0, validate_args=False))
        width = parameters["s"].expand(zero.shape)
        x = pyro.sample("x", Normal(z.square(), width, validate_args=False))
        pyro.sample("y", Normal(x, 1.0, validate_args=False))
        return state | {"z": z}


def square_truth(x: float, s: float) -> float:
    """log p(x | s) by quadrature."""
    z = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    normal = torch.distributions.Normal(0.0, 1.0)
    terms = log_prob(normal, z) + log_prob(normal, (x - z.square()) / s) - math.log(s)
    return float(terms.logsumexp(0) + (z[1] - z[0]).log())


def test_latents_before_and_after_what_is_observed() -> None:
    """y follows x: it is drawn given the observed one, and adds no variance."""
    chain = Chain([Square()])
    values = {"s": torch.tensor([[0.3], [0.5], [0.3]], dtype=torch.float64)}
    x = torch.tensor([1.5, 1.5, -0.2], dtype=torch.float64)
    truth = [square_truth(a, b) for a, b in zip(x.tolist(), (0.3, 0.5, 0.3), strict=True)]

    for observed in ({"x": x}, {"x": x, "y": x + 0.5}):
        found = prior_likelihood(chain, observed, values, 20_000, seed=10)
        known = math.log(math.exp(-0.125) / math.sqrt(2 * math.pi)) if "y" in observed else 0.0
        assert (np.abs(found.value - known - truth) < SIGMAS * found.error).all()


def test_a_flow_knows_two_modes() -> None:
    """p(z | x) is at ±√x: a flow covers both with nearly equal weights, a Gaussian does not."""
    chain = Chain([Square()])
    values = {"s": torch.tensor(0.3, dtype=torch.float64)}
    observed = {"x": torch.tensor([2.0, 3.0], dtype=torch.float64), "y": torch.zeros(2).double()}
    truth = np.array([square_truth(a, 0.3) for a in (2.0, 3.0)])
    truth += log_prob(torch.distributions.Normal(0.0, 1.0), observed["x"]).numpy()
    shares = {}

    for kind, epochs in (("gaussian", 5), ("flow", 8)):
        learned = LearnedProposal.fit(
            chain, ["x", "y"], values, events=20_000, kind=kind, epochs=epochs, hidden=(32, 32),  # type: ignore[arg-type]
            max_learning_rate=5e-3,
        )  # fmt: skip
        found = importance_likelihood(chain, observed, values, learned, 4000, seed=12)
        assert (np.abs(found.value - truth) < SIGMAS * found.error).all()
        shares[kind] = found.effective_samples.mean() / 4000

    assert shares["flow"] > 0.6
    assert shares["flow"] > 1.5 * shares["gaussian"]


def test_jagged_latents_are_drawn_from_the_chain() -> None:
    """Photons of a muon pair: with the truth of all but them held, against a longer average."""
    chain = process("zmumu")
    values = chain.parameters.values()
    sites = chain.simulate(values, 3, seed=13).sites
    held = {n: v[0] for n, v in sites.items() if not n.startswith(("photon_", "n_photons"))}
    short, long = (prior_likelihood(chain, held, values, n, seed=n) for n in (2000, 20_000))

    assert np.isfinite(long.value).all()
    both = np.hypot(short.error, long.error)
    assert (np.abs(short.value - long.value) < SIGMAS * both)[short.trusted].all()
    assert short.trusted.any()


# --- Bookkeeping ----------------------------------------------------------------------------


def test_memory_is_flat_and_parts_add_up(small: Known) -> None:
    """In parts of few rows the answer is another draw of the same number."""
    parts = importance_likelihood(
        small.chain, small.observed, small.values, small.wide, 5000, seed=14, rows=1000
    )
    at_once = importance_likelihood(
        small.chain, small.observed, small.values, small.wide, 5000, seed=14, rows=10**6
    )

    assert not np.array_equal(parts.value, at_once.value)
    assert calibrated(small.pulls(parts))
    assert calibrated(small.pulls(at_once))
    np.testing.assert_allclose(parts.error, at_once.error, rtol=0.2)


def test_no_call_makes_more_rows_than_asked(small: Known) -> None:
    rows = []

    class Watched(Distribution):
        """The wide proposal, which notes how much is drawn at once."""

        def __init__(self, base: Distribution) -> None:
            self.base = base
            super().__init__(base.batch_shape, base.event_shape, validate_args=False)

        def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
            rows.append(torch.Size(sample_shape).numel() * self.batch_shape.numel())
            return self.base.sample(sample_shape)

        def log_prob(self, value: Tensor) -> Tensor:
            return log_prob(self.base, value)

    def watched(x: Tensor, parameters: Mapping[str, Tensor]) -> Distribution:
        return Watched(small.wide(x, parameters))

    importance_likelihood(small.chain, small.observed, small.values, watched, 1010, rows=1000)
    likelihood_bound(
        small.chain, small.observed, small.values, watched, 1020, importance=30, rows=1000
    )
    assert max(rows) <= 1000
    assert sum(rows) == (1010 + 1020) * len(small.x)


def test_the_same_seed_gives_the_same_number(small: Known) -> None:
    make: Callable[[int], MarginalLikelihood]
    for make in (
        lambda seed: prior_likelihood(small.chain, small.observed, small.values, 500, seed=seed),
        lambda seed: likelihood_bound(
            small.chain, small.observed, small.values, small.wide, 500, seed=seed
        ),
    ):
        one, same, other = make(1), make(1), make(2)
        assert np.array_equal(one.value, same.value)
        assert not (one.value == other.value).any()


def test_the_global_generator_is_left_alone(small: Known) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    likelihood_bound(small.chain, small.observed, small.values, small.wide, 100)
    LearnedProposal.fit(small.chain, ["x"], small.values, events=2000, epochs=1)

    assert torch.equal(torch.random.get_rng_state(), before)


class Decay(Stage):
    """A time that ends after two."""

    name = "decay"
    provides = ("rate",)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        one = torch.ones(state["event"].shape, dtype=torch.float64)
        rate = pyro.sample("rate", Gamma(one, one, validate_args=False))
        pyro.sample("time", TruncatedExponential(rate, 0.0, 2.0))
        return state | {"rate": rate}


def test_an_event_that_cannot_be_is_minus_infinity_and_not_trusted() -> None:
    found = prior_likelihood(Chain([Decay()]), {"time": torch.tensor([0.5, 3.0])}, {}, 100)

    assert np.isfinite(found.value[0])
    assert found.value[1] == -np.inf
    assert found.effective_samples[1] == 0
    assert found.error[1] == np.inf
    assert not found.trusted[1]


# --- Bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observed", "message"),
    [
        ({"y": torch.zeros(3, 2)}, "no site 'y' to observe"),
        ({"z1": torch.zeros(3, 2)}, "did you mean 'z_1'"),
        ({}, "observed values of no site"),
        ({"x": torch.tensor(0.0)}, r"\{'x': 0\} events"),
        ({"x": torch.zeros(3)}, r"'x' has the shape \(3,\); expected \(B, 2\)"),
        ({"x": torch.zeros(3, 3)}, r"'x' has the shape \(3, 3\); expected \(B, 2\)"),
        ({"x": torch.zeros(3, 2), "z_1": torch.zeros(2, 2)}, r"\{'x': 3, 'z_1': 2\} events"),
        ({"x": torch.full((1, 2), torch.nan)}, "'x' has values that are not finite"),
    ],
)
def test_observations_that_cannot_be_are_refused(
    small: Known, observed: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        prior_likelihood(small.chain, observed, small.values)


def test_other_bad_input_is_refused(small: Known) -> None:
    two = small.values | {"theta_0": torch.zeros(2, 1)}
    with pytest.raises(DataError, match="'theta_0' has 2 values for 20 observed events"):
        prior_likelihood(small.chain, small.observed, two)
    with pytest.raises(DataError, match="draws = 0: expected a positive"):
        prior_likelihood(small.chain, small.observed, small.values, 0)
    with pytest.raises(DataError, match="100 draws in groups of 3: expected a multiple"):
        likelihood_bound(small.chain, small.observed, small.values, small.wide, 100, importance=3)
    with pytest.raises(SimulationError, match="no site 'y' to observe; known: x, z_1"):
        small.chain.simulate(small.values, 3, 1, observed={"y": torch.zeros(1, 3)})
    with pytest.raises(DataError, match="no site 'y' to observe"):
        LearnedProposal.fit(small.chain, ["y"], small.values)
    with pytest.raises(DataError, match="5 events for 2 observed numbers and 6 latents"):
        LearnedProposal.fit(small.chain, ["x"], small.values, events=5)


def test_a_proposal_of_another_shape_is_refused(small: Known) -> None:
    def narrow(x: Tensor, _: Mapping[str, Tensor]) -> Distribution:
        return MultivariateNormal(torch.zeros(len(x), 2), torch.eye(2))

    with pytest.raises(DataError, match=r"event shape \(2,\); expected \(20,\).*\(6,\) for .*z_1"):
        importance_likelihood(small.chain, small.observed, small.values, narrow)


class Coin(Stage):
    """A latent of whole numbers."""

    name = "coin"
    provides = ("coin",)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        half = torch.full(state["event"].shape, 0.5, dtype=torch.float64)
        coin = pyro.sample("coin", Bernoulli(half, validate_args=False))
        pyro.sample("x", Normal(coin, 1.0, validate_args=False))
        return state | {"coin": coin}


def test_latents_without_a_density_of_fixed_length_are_refused() -> None:
    proposal: Proposal = lambda x, _: MultivariateNormal(x, torch.eye(1))  # noqa: E731
    x = {"x": torch.zeros(1)}
    with pytest.raises(DataError, match=r"\['coin'\] are whole numbers: .* use prior_likelihood"):
        importance_likelihood(Chain([Coin()]), x, {}, proposal)
    both = x | {"coin": torch.zeros(1)}
    with pytest.raises(DataError, match="all sites are observed: nothing to propose"):
        importance_likelihood(Chain([Coin()]), both, {}, proposal)
    zmumu = process("zmumu")
    mass = {"mass": torch.tensor([91.0])}
    with pytest.raises(DataError, match=r"'photon_fraction'.* are jagged: .* use prior_likelihood"):
        importance_likelihood(zmumu, mass, zmumu.parameters.values(), proposal)
    with pytest.raises(DataError, match=r"\['photon_angle'\] are jagged: .* columns"):
        LearnedProposal.fit(zmumu, ["photon_angle"], zmumu.parameters.values(), events=100)


def test_a_jagged_observation_whose_length_is_latent_is_refused() -> None:
    chain = process("zmumu")
    sites = chain.simulate(chain.parameters.values(), 50, seed=15).sites
    jagged = {"photon_fraction": sites["photon_fraction"][0]}

    with pytest.raises(DataError, match=r"\['photon_fraction'\] are jagged, and which"):
        prior_likelihood(chain, jagged, chain.parameters.values(), 200)
