"""Which of the candidates is taken, and what the members then are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hepgen.errors import ParameterError
from hepgen.inference.residual_ensemble import Candidate, Trained, fit_members
from hepgen.nn.residual_mixture import ResidualMixture
from hepgen.nn.rows import Table

ONE, TWO = Candidate(1, (8,), 0.01), Candidate(2, (8,), 0.01)


def loss(density: ResidualMixture, batch: tuple[Tensor, ...]) -> Tensor:
    return -density.log_prob(*batch)


def fit(candidates: list[Candidate], members: int = 1, seed: int = 0) -> Trained:
    """Of two narrow lines, ±2 beside the context."""
    generator = torch.Generator().manual_seed(1)
    context = torch.randn(2000, 1, generator=generator)
    sign = 2.0 * torch.randint(0, 2, (2000, 1), generator=generator) - 1
    x = context + 2 * sign + 0.1 * torch.randn(2000, 1, generator=generator)
    return fit_members(
        Table(x, context), loss, (x, context), candidates=candidates, members=members, seed=seed,
        device="cpu", epochs=10, batch_size=100, max_learning_rate=1e-2,
    )  # fmt: skip


@pytest.mark.parametrize("candidates", [[ONE, TWO], [TWO, ONE]])
def test_the_candidate_with_the_least_validation_loss_is_taken(candidates: list[Candidate]) -> None:
    """One Gaussian over two lines at ±2 of width 0.1 loses ln(2 / 0.1) − ln 2, more than 2 nats."""
    assert fit(candidates).candidate == TWO


def test_members_are_of_one_architecture_and_differ() -> None:
    trained = fit([ONE, TWO], members=3)
    assert len(trained.members) == len(trained.curves) == 3
    assert {m.components for m in trained.members} == {2}
    first, *others = (m.log_prob(torch.zeros(1, 1), torch.zeros(1, 1)) for m in trained.members)
    assert all(bool(other != first) for other in others)


def test_the_best_alone_is_the_same_as_among_others() -> None:
    """What loses leaves no trace, whatever it drew."""
    alone, among = fit([TWO], members=2), fit([ONE, TWO], members=2)
    for one, other in zip(alone.members, among.members, strict=True):
        assert all(
            torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items()
        )


def test_where_no_training_is_better_it_is_least_squares_exactly() -> None:
    generator = torch.Generator().manual_seed(2)
    context = torch.randn(1000, 3, generator=generator)
    x = context @ torch.tensor([[1.0, 0.5], [0, 2], [1, 1]]) + torch.randn(
        1000, 2, generator=generator
    )
    trained = fit_members(
        Table(x, context), loss, (x, context), candidates=[TWO], members=1, seed=0, device="cpu",
        epochs=2, batch_size=10, max_learning_rate=1.0,
    )  # fmt: skip
    assert trained.curves[0].best_epoch == 0
    columns = torch.cat([context, torch.ones(1000, 1)], -1).double()
    fitted = columns @ torch.linalg.lstsq(columns, x.double()).solution
    covariance = (x - fitted).T @ (x - fitted) / 1000
    gaussian: Any = torch.distributions.MultivariateNormal(fitted, covariance)
    expected = gaussian.log_prob(x.double())
    found = trained.members[0].log_prob(x, context)
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("candidates", "members"), [([], 1), ([ONE], 0)])
def test_nothing_to_train_is_refused(candidates: list[Candidate], members: int) -> None:
    with pytest.raises(ParameterError, match="expected one at least of each"):
        fit(candidates, members)
