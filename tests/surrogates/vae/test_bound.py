"""The bounds against closed forms, scikit-learn and Pyro's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.distributions import kl_divergence

from hepgen.errors import SurrogateError
from hepgen.nn.rows import Table
from hepgen.nn.train import train
from hepgen.surrogates.vae.bound import Elbo, closed_form_kl, importance_bound
from hepgen.surrogates.vae.encoders import encoder
from hepgen.surrogates.vae.model import VAE
from tests.surrogates.vae.linear import PrincipalComponents, module, raw, sample, set_linear


@pytest.fixture(scope="module")
def x() -> Tensor:
    return sample()


@pytest.fixture(scope="module")
def known(x: Tensor) -> PrincipalComponents:
    return PrincipalComponents.optimum(x, 2)


T = TypeVar("T")


def none(x: Tensor) -> Tensor:
    return x.new_zeros(len(x), 0)


# --- Probabilistic principal components -----------------------------------------------------


def test_the_closed_form_is_that_of_scikit_learn(x: Tensor, known: PrincipalComponents) -> None:
    """Whose covariance is over N − 1: the likelihood differs in second order only."""
    assert known.log_prob(x).mean().item() == pytest.approx(
        PCA(2).fit(x.numpy()).score(x.numpy()), abs=4 / len(x)
    )


def test_with_the_exact_posterior_every_weight_is_the_likelihood(
    x: Tensor, known: PrincipalComponents
) -> None:
    model = known.auto_encoder()
    weights = model.log_weights(x[:50], none(x[:50]), 7)
    expected = known.log_prob(x[:50]).expand(7, 50)
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-9)
    bound = importance_bound(weights)
    torch.testing.assert_close(bound.effective, torch.full((50,), 7.0).double())
    assert bound.error.max() < 1e-6


def test_the_gap_of_the_bound_is_the_divergence(x: Tensor, known: PrincipalComponents) -> None:
    """log p = ELBO + KL(q ‖ p(z | x)) to 10⁻³ nats."""
    model, few = known.auto_encoder(), x[:3]
    known.set_posterior(model, shift=0.05, widen=1.1)
    torch.manual_seed(0)
    with torch.no_grad():
        bound = model.log_weights(few, none(few), 1_000_000).mean(0)
    q = model.hierarchy.posteriors[0](torch.cat([few, torch.ones(3, 1).double()], -1))
    gap = kl_divergence(q, known.posterior(few))
    assert gap.min() > 0.01
    torch.testing.assert_close(bound + gap, known.log_prob(few), rtol=0, atol=1e-3)


def test_training_finds_the_optimum(x: Tensor, known: PrincipalComponents) -> None:
    torch.manual_seed(0)
    model = VAE(4, 0, latent=2, hidden=(), posterior="full", variance="shared", importance=1)
    rows = Table(x.float(), none(x.float()))
    train(
        model, lambda b: model.loss(*b), rows, batch_size=300, epochs=30, max_learning_rate=0.05,
        weight_decay=0.0, patience=None,
    )  # fmt: skip
    with torch.no_grad():
        bound = model.bound(x.float(), none(x.float()), 20).value.mean()
    assert bound.item() == pytest.approx(known.log_prob(x).mean().item(), abs=0.02)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """Scikit-learn's images as (pixel + u)/17: 1300 to learn from, 347 held out."""
    generator = np.random.default_rng(0)
    pixels = load_digits().data
    x = torch.from_numpy((pixels + generator.random(pixels.shape)) / 17)
    order = torch.from_numpy(generator.permutation(len(x)))
    return x[order[:1300]], x[order[1450:]]


@pytest.mark.parametrize(("latent", "value"), [(2, 3.637), (8, 17.626), (16, 26.589), (32, 37.389)])
def test_the_digits_have_the_likelihood_of_their_components(
    digits: tuple[Tensor, Tensor], latent: int, value: float
) -> None:
    """The linear auto-encoder at its optimum, on images it has not seen, in nats an image.

    The numbers are those of scikit-learn, whose covariance over N − 1 gives up to 6·10⁻⁴ more.
    """
    trained, held_out = digits
    known = PrincipalComponents.optimum(trained, latent)
    weights = known.auto_encoder().log_weights(held_out, none(held_out), 2)
    torch.testing.assert_close(
        weights, known.log_prob(held_out).expand(2, -1), rtol=0, atol=1e-5
    )  # fmt: skip
    assert weights.mean().item() == pytest.approx(value, abs=1e-3)


def test_what_others_make_of_the_digits(digits: tuple[Tensor, Tensor]) -> None:
    """Anchors of the benchmark: 16 factors, any covariance, and ten Gaussians (an optimum)."""
    trained, held_out = (part.numpy() for part in digits)
    assert FactorAnalysis(16).fit(trained).score(held_out) == pytest.approx(48.13, abs=5e-3)
    assert PCA().fit(trained).score(held_out) == pytest.approx(50.66, abs=5e-3)
    ten = GaussianMixture(10, reg_covar=1e-3, random_state=0).fit(trained).score(held_out)
    assert ten == pytest.approx(61.65, abs=0.5)


# --- The importance-weighted bound ----------------------------------------------------------


@pytest.fixture(scope="module")
def prescribed() -> tuple[VAE, Tensor, float]:
    """z ~ N(0, 1), x | z ~ N(z, 1), q = N(0.3x, 0.9²): 64 points with log p = −120.404."""
    model = VAE(1, 0, latent=1, hidden=(), posterior="diagonal", variance=1.0).double()
    one, zero = torch.ones(1, 1).double(), torch.zeros(1).double()
    set_linear(module(model, "decoder.mean.linear"), one, zero)
    bias = torch.cat([zero, raw(0.9 * one[0])])
    set_linear(module(model, "hierarchy.posteriors.0.network.linear"), 0.3 * one, bias)
    x = torch.randn(64, 1, generator=torch.Generator().manual_seed(0)).double()
    squares = 4 * (120.404 - 32 * math.log(4 * math.pi))
    return model, x * (squares / x.square().sum()).sqrt(), -120.404


def mean_bound(model: VAE, x: Tensor, samples: int, repeat: int) -> float:
    """Of the whole data, averaged over independent draws."""
    with torch.no_grad():
        weights = model.log_weights(x, none(x), samples * repeat)
    groups = weights.reshape(samples, repeat, len(x))
    return float(importance_bound(groups.flatten(1)).value.reshape(repeat, -1).sum(-1).mean())


def test_the_bound_is_of_each_event(prescribed: tuple[VAE, Tensor, float]) -> None:
    """The numbers of these 64 points; one ratio for all of them at once would be −126 at K = 1."""
    model, x, exact = prescribed
    torch.manual_seed(0)
    squares = float(x.square().sum())
    first = -32 * math.log(2 * math.pi) - 0.5 * (0.49 * squares + 64 * 0.81)
    first -= 0.5 * (64 * (0.81 - 1 - math.log(0.81)) + 0.09 * squares)
    assert mean_bound(model, x, 1, 20_000) == pytest.approx(first, abs=0.1)
    assert mean_bound(model, x, 5, 4000) == pytest.approx(-121.9, abs=0.3)
    assert mean_bound(model, x, 50, 400) == pytest.approx(-120.50, abs=0.1)
    assert mean_bound(model, x, 500, 40) == pytest.approx(-120.43, abs=0.06)
    assert mean_bound(model, x, 500, 40) < exact + 0.02


def test_the_bound_rises_to_the_exact_value(prescribed: tuple[VAE, Tensor, float]) -> None:
    model, x, exact = prescribed
    torch.manual_seed(1)
    bounds = [mean_bound(model, x, k, 20_000 // k) for k in (1, 2, 5, 20, 100, 1000)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == pytest.approx(exact, abs=0.05)


def test_the_standard_error_is_the_spread(prescribed: tuple[VAE, Tensor, float]) -> None:
    model, x, _ = prescribed
    torch.manual_seed(2)
    with torch.no_grad():
        bounds = [model.bound(x, none(x), 200) for _ in range(200)]
    spread = torch.stack([b.value for b in bounds]).std(0)
    claimed = torch.stack([b.error for b in bounds]).square().mean(0).sqrt()
    # 200 repetitions know a spread to 5 %.
    torch.testing.assert_close(spread, claimed, rtol=0.3, atol=0)
    assert bounds[0].effective.max() < 200


def test_one_draw_says_nothing_of_its_error() -> None:
    assert torch.isinf(importance_bound(torch.zeros(1, 3)).error).all()


# --- Pyro's bounds of the same model and guide ----------------------------------------------


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize(("posterior", "prior"), [("diagonal", "standard"), ("full", "diagonal")])
def test_pyro_finds_the_same_bounds(levels: int, posterior: str, prior: str) -> None:
    torch.manual_seed(0)
    model = VAE(
        3, 1, latent=2, levels=levels, hidden=(8,), posterior=posterior, prior=prior
    ).double()
    data = torch.randn(5, 3).double(), torch.randn(5, 1).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    weights = _seeded(lambda: model.log_weights(*data, 6))
    options = {"num_particles": 6, "vectorize_particles": True, "max_plate_nesting": 1}
    plain = _seeded(lambda: Trace_ELBO(**options).loss(model.model, model.guide, *data))
    renyi = _seeded(lambda: RenyiELBO(alpha=0, **options).loss(model.model, model.guide, *data))
    assert -plain == pytest.approx(weights.mean(0).sum().item(), abs=1e-9)
    assert -renyi == pytest.approx(importance_bound(weights).value.sum().item(), abs=1e-9)
    if posterior == "diagonal":
        closed = _seeded(
            lambda: TraceMeanField_ELBO(**options).loss(model.model, model.guide, *data)
        )
        ours = _seeded(lambda: model.elbo(*data, 6).value.sum().item())
        assert -closed == pytest.approx(ours, abs=1e-9)


def _seeded(make: Callable[[], T]) -> T:
    torch.manual_seed(3)
    with torch.no_grad():
        return make()


# --- Divergences, free bits, warm-up --------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "prior"), [("diagonal", "diagonal"), ("full", "diagonal"), ("full", "standard"),
                        ("full", "full"), ("diagonal", "full")],
)  # fmt: skip
def test_closed_divergences_against_monte_carlo(kind: str, prior: str) -> None:
    torch.manual_seed(0)
    h = torch.randn(4, 3).double()
    q, p = (encoder(k, 2, 3, ()).double()(h) for k in (kind, prior))
    z = q.sample((200_000,))
    ratio = q.log_prob(z) - p.log_prob(z)
    found = closed_form_kl(q, p)
    assert found is not None
    error = ratio.std(0) / math.sqrt(len(z))
    assert ((found.sum(-1) - ratio.mean(0)).abs() < 4.5 * error + 1e-12).all()


def test_a_flow_has_no_closed_divergence() -> None:
    h = torch.zeros(2, 1)
    assert closed_form_kl(encoder("flow", 2, 1, (4,))(h), encoder("standard", 2, 1, ())(h)) is None


def test_free_bits_and_beta() -> None:
    found = Elbo(torch.tensor([-1.0]), torch.tensor([[0.1, 2.0]]))
    assert found.value.item() == pytest.approx(-3.1)
    assert found.objective(0.5).item() == pytest.approx(-2.05)
    assert found.objective(0.5, free_bits=0.25).item() == pytest.approx(-1 - 0.5 * 2.25)


def test_a_latent_with_free_bits_is_not_pushed() -> None:
    kl = torch.tensor([[0.1, 2.0]], requires_grad=True)
    Elbo(torch.tensor([-1.0]), kl).objective(1.0, 0.25).sum().backward()  # type: ignore[no-untyped-call]
    assert kl.grad is not None
    assert kl.grad.tolist() == [[0.0, -1.0]]


@pytest.mark.parametrize("importance", [1, 4])
def test_warm_up_counts_the_steps_of_training_only(importance: int) -> None:
    model = VAE(2, 0, hidden=(), warm_up=4, beta=2.0, importance=importance)
    u = torch.randn(5, 2)
    seen = []
    for _ in range(6):
        model.train()
        seen.append(model._beta())
        model.eval()
        model.loss(u, none(u))
        assert model._beta() == 1.0
    assert seen == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert model.state_dict()["steps"] == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 0}, "samples = 0"),
        ({"levels": 0}, "levels = 0"),
        ({"free_bits": 0.1}, "no KL term"),
        ({"posterior": "fulll"}, "did you mean 'full'"),
        ({"decoder": "bernouli"}, "did you mean 'bernoulli'"),
        ({"variance": -1.0}, "positive"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(SurrogateError, match=words):
        VAE(2, 1, **options)  # type: ignore[arg-type]
