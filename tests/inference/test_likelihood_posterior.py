"""Posteriors of likelihoods whose answer is known in closed form or by quadrature."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.grid import compare_with_grid, grid_marginals
from hepgen.inference.importance import importance_draws
from hepgen.inference.laplace import derivatives, laplace
from hepgen.inference.likelihood_posterior import LikelihoodPosterior, Method
from hepgen.inference.nuts import effective_sample_size, split_r_hat
from hepgen.inference.posterior import PosteriorSample

METHODS: list[Method] = ["importance", "nuts"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian_data(gaussian: Any, n: int = 40, mu: float = 0.7, seed: int = 0) -> Tensor:
    x: Tensor = gaussian.simulate(torch.full((n, 1), mu, dtype=torch.float64), generator(seed))
    return x


def line_data(line: Any, n: int = 60) -> Tensor:
    x: Tensor = line.simulate(n, torch.tensor([0.5, -1.0, 0.8]).double(), generator(1))
    return x


@pytest.fixture(scope="module")
def chains(line: Any) -> PosteriorSample:
    """1600 draws by NUTS, and their convergence."""
    return LikelihoodPosterior(line, method="nuts").draw(1600, line_data(line), seed=2)


@pytest.mark.parametrize("method", METHODS)
def test_gaussian_mean_is_exact(gaussian: Any, method: Method) -> None:
    """Mean and width of draws worth at least 400; false alarm 1e-4 (four sigma)."""
    x = gaussian_data(gaussian)
    mean, std = gaussian.posterior(x)
    sample = LikelihoodPosterior(gaussian, method=method).draw(1000, x, seed=1)
    assert sample.method == method
    assert min(sample.effective_samples) > 400
    assert abs(sample.theta.mean().item() - mean) < 4 * std / math.sqrt(400)
    assert sample.theta.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * 400))


def test_methods_agree_with_a_bounded_parameter(line: Any, chains: PosteriorSample) -> None:
    weighted = LikelihoodPosterior(line).draw(4000, line_data(line), seed=2)
    for name in line.parameters.free_names:
        a, b = chains.column(name), weighted.column(name)
        assert abs(a.mean() - b.mean()) < 0.15 * b.std()
        assert a.std().item() == pytest.approx(b.std().item(), rel=0.12)
    assert chains.column("sigma").min() > 0.5
    assert chains.column("sigma").max() < 2.0


def test_nuts_reports_convergence(chains: PosteriorSample) -> None:
    assert chains.r_hat is not None
    assert max(chains.r_hat) < 1.02
    assert min(chains.effective_samples) > 400
    assert chains.divergences == 0
    assert chains.theta.shape == (1600, 3)


def test_seed_fixes_the_draws_and_spares_the_global_generator(line: Any) -> None:
    x = line_data(line)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for method in METHODS:
        posterior = LikelihoodPosterior(line, method=method, warmup=10)
        a, b, c = (posterior.sample((40,), x, seed=seed) for seed in (1, 1, 2))
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


def test_grid_agrees_with_quadrature(gaussian: Any) -> None:
    x = gaussian_data(gaussian)
    mean, std = gaussian.posterior(x)
    (marginal,) = grid_marginals(LikelihoodPosterior(gaussian), x)
    assert marginal.mean == pytest.approx(mean, abs=1e-3 * std)
    assert marginal.std == pytest.approx(std, rel=1e-3)


@pytest.mark.parametrize("names", [None, ["a", "sigma"]])
def test_grid_integrates_nuisances(
    line: Any, chains: PosteriorSample, names: list[str] | None
) -> None:
    """KS distance of draws worth at least 400; false alarm 1e-3."""
    marginals = grid_marginals(LikelihoodPosterior(line), line_data(line, 60), names=names)
    for comparison in compare_with_grid(chains, marginals):
        assert comparison.distance < 1.95 / math.sqrt(400)
        assert abs(comparison.mean_shift) < 0.2
        assert comparison.std_ratio == pytest.approx(1, abs=0.15)


def test_grid_sees_a_wrong_sampler(gaussian: Any) -> None:
    """Draws moved by half a standard deviation, or widened by a half, are far from the grid."""
    x = gaussian_data(gaussian)
    _, std = gaussian.posterior(x)
    posterior = LikelihoodPosterior(gaussian)
    marginals = grid_marginals(posterior, x)
    draws = posterior.draw(2000, x, seed=0).theta.numpy()
    assert marginals[0].distance(draws[:, 0] + 0.5 * std) > 0.15
    assert marginals[0].distance(draws.mean() + 1.5 * (draws[:, 0] - draws.mean())) > 0.06
    assert marginals[0].distance(draws[:, 0]) < 0.05


@pytest.mark.parametrize("names", [[], ["a", "b", "sigma"], ["c"]])
def test_grid_takes_one_or_two_free_parameters(line: Any, names: list[str]) -> None:
    with pytest.raises(ParameterError):
        grid_marginals(LikelihoodPosterior(line), line_data(line), names=names)


def test_log_prob_is_normalised(gaussian: Any) -> None:
    x = gaussian_data(gaussian)
    mean, std = gaussian.posterior(x)
    theta = torch.tensor([[mean - std], [mean], [mean + 2 * std]], dtype=torch.float64)
    exact = -0.5 * ((theta[:, 0] - mean) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))
    found = LikelihoodPosterior(gaussian).log_prob(theta, x)
    assert torch.allclose(found, exact, atol=0.05)


def test_log_prob_outside_the_prior(line: Any) -> None:
    theta = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    values = LikelihoodPosterior(line).log_prob(theta, line_data(line))
    assert values[0] == -math.inf
    assert torch.isfinite(values[1])


def test_weight_two_is_every_event_twice(gaussian: Any) -> None:
    x = gaussian_data(gaussian)
    posterior = LikelihoodPosterior(gaussian)
    doubled = posterior.draw(200, torch.cat([x, x]), seed=3).theta
    weighted = posterior.draw(200, x, weight=torch.full((len(x),), 2.0), seed=3).theta
    assert torch.allclose(doubled, weighted, atol=1e-8)


def test_many_sets_at_once_are_many_sets_alone(gaussian: Any) -> None:
    """Sets of different sizes: means and widths are each set's own."""
    sets = [gaussian_data(gaussian, n, seed=n) for n in (5, 200, 40)]
    posterior = LikelihoodPosterior(gaussian)
    for x, sample in zip(sets, posterior.draw_batched(2000, sets, seed=0), strict=True):
        mean, std = gaussian.posterior(x)
        assert abs(sample.theta.mean().item() - mean) < 0.12 * std
        assert sample.theta.std().item() == pytest.approx(std, rel=0.08)


def test_calibrated_over_the_prior(gaussian: Any) -> None:
    """300 sets: ranks are uniform; a KS test with false alarm 1e-3."""
    theta = gaussian.parameters.prior().sample((300,), generator(5))
    sets = [gaussian.simulate(t.expand(20, 1), generator(100 + i)) for i, t in enumerate(theta)]
    samples = LikelihoodPosterior(gaussian).draw_batched(500, sets, seed=1)
    ranks = sorted(
        float((s.theta < t).double().mean()) for s, t in zip(samples, theta, strict=True)
    )
    distance = np.abs(np.array(ranks) - (np.arange(300) + 0.5) / 300).max()
    assert distance < 1.95 / math.sqrt(300)


def test_one_set_and_several_are_different_arguments(gaussian: Any) -> None:
    x = gaussian_data(gaussian, 40).reshape(4, 10, 1)
    posterior = LikelihoodPosterior(gaussian)
    assert posterior.sample_batched((7, 2), x, seed=0).shape == (7, 2, 4, 1)
    assert posterior.sample((7, 2), x[0], seed=0).shape == (7, 2, 1)
    with pytest.raises(DataError, match="sample_batched"):
        posterior.sample((7,), x, seed=0)


def test_default_x(gaussian: Any) -> None:
    x = gaussian_data(gaussian)
    posterior = LikelihoodPosterior(gaussian)
    with pytest.raises(DataError, match="set_default_x"):
        posterior.sample((3,))
    posterior.set_default_x(x)
    assert torch.equal(posterior.sample((3,), seed=1), posterior.sample((3,), x, seed=1))


def test_mode_is_the_exact_one(gaussian: Any) -> None:
    x = gaussian_data(gaussian)
    mode = LikelihoodPosterior(gaussian).mode(x)
    assert mode.item() == pytest.approx(gaussian.posterior(x)[0], abs=1e-4)


def test_sbi_diagnostics_accept_it(gaussian: Any) -> None:
    from sbi.diagnostics import check_sbc, run_sbc

    theta = gaussian.parameters.prior().sample((100,), generator(5))
    x = torch.stack([gaussian.simulate(t.expand(20, 1), generator(i)) for i, t in enumerate(theta)])
    posterior = LikelihoodPosterior(gaussian)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        ranks, averaged = run_sbc(
            theta, x, posterior, num_posterior_samples=200, show_progress_bar=False
        )
        checks = check_sbc(ranks, theta, averaged, num_posterior_samples=200)
    assert ranks.shape == (100, 1)
    assert checks["ks_pvals"].item() > 1e-3


def test_laplace_of_a_gaussian_is_exact() -> None:
    covariance = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    mean = torch.tensor([[3.0, -1.0], [0.0, 40.0]], dtype=torch.float64)
    exact = torch.distributions.MultivariateNormal(mean[:, None], covariance)
    found = laplace(exact.log_prob, torch.zeros(2, 2, dtype=torch.float64))
    assert torch.allclose(found.mode, mean, atol=1e-6)
    assert torch.allclose(found.scale_tril @ found.scale_tril.mT, covariance.expand(2, 2, 2))
    assert torch.allclose(found.log_density + found.log_volume, torch.zeros(2).double(), atol=1e-8)
    assert bool(found.converged.all())


def test_laplace_leaves_a_saddle() -> None:
    """log density −(u² − 4)²/8 has a minimum at 0, near which it starts."""
    found = laplace(
        lambda u: -((u[..., 0].square() - 4).square()) / 8,
        torch.tensor([[0.1]], dtype=torch.float64),
    )
    assert found.mode.item() == pytest.approx(2.0, abs=1e-3)


def test_derivatives_are_right() -> None:
    u = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    gradient, hessian = derivatives(lambda v: v[..., 0] ** 3 * v[..., 1], u)
    assert gradient[0].tolist() == pytest.approx([3 * 0.09 * -0.2, 0.027])
    assert hessian[0].flatten().tolist() == pytest.approx([6 * 0.3 * -0.2, 0.27, 0.27, 0.0])


def test_importance_gives_the_evidence() -> None:
    """The integral of three times Gumbel's density is three, within the noise of 4000 draws."""

    def log_density(u: Tensor) -> Tensor:
        return (-u - torch.exp(-u)).sum(-1) + math.log(3)

    start = laplace(log_density, torch.zeros(2, 1, dtype=torch.float64))
    draws = importance_draws(log_density, start, 4000, generator())
    assert draws.log_evidence.exp().tolist() == pytest.approx([3, 3], rel=0.06)
    assert bool((draws.effective_samples > 1000).all())
    mean = draws.resample(4000, generator(1)).mean().item()
    assert mean == pytest.approx(0.5772, abs=0.08)


def test_chains_that_disagree_have_a_large_r_hat() -> None:
    chains = torch.randn(4, 200, 1, generator=generator()).double()
    assert split_r_hat(chains).item() < 1.05
    chains[0] += 2
    assert split_r_hat(chains).item() > 1.2


def test_correlated_chains_have_few_effective_samples() -> None:
    """An AR(1) chain with coefficient 0.9 is worth (1 − 0.9)/(1 + 0.9) of its draws."""
    noise = torch.randn(4, 5000, 1, generator=generator()).double()
    chain = noise.clone()
    for i in range(1, 5000):
        chain[:, i] = 0.9 * chain[:, i - 1] + noise[:, i]
    assert effective_sample_size(chain).item() == pytest.approx(20_000 / 19, rel=0.25)
