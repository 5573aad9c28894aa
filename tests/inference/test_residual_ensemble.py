"""Which of the candidates is taken, and what the members then are."""

from __future__ import annotations

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


@pytest.mark.parametrize(("candidates", "members"), [([], 1), ([ONE], 0)])
def test_nothing_to_train_is_refused(candidates: list[Candidate], members: int) -> None:
    with pytest.raises(ParameterError, match="expected one at least of each"):
        fit(candidates, members)
