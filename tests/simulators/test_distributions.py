"""Each distribution: normalised by quadrature, sampled as its density says, differentiable.

The tests of samples are Kolmogorov–Smirnov tests at fixed seeds, each refused at p < 10⁻⁴:
another choice of seeds would fail one of the 23 with a probability of 0.2 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from torch.distributions import Normal

from hepgen.simulators.dijet import Parabola
from hepgen.simulators.dijet_distributions import BreitWigner, DecayAngle, ExchangeAngle
from hepgen.simulators.distributions import (
    DeadCone,
    Exponential,
    Few,
    HelicityAngle,
    Interpolated,
    Padded,
    RelativeLogNormal,
    Select,
    StageDistribution,
    Tabulated,
    TruncatedExponential,
)

# Torch's own forward-mode differentiation calls something that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")

FALSE_ALARM = 1e-4
DRAWS = 20_000


def real(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def tables() -> tuple[Tensor, Tensor]:
    """Three tables of uneven nodes over different ranges, with values that touch zero."""
    generator = torch.Generator().manual_seed(3)
    steps = torch.rand(3, 12, generator=generator, dtype=torch.float64) + 0.05
    nodes = steps.cumsum(-1) * real(1.0, 20.0, 0.1)[:, None] - real(2.0, 0.0, 7.0)[:, None]
    values = torch.rand(3, 12, generator=generator, dtype=torch.float64)
    values[:, 0] = 0.0
    values[0, 5] = 0.0
    return nodes, values


NODES, VALUES = tables()


def tabulated(row: int) -> Callable[[int], StageDistribution]:
    return lambda n: Tabulated(NODES, VALUES, row=torch.full((n,), row))


def interpolated(fraction: float) -> Callable[[int], StageDistribution]:
    nodes = NODES[:1].expand(3, -1)
    return lambda n: Interpolated(
        nodes, VALUES, torch.full((n,), 1), torch.full((n,), fraction, dtype=torch.float64)
    )


def filled(make: Callable[..., StageDistribution], *numbers: float) -> Any:
    return lambda n: make(*(torch.full((n,), x, dtype=torch.float64) for x in numbers))


@dataclass(frozen=True)
class Case:
    """A distribution of n independent draws, and pieces over which its density is smooth."""

    make: Callable[[int], StageDistribution]
    pieces: tuple[float, ...]


def exponential(rate: float) -> Callable[[int], StageDistribution]:
    return lambda n: TruncatedExponential(torch.full((n,), rate, dtype=torch.float64), 50.0, 150.0)


def dead_cone_pieces() -> tuple[float, ...]:
    return (0.0, *np.logspace(-9, 0, 40).tolist())


def log_normal_pieces(mean: float, relative: float) -> tuple[float, ...]:
    width = math.sqrt(math.log1p(relative**2))
    return tuple(mean * np.exp(width * np.linspace(-9, 9, 40)))


CASES = {
    **{f"tabulated-{r}": Case(tabulated(r), tuple(NODES[r].tolist())) for r in range(3)},
    **{
        f"interpolated-{t}": Case(interpolated(t), tuple(NODES[0].tolist()))
        for t in (0.0, 0.3, 1.0)
    },
    **{
        f"exponential-{r}": Case(exponential(r), tuple(np.linspace(50, 150, 40)))
        for r in (0.04, -0.02, 0.0, 1.0, 1e-8)
    },
    **{f"helicity-{w}": Case(filled(HelicityAngle, w), (-1.0, 1.0)) for w in (0.0, 0.5, 0.7, 1.0)},
    **{
        f"dead-cone-{xi}": Case(filled(DeadCone, xi), dead_cone_pieces())
        for xi in (1.3e-6, 1e-3, 0.5)
    },
    **{
        f"log-normal-{r}": Case(filled(RelativeLogNormal, 45.0, r), log_normal_pieces(45.0, r))
        for r in (1e-4, 0.02, 0.7)
    },
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def density(case: Case, x: NDArray[np.float64]) -> NDArray[np.float64]:
    values = torch.from_numpy(x)
    return np.asarray(case.make(x.size).log_prob(values.ravel()).exp().reshape(x.shape))


def cumulative(case: Case) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """P(X < x) by Gauss–Legendre quadrature from the start of each piece."""
    edges = np.array(case.pieces)
    nodes, weights = leggauss(24)

    def integral(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
        half = 0.5 * (high - low)
        points = low[:, None] + half[:, None] * (1 + nodes)
        return np.asarray((density(case, points) * weights).sum(-1) * half)

    below = np.concatenate([[0.0], integral(edges[:-1], edges[1:]).cumsum()])

    def cdf(x: NDArray[np.float64]) -> NDArray[np.float64]:
        piece = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
        return np.asarray(below[piece] + integral(edges[piece], x))

    return cdf


@cases
def test_density_integrates_to_one(case: Case) -> None:
    total = cumulative(case)(np.array(case.pieces[-1:]))[0]

    assert total == pytest.approx(1.0, abs=1e-7)


@cases
def test_samples_follow_the_density(case: Case) -> None:
    torch.manual_seed(11)
    drawn = case.make(DRAWS).sample().numpy()

    p_value = stats.kstest(drawn, cumulative(case)).pvalue

    assert p_value > FALSE_ALARM


@cases
def test_own_samples_have_a_finite_log_density(case: Case) -> None:
    torch.manual_seed(12)
    distribution = case.make(DRAWS)

    assert distribution.log_prob(distribution.sample()).isfinite().all()


def test_a_wrong_density_would_be_noticed() -> None:
    """The power of the test above: 5 % in the rate of an exponential is seen."""
    torch.manual_seed(11)
    drawn = exponential(0.042)(DRAWS).sample().numpy()

    p_value = stats.kstest(drawn, cumulative(CASES["exponential-0.04"])).pvalue

    assert p_value < FALSE_ALARM


GRADIENTS: dict[str, tuple[Callable[[Tensor], StageDistribution], float, float]] = {
    "tabulated values": (
        lambda p: Tabulated(NODES[:1], VALUES[:1] + p * NODES[:1].square()), 0.2, 1.3,
    ),
    "tabulated nodes": (lambda p: Tabulated(NODES[:1] * p, VALUES[:1]), 1.1, 1.3),
    "interpolated": (
        lambda p: Interpolated(NODES[:1].expand(3, -1), VALUES, torch.tensor([1]), p), 0.3, 1.3,
    ),
    "exponential": (lambda p: TruncatedExponential(p, 50.0, 150.0), 0.04, 70.0),
    "exponential, uniform limit": (lambda p: TruncatedExponential(p, 50.0, 150.0), 0.0, 70.0),
    "exponential, near it": (lambda p: TruncatedExponential(p, 50.0, 150.0), 2e-9, 70.0),
    "helicity": (HelicityAngle, 0.4, -0.3),
    "dead cone": (DeadCone, 1e-3, 0.02),
    "log-normal mean": (lambda p: RelativeLogNormal(p, real(0.02)), 45.0, 44.2),
    "log-normal width": (lambda p: RelativeLogNormal(real(45.0), p), 0.02, 44.2),
}  # fmt: skip


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient_is_the_finite_difference(name: str) -> None:
    make, parameter, x = GRADIENTS[name]

    def log_prob(value: Tensor) -> Tensor:
        result: Tensor = make(value).log_prob(real(x)).reshape(())
        return result

    step = max(1e-5 * parameter, 1e-6)
    at = real(parameter)
    numeric = (log_prob(at + step) - log_prob(at - step)) / (2 * step)
    leaf = at.clone().requires_grad_()
    (reverse,) = torch.autograd.grad(log_prob(leaf), leaf)
    forward = torch.func.jvp(log_prob, (at,), (torch.ones_like(at),))[1]

    torch.testing.assert_close(reverse[0], numeric, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(forward, reverse[0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("distribution", "outside"),
    [
        (Tabulated(NODES[:1], VALUES[:1]), (float(NODES[0, 0]) - 1, float(NODES[0, -1]) + 1)),
        (TruncatedExponential(real(0.04), 50.0, 150.0), (49.99, 150.01)),
    ],
)
def test_nothing_outside_the_support(
    distribution: StageDistribution, outside: tuple[float, float]
) -> None:
    for x in outside:
        assert distribution.log_prob(real(x)).item() == -math.inf


def test_tables_of_a_batch_do_not_mix() -> None:
    """Group g of a batch draws from table g, and its log-density is that of table g alone."""
    torch.manual_seed(5)
    batch = Tabulated(NODES, VALUES).expand([3, 500])
    drawn = batch.sample()

    for g in range(3):
        alone = Tabulated(NODES[g : g + 1], VALUES[g : g + 1]).expand([1, 500])
        assert ((drawn[g] >= NODES[g, 0]) & (drawn[g] <= NODES[g, -1])).all()
        torch.testing.assert_close(batch.log_prob(drawn)[g], alone.log_prob(drawn[g : g + 1])[0])


def test_tabulated_handles_a_flat_and_an_empty_stretch() -> None:
    torch.manual_seed(6)
    table = Tabulated(real(0, 1, 2, 3)[None], real(1, 1, 0, 0)[None]).expand([1, 4000])
    drawn = table.sample()

    assert (drawn <= 2).all()
    assert table.integral.item() == pytest.approx(1.5)
    assert (drawn < 1).double().mean().item() == pytest.approx(1 / 1.5, abs=4 * 0.0075)


def test_tabulated_integral_is_the_trapezium_rule() -> None:
    expected = torch.trapezoid(VALUES, NODES)

    torch.testing.assert_close(Tabulated(NODES, VALUES).integral, expected)


def test_interpolated_is_the_mixture_of_its_neighbours() -> None:
    x = torch.linspace(float(NODES[0, 1]), float(NODES[0, -2]), 50, dtype=torch.float64)
    nodes = NODES[:1].expand(3, -1)
    rows = [Tabulated(nodes, VALUES, row=torch.full((50,), r)).log_prob(x).exp() for r in (1, 2)]
    mixed = interpolated(0.25)(50).log_prob(x).exp()

    torch.testing.assert_close(mixed, 0.75 * rows[0] + 0.25 * rows[1])


def test_dead_cone_integral_is_the_collinear_logarithm() -> None:
    """Its norm is ln[(1 + ξ₀)/ξ₀] − 1/(1 + ξ₀), so ln(1/ξ₀) − 1 for a small ξ₀."""
    xi0, x = real(1.34e-6), real(0.01)
    log_norm = (x / (x + xi0).square()).log() - DeadCone(xi0).log_prob(x)

    assert log_norm.exp().item() == pytest.approx(math.log(1 / 1.34e-6) - 1, rel=1e-6)


@pytest.mark.parametrize("relative", [0.01, 0.3])
def test_log_normal_has_the_mean_and_width_it_is_named_for(relative: float) -> None:
    torch.manual_seed(7)
    n = 200_000
    drawn = filled(RelativeLogNormal, 45.0, relative)(n).sample()

    assert drawn.mean().item() == pytest.approx(45.0, abs=4 * 45 * relative / math.sqrt(n))
    assert (drawn.std() / drawn.mean()).item() == pytest.approx(relative, rel=0.02)


def test_select_uses_the_named_component() -> None:
    torch.manual_seed(8)
    mask = torch.tensor([True, False, True])
    left, right = Normal(real(-100.0), real(1.0)), Normal(real(100.0), real(1.0))
    chosen = Select(mask, left, right)
    drawn = chosen.sample()

    assert ((drawn < 0) == mask).all()
    expected = torch.where(mask, -0.5 * (drawn + 100).square(), -0.5 * (drawn - 100).square())
    expected -= 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(chosen.log_prob(drawn), expected)


MASK = torch.tensor([[True, True, False], [False, False, False], [True, False, True]])


def test_padded_draws_and_evaluates_only_what_exists() -> None:
    torch.manual_seed(9)
    base = TruncatedExponential(real(0.1, 0.2, 0.3, 0.4), 1.0, 5.0)
    padded = Padded(base, MASK)
    drawn = padded.sample()

    assert drawn.shape == (3, 3)
    assert ((drawn != 0) == MASK).all()
    terms = base.log_prob(drawn[MASK])
    expected = torch.stack([terms[0] + terms[1], real(0.0)[0], terms[2] + terms[3]])
    torch.testing.assert_close(padded.log_prob(drawn), expected)


def test_padded_ignores_what_stands_in_the_padding() -> None:
    torch.manual_seed(9)
    padded = Padded(TruncatedExponential(real(0.1), 1.0, 5.0), MASK)
    drawn = padded.sample()
    spoiled = torch.where(MASK, drawn, math.nan)

    torch.testing.assert_close(padded.log_prob(spoiled), padded.log_prob(drawn))


def test_padded_refuses_another_batch() -> None:
    padded = Padded(TruncatedExponential(real(0.1), 1.0, 5.0), MASK)

    assert padded.expand([3]) is padded
    with pytest.raises(ValueError, match="cannot become"):
        padded.expand([4])
    with pytest.raises(ValueError, match="once a trace"):
        padded.sample(torch.Size([2]))


def test_empty_padding_is_nothing() -> None:
    empty = Padded(TruncatedExponential(real(0.1), 1.0, 5.0), torch.zeros(4, 2, dtype=torch.bool))

    assert (empty.sample() == 0).all()
    assert (empty.log_prob(torch.zeros(4, 2, dtype=torch.float64)) == 0).all()


@pytest.mark.parametrize(
    ("distribution", "outside"),
    [
        (HelicityAngle(real(0.5)), (-1.01, 3.0)),
        (DeadCone(real(1e-4)), (-0.1, 0.0, 1.01)),
        (RelativeLogNormal(real(40.0), real(0.02)), (-1.0, 0.0)),
        (Exponential(real(2.0)), (-1e-9, -5.0)),
        (TruncatedExponential(real(0.1), 1.0, 2.0), (0.9, 2.1)),
        (Tabulated(*tables()), (-1e4, 1e4)),
        (Parabola(real(2.0)), (-2.01, 5.0)),
        (BreitWigner(real(2000.0), real(60.0), (900.0, 5000.0)), (899.0, 5001.0)),
        (ExchangeAngle(0.6), (-0.61, 0.9)),
        (DecayAngle(0.6, 1), (-0.61, 0.9)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, StageDistribution) else "",
)
def test_the_density_is_zero_outside_the_support(
    distribution: StageDistribution, outside: tuple[float, ...]
) -> None:
    """A proposal may try any value: a positive density there would count it."""
    for value in outside:
        assert torch.isneginf(distribution.log_prob(real(value))).all(), value


def test_an_exponential_is_that_of_scipy() -> None:
    x = torch.linspace(0.0, 9.0, 50, dtype=torch.float64)

    found = Exponential(real(0.7)).log_prob(x)

    np.testing.assert_allclose(found, stats.expon.logpdf(x, scale=1 / 0.7))
    with torch.random.fork_rng():
        torch.manual_seed(4)
        drawn = Exponential(torch.full((DRAWS,), 0.7, dtype=torch.float64)).sample()
    assert stats.kstest(drawn.numpy(), stats.expon(scale=1 / 0.7).cdf).pvalue > FALSE_ALARM


def test_one_of_a_few_is_drawn_with_its_weight() -> None:
    """χ² of 20,000 draws from each of two rows of weights, one of them with a zero."""
    torch.manual_seed(4)
    weights = torch.tensor([[1.0, 3.0, 0.0, 2.0], [5.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    drawn = Few(weights[:, None].expand(2, DRAWS, 4), validate_args=False).sample()
    for row, weight in zip(drawn, weights, strict=True):
        found, exists = torch.bincount(row, minlength=4), weight > 0
        expected = DRAWS * weight / weight.sum()
        assert (found[~exists] == 0).all()
        chi2 = stats.chisquare(found[exists].numpy(), expected[exists].numpy())
        assert chi2.pvalue > FALSE_ALARM
