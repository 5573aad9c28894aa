"""The closed forms of the linear-Gaussian chain, against brute force; the chain, against them.

Brute force is the recursion of means and covariances link by link, and scipy. Statistical tests
are refused at 4.5 standard errors, at fixed seeds: another choice would fail with a probability
below 1 % for the whole file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, kl_divergence

from hepgen.errors import DataError, WorkflowError
from hepgen.simulators.augment import joint_score
from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.linear_gaussian import LinearGaussian
from hepgen.simulators.processes.registry import process

SCALE = 1.3
SIZES = [(1, 1), (1, 3), (3, 2), (5, 4)]
sizes = pytest.mark.parametrize(("depth", "dimension"), SIZES)


def model_of(depth: int, dimension: int) -> LinearGaussian:
    return LinearGaussian.standard(depth, dimension, parameters=min(2, dimension))


def point(model: LinearGaussian) -> Tensor:
    return torch.tensor([0.7, -0.4], dtype=torch.float64)[: model.parameters]


def brute_force(model: LinearGaussian, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of (z, x): every block carried through the links, one by one."""
    scale = [*model.sigmas[:-1], SCALE * model.sigmas[-1]]
    value, means = theta, []
    blocks: list[list[Tensor]] = []
    for k, (w, b, s) in enumerate(zip(model.matrices, model.offsets, scale, strict=True)):
        value = w @ value + b
        means.append(value)
        row = [w @ blocks[k - 1][j] for j in range(k)]
        noise = s**2 * torch.eye(len(w), dtype=torch.float64)
        row.append(noise + (w @ blocks[k - 1][k - 1] @ w.T if k else 0))
        blocks.append(row)
    full = [
        torch.cat([blocks[max(i, j)][min(i, j)].T if j > i else blocks[i][j]
                   for j in range(len(blocks))], dim=1)
        for i in range(len(blocks))
    ]  # fmt: skip
    return torch.cat(means), torch.cat(full)


def log_prob(density: Distribution, value: Tensor) -> Tensor:
    """As torch's own distributions do not annotate it."""
    found: Tensor = density.log_prob(value)
    return found


def chain_of(depth: int, dimension: int) -> tuple[Chain, dict[str, Tensor]]:
    chain = process("gaussian", depth=depth, dimension=dimension, parameters=min(2, dimension))
    theta = point(model_of(depth, dimension)).tolist()
    fixed = {f"theta_{i}": t for i, t in enumerate(theta)} | {"noise_scale": SCALE}
    return chain, chain.parameters.values(None, **fixed)


def stacked(trace: Trace, names: Sequence[str]) -> Tensor:
    """Sites in a row, shape ``(E, total)``."""
    return torch.cat([trace.sites[n] for n in names], dim=-1)[0]


# --- The closed forms -----------------------------------------------------------------------


@sizes
def test_the_joint_is_what_the_recursion_gives(depth: int, dimension: int) -> None:
    model = model_of(depth, dimension)
    mean, covariance = brute_force(model, point(model))
    joint = model.joint(point(model), SCALE)

    torch.testing.assert_close(joint.mean, mean)
    torch.testing.assert_close(joint.covariance_matrix, covariance)


@sizes
def test_the_density_of_x_is_scipys(depth: int, dimension: int) -> None:
    model = model_of(depth, dimension)
    mean, covariance = (v.numpy() for v in brute_force(model, point(model)))
    x = torch.linspace(-2, 3, 7 * dimension, dtype=torch.float64).reshape(7, dimension)
    reference = stats.multivariate_normal(
        mean[model.latents :], covariance[model.latents :, model.latents :]
    )

    found = model.log_prob(x, point(model), SCALE)
    np.testing.assert_allclose(found.numpy(), reference.logpdf(x.numpy()).reshape(7))


@sizes
def test_bayes_theorem_holds_for_the_latents(depth: int, dimension: int) -> None:
    """log p(x, z) − log p(z | x) = log p(x), for every z."""
    model = model_of(depth, dimension)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(20, dimension, generator=generator, dtype=torch.float64)
    z = 2 * torch.randn(20, model.latents, generator=generator, dtype=torch.float64)
    posterior = model.latent_posterior(x, point(model), SCALE)
    joint = model.joint(point(model), SCALE)

    difference = log_prob(joint, torch.cat([z, x], -1)) - log_prob(posterior, z)
    torch.testing.assert_close(difference, model.log_prob(x, point(model), SCALE))


@sizes
def test_the_score_is_the_derivative(depth: int, dimension: int) -> None:
    model = model_of(depth, dimension)
    x = torch.linspace(-2, 3, 5 * dimension, dtype=torch.float64).reshape(5, dimension)
    found = model.score(x, point(model), SCALE)
    step = 1e-5

    for i in range(model.parameters):
        shift = step * torch.eye(model.parameters, dtype=torch.float64)[i]
        up, down = (model.log_prob(x, point(model) + s * shift, SCALE) for s in (1, -1))
        torch.testing.assert_close(found[:, i], (up - down) / (2 * step), rtol=1e-6, atol=1e-7)
    up, down = (model.log_prob(x, point(model), SCALE + s * step) for s in (1, -1))
    torch.testing.assert_close(found[:, -1], (up - down) / (2 * step), rtol=1e-6, atol=1e-7)


def test_the_posterior_of_theta_is_the_normalised_product() -> None:
    """Prior times likelihood over their closed-form posterior is the same number everywhere."""
    model = LinearGaussian.standard(2, 3)
    generator = torch.Generator().manual_seed(2)
    x = model.marginal(point(model), SCALE).sample(torch.Size([40]))
    mean = torch.tensor([0.5, 1.0], dtype=torch.float64)
    covariance = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    theta = torch.randn(30, 2, generator=generator, dtype=torch.float64)

    likelihood = model.log_prob(x, theta[:, None], SCALE).sum(-1)
    prior = log_prob(MultivariateNormal(mean, covariance), theta)
    posterior = log_prob(model.posterior(x, mean, covariance, SCALE), theta)
    evidence = likelihood + prior - posterior
    torch.testing.assert_close(evidence, evidence[:1].expand(30))


@sizes
def test_the_elbo_is_below_by_the_divergence(depth: int, dimension: int) -> None:
    model = model_of(depth, dimension)
    x = torch.full((dimension,), 0.8, dtype=torch.float64)
    posterior = model.latent_posterior(x, point(model), SCALE)
    wide = MultivariateNormal(posterior.mean + 0.3, 1.5 * posterior.covariance_matrix)
    truth = model.log_prob(x, point(model), SCALE)

    torch.testing.assert_close(model.elbo(posterior, x, point(model), SCALE), truth)
    bound = model.elbo(wide, x, point(model), SCALE)
    torch.testing.assert_close(bound, truth - kl_divergence(wide, posterior))
    assert bound < truth


@sizes
def test_information_of_x_is_at_most_that_of_everything(depth: int, dimension: int) -> None:
    model = model_of(depth, dimension)
    lost = model.information(SCALE, joint=True) - model.information(SCALE)

    assert (torch.linalg.eigvalsh(lost) > 0).all()


@given(depth=st.integers(1, 6), dimension=st.integers(1, 9), data=st.data())
@settings(max_examples=25, deadline=None)
def test_every_standard_chain_is_well_conditioned(
    depth: int, dimension: int, data: st.DataObject
) -> None:
    parameters = data.draw(st.integers(1, dimension))
    model = LinearGaussian.standard(depth, dimension, parameters)

    assert all(torch.linalg.cond(w) < 1.6 for w in model.matrices)
    assert model.information()[:-1, :-1].det() > 0


def test_links_that_do_not_fit_are_refused() -> None:
    one, two = torch.ones(1, 1), torch.ones(2, 2)
    with pytest.raises(DataError, match="1 matrices, 1 offsets, 1 sigmas; expected"):
        LinearGaussian([one], [one[0]], [1.0])
    with pytest.raises(DataError, match=r"link 1: a matrix of shape \(2, 2\).*expected \(2, 1\)"):
        LinearGaussian([one, two], [one[0], two[0]], [1.0, 1.0])
    with pytest.raises(DataError, match=r"sigmas \[1.0, 0.0\]: expected positive"):
        LinearGaussian([one, one], [one[0], one[0]], [1.0, 0.0])


def test_dimensions_may_change_along_the_chain() -> None:
    a, w, v = torch.ones(3, 2), torch.full((1, 3), 0.5), torch.ones(2, 1)
    model = LinearGaussian([a, w, v], [torch.zeros(n) for n in (3, 1, 2)], [1.0, 0.5, 0.2])
    mean, covariance = brute_force(model, point(model))
    joint = model.joint(point(model), SCALE)

    assert (model.latents, model.dimension, model.parameters) == (4, 2, 2)
    torch.testing.assert_close(joint.mean, mean)
    torch.testing.assert_close(joint.covariance_matrix, covariance)


# --- The chain ------------------------------------------------------------------------------


@sizes
def test_the_chain_has_the_joint_density(depth: int, dimension: int) -> None:
    chain, values = chain_of(depth, dimension)
    model = model_of(depth, dimension)
    trace = chain.simulate(values, 500, seed=3)
    names = [*(f"z_{k}" for k in range(1, depth + 1)), "x"]

    assert tuple(trace.sites) == tuple(names)
    torch.testing.assert_close(
        chain.log_prob(trace, values)[0],
        log_prob(model.joint(point(model), SCALE), stacked(trace, names)),
    )


@sizes
def test_the_chain_draws_from_the_joint_density(depth: int, dimension: int) -> None:
    """In the whitened variables all means are 0, all variances 1, all correlations 0."""
    chain, values = chain_of(depth, dimension)
    model = model_of(depth, dimension)
    trace = chain.simulate(values, 50_000, seed=4)
    joint = model.joint(point(model), SCALE)
    white = torch.linalg.solve_triangular(
        joint.scale_tril, (stacked(trace, list(trace.sites)) - joint.mean).T, upper=False
    ).T
    n = len(white)

    assert (white.mean(0).abs() < 4.5 / math.sqrt(n)).all()
    excess = (white.T @ white / n - torch.eye(white.shape[1])).abs()
    assert (excess < 4.5 * math.sqrt(2 / n)).all()


@sizes
def test_components_of_x_are_columns(depth: int, dimension: int) -> None:
    chain, values = chain_of(depth, dimension)
    state = chain.simulate(values, 10, seed=5).state

    assert list(chain.observables) == [f"x_{i}" for i in range(dimension)]
    for i in range(dimension):
        assert torch.equal(state[f"x_{i}"], state["x"][..., i])


@sizes
def test_mean_joint_score_over_the_latents_is_the_score(depth: int, dimension: int) -> None:
    """E over p(z | x, θ) of ∇ log p(x, z | θ) is ∇ log p(x | θ), one x at a time."""
    chain, values = chain_of(depth, dimension)
    model, n = model_of(depth, dimension), 20_000
    x = chain.simulate(values, 3, seed=6).sites["x"][0]
    truth = model.score(x, point(model), SCALE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        z = model.latent_posterior(x, point(model), SCALE).sample(torch.Size([n])).transpose(0, 1)
    sites = dict(zip(
        [f"z_{k}" for k in range(1, depth + 1)], torch.split(z, dimension, dim=-1), strict=True
    ))  # fmt: skip
    sites["x"] = x[:, None].expand(3, n, dimension)
    trace = Trace(sites, {"draw": torch.zeros(3, n)})
    each = {name: value.expand(3, 1) for name, value in values.items()}

    for i, name in enumerate(chain.parameters.names):
        score = joint_score(chain, trace, each, name)
        error = score.std(-1) / math.sqrt(n)
        assert ((score.mean(-1) - truth[:, i]).abs() < 4.5 * error).all(), name


@sizes
def test_information_is_the_variance_of_the_scores(depth: int, dimension: int) -> None:
    chain, values = chain_of(depth, dimension)
    model, n = model_of(depth, dimension), 50_000
    trace = chain.simulate(values, n, seed=8)
    joint = torch.stack([joint_score(chain, trace, values, p)[0] for p in chain.parameters.names])
    marginal = model.score(trace.sites["x"][0], point(model), SCALE).T

    for scores, everything in ((joint, True), (marginal, False)):
        products = scores[:, None] * scores[None]
        error = products.std(-1) / math.sqrt(n)
        expected = model.information(SCALE, joint=everything)
        assert ((products.mean(-1) - expected).abs() < 4.5 * error).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth = 0: expected a whole number above 0"),
        ({"dimension": -1}, "dimension = -1: expected a whole number"),
        ({"depth": 2.5}, "depth = 2.5; expected a whole number"),
        ({"dimension": 1}, "parameters = 2 for x of dimension 1"),
        ({"noise": 0.0}, "noise = 0.0: expected a positive number"),
    ],
)
def test_options_that_make_no_chain_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        process("gaussian", **options)
