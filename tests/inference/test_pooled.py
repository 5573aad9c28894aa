"""The pool of a posterior and a likelihood: its power, its density and its draws, exact at hand.

One parameter θ ~ N(0, 1) and x | θ ~ N(θ, 1), so that θ | x ~ N(x/2, 1/2). The unbounded u is θ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.features import Feature
from hepgen.inference.event_sets import EventSets, pad
from hepgen.inference.pooled import PooledPosterior, best_power, score_powers
from hepgen.inference.posterior import Posterior, PosteriorSample
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform

PARAMETERS = ParameterSet([Parameter("a", 0.0, prior=Normal(0.0, 1.0))])
OBSERVED = torch.tensor([[1.0]], dtype=torch.float64)


class Gaussian(Posterior):
    """N(x/2 + shift, variance)."""

    def __init__(self, shift: float = 0.0, variance: float = 0.5) -> None:
        super().__init__(PARAMETERS)
        self.shift, self.std = shift, math.sqrt(variance)

    def draw_batched(
        self,
        n: int,
        x: Sequence[Tensor],
        *,
        weight: Sequence[Tensor | None] | None = None,  # noqa: ARG002
        seed: int = 0,
    ) -> list[PosteriorSample]:
        samples = []
        for i, one in enumerate(x):
            generator = torch.Generator().manual_seed(seed + i)
            z = torch.randn(n, 1, generator=generator, dtype=torch.float64)
            theta = one[0, 0] / 2 + self.shift + self.std * z
            samples.append(PosteriorSample(theta, ("a",), "exact", (float(n),)))
        return samples

    def log_prob(
        self,
        theta: Tensor,
        x: Tensor | None = None,
        *,
        weight: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        location = self.data(x)[0, 0] / 2 + self.shift
        return Normal(float(location), self.std).log_prob(theta.reshape(-1))


class Shifted:
    """The likelihood of x − 2 shift, so that the posterior has the mean x/2 − shift."""

    def __init__(self, shift: float = 0.0) -> None:
        self.parameters, self.shift = PARAMETERS, shift

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        return pad(list(x), weight, [torch.zeros(len(one), dtype=torch.float64) for one in x])

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        return Normal(0.0, 1.0).log_prob(sets.events[:, :, 0] - 2 * self.shift - theta[..., 0])


def pairs(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    z = torch.randn(2, n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return z[0] + z[1], z[0]


def test_the_better_one_has_the_power() -> None:
    x, theta = pairs(100)
    wrong, right = Gaussian(shift=1.0, variance=1.0), Gaussian()
    assert score_powers(wrong, Shifted(), x, theta).power > 0.8
    assert score_powers(right, Shifted(1.0), x, theta).power < 0.2


def test_opposite_errors_cancel() -> None:
    """With means x/2 ± 0.7 the pool at ½ is exact.

    The slope of the score in β has a variance of 0.98²·½ a pair and falls by 1.96 a unit of β, so
    that 400 pairs find ½ to 0.025 but for the K draws; 0.12 is more than four of these.
    """
    x, theta = pairs(400)
    score = score_powers(Gaussian(0.7), Shifted(0.7), x, theta)
    assert score.power == pytest.approx(0.5, abs=0.12)
    assert score.pool > max(score.posterior, score.likelihood)


def test_log_prob_is_normalised() -> None:
    """Of a Gaussian pool, mean x/2 at β = ½; the normalisation of 4000 draws is good to 0.05."""
    pool = PooledPosterior(Gaussian(0.5), Shifted(0.5), power=0.5)
    theta = torch.linspace(-2, 3, 11, dtype=torch.float64)[:, None]
    expected = Normal(0.5, math.sqrt(0.5)).log_prob(theta[:, 0])
    assert torch.allclose(pool.log_prob(theta, OBSERVED), expected, atol=0.06)


def test_draws_are_of_the_pool() -> None:
    """Mean and variance of 4000 draws, worth 1000 at least; false alarm 10⁻⁴ (four sigma, two)."""
    pool = PooledPosterior(Gaussian(0.5), Shifted(0.5), power=0.5, walkers=1000)
    sample = pool.draw(4000, OBSERVED, seed=3)
    assert sample.theta.shape == (4000, 1)
    assert min(sample.effective_samples) > 1000
    assert sample.r_hat is not None
    assert max(sample.r_hat) < 1.05
    assert sample.theta.mean().item() == pytest.approx(0.5, abs=4 * math.sqrt(0.5 / 1000))
    assert sample.theta.var().item() == pytest.approx(0.5, abs=4 * 0.5 * math.sqrt(2 / 1000))
    assert torch.equal(sample.theta, pool.draw(4000, OBSERVED, seed=3).theta)


def test_power_zero_is_the_posterior() -> None:
    pool = PooledPosterior(Gaussian(0.5), Shifted(0.5), power=0.0)
    assert torch.equal(
        pool.draw(50, OBSERVED, seed=1).theta, Gaussian(0.5).draw(50, OBSERVED, seed=1).theta
    )
    theta = torch.zeros(1, 1, dtype=torch.float64)
    assert torch.equal(pool.log_prob(theta, OBSERVED), Gaussian(0.5).log_prob(theta, OBSERVED))


def test_best_power_ends() -> None:
    assert best_power(torch.tensor([[1.0, 0.0, -1.0]])) == 1.0
    assert best_power(torch.tensor([[-1.0, 0.0, 1.0]])) == 0.0


def test_a_power_outside_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"expected one in \[0, 1\]"):
        PooledPosterior(Gaussian(), Shifted(), power=1.5)


def test_fit_learns_counts() -> None:
    """A Poisson number of mean e^θ, 2000 simulations, against the posterior by quadrature.

    Over four seeds of everything the mean was off by 0.18 standard deviations at most, 0.07 rms,
    and the width by 7 %: with Gaussian scatter the bounds are a false alarm of 10⁻⁴ in a new seed.
    """
    parameters = ParameterSet([Parameter("a", 2.0, prior=Uniform(1.0, 3.0))])
    generator = torch.Generator().manual_seed(0)
    theta = parameters.prior().sample((2000,), generator)
    x = torch.poisson(theta.exp(), generator)
    pool = PooledPosterior.fit(
        x, theta, features=[Feature("n", kind="discrete")], parameters=parameters,
        members=1, epochs=15, held_out=0.05, draws=64,
    )  # fmt: skip
    assert pool.score is not None
    assert pool.score.pairs == 100
    grid = torch.linspace(1, 3, 2001, dtype=torch.float64)
    for number in (3.0, 12.0):
        log_p = number * grid - grid.exp()
        p = (log_p - log_p.max()).exp()
        mean = float((grid * p).sum() / p.sum())
        std = float(((grid - mean).square() * p).sum() / p.sum()) ** 0.5
        observed = torch.tensor([[number]], dtype=torch.float64)
        learned = pool.draw(2000, observed, seed=1).theta[:, 0]
        assert abs(learned.mean().item() - mean) < 0.3 * std
        assert learned.std().item() == pytest.approx(std, rel=0.25)


def test_too_few_are_refused() -> None:
    with pytest.raises(DataError, match="held out"):
        PooledPosterior.fit(
            torch.zeros(5, 1), torch.zeros(5, 1), features=[Feature("x")], parameters=PARAMETERS
        )
