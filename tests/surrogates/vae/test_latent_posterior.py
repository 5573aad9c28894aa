"""The posterior of a chain's latents against its closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.features import Feature
from hepgen.inference.latent_posterior import SurrogateProposal, refine
from hepgen.inference.marginal import importance_likelihood, likelihood_bound
from hepgen.inference.proposal import LearnedProposal
from hepgen.simulators.linear_gaussian import LinearGaussian
from hepgen.simulators.processes.registry import process
from hepgen.surrogates.latent_posterior import learn_latent_posterior
from hepgen.surrogates.surrogate import Surrogate

CHAIN = process("gaussian", depth=2, dimension=1, parameters=1)
MODEL = LinearGaussian.standard(2, 1, 1)
LATENTS = [Feature("z_1[0]"), Feature("z_2[0]")]
THETA = torch.linspace(-1, 1, 50).double()[:, None]


@pytest.fixture(scope="module")
def learned() -> Surrogate:
    values = CHAIN.parameters.values() | {"theta_0": THETA}
    return learn_latent_posterior(
        CHAIN, LATENTS, [Feature("x_0")], values, events=20_000, method="coupling", device="cpu",
        options={"layers": 3, "hidden": [16]}, batch_size=500, epochs=6, max_learning_rate=1e-2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def events() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    values = CHAIN.parameters.values(None, theta_0=0.5)
    return {"x": CHAIN.simulate(values, 200, seed=7).sites["x"][0]}, values


def test_mean_and_covariance_are_those_of_the_closed_form(learned: Surrogate) -> None:
    x, theta = torch.tensor([[1.0]]).double(), torch.tensor([[0.5]]).double()
    z = learned.sample(20_000, torch.cat([x, theta], -1), seed=2)[:, 0]
    exact = MODEL.latent_posterior(x, theta)
    sigma = exact.covariance_matrix[0].diagonal().sqrt()
    assert ((z.mean(0) - exact.mean[0]).abs() / sigma).max() < 0.1
    expected = exact.covariance_matrix[0] / sigma[:, None] / sigma
    torch.testing.assert_close(torch.cov(z.T) / sigma[:, None] / sigma, expected, rtol=0, atol=0.12)


def test_as_a_proposal_it_gives_the_marginal_likelihood(
    learned: Surrogate, events: tuple[dict[str, Tensor], dict[str, Tensor]]
) -> None:
    proposal = SurrogateProposal(learned, ["theta_0"])
    found = importance_likelihood(CHAIN, *events, proposal, 500, seed=1)
    truth = MODEL.log_prob(events[0]["x"], torch.tensor([0.5]).double()).numpy()
    assert found.trusted.all()
    assert (found.effective_samples > 300).mean() > 0.9
    assert (abs(found.value - truth) < 4.5 * found.error).all()


def test_the_bound_refines_a_proposal(
    events: tuple[dict[str, Tensor], dict[str, Tensor]],
) -> None:
    """One that was learned at another θ: the ELBO rises, and stays below log p(x | θ)."""
    elsewhere = CHAIN.parameters.values(None, theta_0=-0.5)
    start = LearnedProposal.fit(
        CHAIN, ["x"], elsewhere, events=2000, epochs=1, hidden=(8,), device="cpu"
    )
    better = refine(
        start, CHAIN, *events, importance=4, batch_size=60, epochs=40, max_learning_rate=2e-2
    )
    before, after = (
        likelihood_bound(CHAIN, *events, q, 500, seed=1).value.mean() for q in (start, better)
    )
    truth = float(MODEL.log_prob(events[0]["x"], torch.tensor([0.5]).double()).mean())
    assert before < after < truth + 0.01
    assert truth - after < 0.3 * (truth - before)


def test_a_bound_is_no_proposal() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 1, generator=generator).double()
    vae = Surrogate.fit(
        x, x, features=[Feature("z")], inputs=[Feature("x")], method="vae", epochs=1, device="cpu",
        options={"hidden": [4]},
    )  # fmt: skip
    with pytest.raises(DataError, match="take a flow"):
        SurrogateProposal(vae)


@pytest.mark.parametrize(
    ("name", "words"),
    [("z_3", "no column or site 'z_3'"), ("z_1", "expected one number"), ("z_1[4]", "NAME")],
)
def test_columns_that_cannot_be_learned_are_named(name: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        learn_latent_posterior(
            CHAIN, [Feature(name)], [Feature("x_0")], CHAIN.parameters.values(), events=100
        )


def test_a_surrogate_without_a_context() -> None:
    x = torch.randn(200, 1, generator=torch.Generator().manual_seed(0)).double()
    nothing = x[:, :0]
    surrogate = Surrogate.fit(
        x, nothing, features=[Feature("x")], inputs=[], method="coupling", epochs=1, device="cpu",
        options={"layers": 1, "hidden": [4]},
    )  # fmt: skip
    made, density = surrogate.sample_and_log_prob(5, nothing[0])
    assert torch.equal(made, surrogate.sample(5, nothing[0]))
    torch.testing.assert_close(
        density.value, surrogate.log_prob(made, nothing[:5]), rtol=0, atol=1e-3
    )
