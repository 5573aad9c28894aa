"""Learned critical values against closed forms, published tables and exact coverage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.likelihood import DataSets
from hepgen.inference.statistics.counting import OnOff, profile_statistic
from hepgen.inference.statistics.coverage import coverage_maps, interval_score, learned_coverage
from hepgen.inference.statistics.critical_values import CriticalValues
from hepgen.inference.statistics.neyman import Measured, Neyman, ProfileRatio, Waldo, pieces
from hepgen.inference.statistics.ordering import gaussian_critical_value, gaussian_interval
from hepgen.inference.statistics.toys import BLOCK
from hepgen.parameters import Parameter, ParameterSet, Uniform
from tests.inference.statistics.bounded import BoundedMean, ClosedRatio, Values, toys
from tests.inference.statistics.models import Line, Rough

POINTS = torch.tensor([[0.0], [0.3], [1.0], [2.5], [5.0]], dtype=torch.float64)


@pytest.fixture(scope="module")
def neyman() -> Neyman:
    model = BoundedMean()
    return Neyman.fit(ClosedRatio(model), model.generate, toys(30_000, 1), seed=1, members=2)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_critical_values_are_those_of_feldman_and_cousins(neyman: Neyman, level: float) -> None:
    learned = neyman.critical(POINTS, level).sqrt().tolist()
    exact = [gaussian_critical_value(mu, level) ** 0.5 for mu in POINTS[:, 0].tolist()]
    # Of 30,000 toys; √c itself is 1.3 to 2.
    assert learned == pytest.approx(exact, abs=0.09)


@pytest.mark.parametrize("x", [-1.0, 0.5, 1.0, 2.0, 3.5])
def test_intervals_are_those_of_feldman_and_cousins(neyman: Neyman, x: float) -> None:
    data = Values(torch.tensor([x], dtype=torch.float64))
    grid = torch.linspace(0, 8, 161, dtype=torch.float64)
    ((found,),) = neyman.intervals(data, grid, levels=[0.9])
    low, high = gaussian_interval(x)
    assert len(found.pieces) == 1
    assert found.open_low == (low == 0.0)
    # An end moves by as much as √c, and more below the boundary, where t is steep.
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.15)


def test_profile_ratio_is_the_closed_form() -> None:
    model = BoundedMean()
    data = Values(torch.tensor([-2.0, 0.1, 1.0, 4.0], dtype=torch.float64))
    psi = torch.tensor([0.0, 0.5, 2.0, 5.0], dtype=torch.float64).expand(4, -1)[..., None]
    fitted = ProfileRatio(model, ("mu",))(data, psi)
    assert torch.allclose(fitted.statistic, ClosedRatio(model)(data, psi).statistic, atol=1e-6)
    assert torch.equal(fitted.conditions, psi)


def test_coverage_by_other_toys(neyman: Neyman) -> None:
    model = BoundedMean()
    for one in coverage_maps(neyman, model.generate, POINTS, toys=4000, seed=5):
        # 3 % of the learning and four standard errors: 1 in 3,000 of ten fails without a defect.
        assert np.all(np.abs(one.coverage - one.level) < 0.03 + 4 * one.error)


def test_a_wrong_likelihood_covers_and_its_asymptotic_sets_do_not() -> None:
    narrow, true = BoundedMean(width=0.5), BoundedMean()
    built = Neyman.fit(ClosedRatio(narrow), true.generate, toys(8000, 3), seed=1, members=1)
    at = torch.tensor([[3.0]], dtype=torch.float64)
    found, _ = coverage_maps(built, true.generate, at, toys=4000, seed=6)
    assert found.coverage[0] == pytest.approx(0.6827, abs=0.05)
    t = ClosedRatio(narrow)(true.generate(at.expand(4000, -1), 7), at.expand(4000, 1, 1)).statistic
    assert float((t <= 1.0).double().mean()) < 0.45  # 38 % in closed form


def test_learned_coverage_finds_what_is_wrong(neyman: Neyman) -> None:
    model = BoundedMean()
    theta = toys(6000, 11)
    right = learned_coverage(neyman, model.generate, theta, POINTS[1:], seed=12)
    assert np.all(np.abs(right.coverage - 0.6827) < 0.03 + 4 * right.error)

    def wide(theta: Tensor, seed: int) -> Values:
        return Values(theta[:, 0] + 2 * (model.generate(theta, seed).x - theta[:, 0]))

    wrong = learned_coverage(neyman, wide, theta, POINTS[1:], seed=12)
    assert np.all(wrong.coverage < 0.6)


@dataclass(frozen=True)
class Counts:
    """n_on and n_off of S data sets."""

    on: Tensor
    off: Tensor

    def __len__(self) -> int:
        return len(self.on)

    def __getitem__(self, part: slice | Tensor) -> Counts:
        return Counts(self.on[part], self.off[part])


@dataclass(frozen=True)
class OnOffRatio:
    """The profile likelihood ratio in closed form, of a signal with an unknown background."""

    parameters: ParameterSet
    interest: tuple[str, ...] = ("s",)
    conditions: tuple[str, ...] = ("s",)

    def __call__(self, sets: DataSets, psi: Tensor) -> Measured:
        assert isinstance(sets, Counts)
        t = torch.empty(len(sets), 1, dtype=torch.float64)
        for s in set(psi[:, 0, 0].tolist()):
            rows = (psi[:, 0, 0] == s).nonzero()[:, 0]
            on, off = sets.on[rows].numpy(), sets.off[rows].numpy()
            t[rows, 0] = torch.from_numpy(profile_statistic(on, off, s, 1.0))
        return Measured(t, psi)


def test_exact_coverage_of_an_on_off_experiment() -> None:
    parameters = ParameterSet(
        [
            Parameter("s", 15.0, prior=Uniform(0.0, 40.0)),
            Parameter("b", 70.0, prior=Uniform(60.0, 80.0)),
        ]
    )

    def generate(theta: Tensor, seed: int) -> Counts:
        generator = torch.Generator().manual_seed(seed)
        on = torch.poisson(theta[:, 0] + theta[:, 1], generator)
        return Counts(on, torch.poisson(theta[:, 1], generator))

    theta = parameters.prior().sample((12_000,), torch.Generator().manual_seed(4))
    theta[:, 0] = theta[:, 0].round()
    built = Neyman.fit(OnOffRatio(parameters), generate, theta, seed=2, members=2)
    truth = OnOff(15.0, 70.0, 1.0)
    on, off, probability = truth.outcomes()
    t = profile_statistic(on, off, 15.0, 1.0)
    at = torch.tensor([[15.0]], dtype=torch.float64)
    for level in (0.6827, 0.95):
        held = t <= built.critical(at, level).item()
        # A sum over all outcomes: only the learning is uncertain.
        assert float(probability[held].sum()) == pytest.approx(level, abs=0.025)


def test_estimates_that_a_prior_pulls_cover() -> None:
    model = BoundedMean(high=6.0)

    def shrunk(sets: DataSets) -> tuple[Tensor, Tensor]:
        """The posterior of a Gaussian prior N(1, 1): half way to it, and too narrow."""
        assert isinstance(sets, Values)
        mean = 0.5 * (sets.x + 1.0)
        return mean[:, None], torch.full((len(mean), 1, 1), 0.5, dtype=torch.float64)

    waldo = Waldo(shrunk, model.parameters, ("mu",))
    built = Neyman.fit(waldo, model.generate, toys(8000, 8, high=6.0), seed=2, members=1)
    at = torch.tensor([[0.5], [4.0]], dtype=torch.float64)
    found, _ = coverage_maps(built, model.generate, at, toys=4000, seed=9)
    assert found.coverage == pytest.approx(0.6827, abs=0.06)
    # The credible interval at 4 would hold it in P(−0.7 < N(−1.5, ½) < 0.7) = 6 % of data sets.
    t = waldo(model.generate(at[1:].expand(2000, -1), 3), at[1:].expand(2000, 1, 1)).statistic
    assert float((t <= 1.0).double().mean()) < 0.15


def test_p_values_are_uniform(neyman: Neyman) -> None:
    model = BoundedMean()
    at = torch.full((4000, 1), 2.0, dtype=torch.float64)
    p = neyman.p_values(model.generate(at, 21), at[:, None])[:, 0].numpy()
    for share in (0.1, 0.3174, 0.5, 0.8):
        assert np.mean(p < share) == pytest.approx(share, abs=0.04)


def test_region_is_the_interval(neyman: Neyman) -> None:
    data = Values(torch.tensor([2.0, 0.3], dtype=torch.float64))
    grid = torch.linspace(0, 8, 81, dtype=torch.float64)
    mask = neyman.region(data, grid[:, None], 0.9)
    for row, (one,) in zip(mask, neyman.intervals(data, grid, levels=[0.9]), strict=True):
        assert row.tolist() == [one.contains(value) for value in grid.tolist()]


def test_an_empty_set_says_so() -> None:
    critical = CriticalValues.fit(toys(2000, 1), torch.rand(2000).double() + 1, members=1, epochs=2)
    shifted = Neyman(
        ClosedRatio(BoundedMean(width=0.01)), critical, torch.tensor([[0.0], [8.0]]).double()
    )
    # No value of the grid is near enough.
    grid = torch.tensor([0.0, 4.0, 8.0], dtype=torch.float64)
    ((found,),) = shifted.intervals(Values(torch.tensor([2.0]).double()), grid, levels=[0.9])
    assert found.pieces == ()
    assert "empty" in found.warnings[0]


class Impossible(ClosedRatio):
    """What a profile gives where the likelihood is zero."""

    def __call__(self, sets: DataSets, psi: Tensor) -> Measured:  # noqa: ARG002
        return Measured(torch.full(psi.shape[:-1], 1e6, dtype=torch.float64), psi)


def test_refusals(neyman: Neyman) -> None:
    data = Values(torch.tensor([2.0], dtype=torch.float64))
    with pytest.raises(ParameterError, match="toys reach from 0 to"):
        neyman.intervals(data, torch.linspace(0, 20, 30).double())
    with pytest.raises(DataError, match=r"level 0\.9999"):
        neyman.critical(POINTS, 0.9999)
    with pytest.raises(DataError, match="100 toys"):
        CriticalValues.fit(torch.rand(100, 1), torch.rand(100))
    broken = torch.rand(600).index_fill(0, torch.tensor([3]), torch.nan)
    with pytest.raises(DataError, match="1 of 600 toys is NaN"):
        CriticalValues.fit(torch.rand(600, 1), broken)
    model = BoundedMean()
    outside = torch.full((600, 1), 8.5, dtype=torch.float64)
    with pytest.raises(DataError, match="600 toys is zero at their own θ"):
        Neyman.fit(Impossible(model), model.generate, outside)
    with pytest.raises(DataError, match="ascending"):
        pieces(np.array([1.0, 0.0]), np.ones(2))


@dataclass(frozen=True)
class Failing(ClosedRatio):
    """The fits of data with x in a range do not converge, and their t is anything."""

    lost: tuple[float, float] = (0.0, 0.0)

    def __call__(self, sets: DataSets, psi: Tensor) -> Measured:
        assert isinstance(sets, Values)
        found = super().__call__(sets, psi)
        x = (sets.x[:, None] - sets.x.floor()[:, None]).expand_as(found.statistic)
        failed = (x >= self.lost[0]) & (x < self.lost[1])
        return found._replace(statistic=found.statistic.masked_fill(failed, 1e5), failed=failed)


def test_toys_whose_fits_failed_are_left_out() -> None:
    """The critical values are those of the other toys; more than a tenth are refused."""
    model, theta = BoundedMean(), toys(3000, 1)
    statistic = Failing(model, lost=(0.4, 0.45))
    built = Neyman.fit(statistic, model.generate, theta, seed=1, members=1)
    x = torch.cat(
        [model.generate(one, 1_000_003 + k).x for k, one in enumerate(torch.split(theta, BLOCK))]
    )
    known = ~((x - x.floor() >= 0.4) & (x - x.floor() < 0.45))
    t = ClosedRatio(model)(Values(x), theta[:, None]).statistic[:, 0]
    alone = CriticalValues.fit(theta[known], t[known], seed=1, members=1)
    assert torch.equal(built.critical(POINTS, 0.9), alone(POINTS, 0.9))
    (word,) = built.warnings
    assert word.startswith(f"{int((~known).sum())} of 3000 toys")
    (found, _) = coverage_maps(built, model.generate, POINTS[2:], toys=1000, seed=5)
    assert "have a fit that did not converge" in found.warnings[0]
    assert np.all(np.abs(found.coverage - found.level) < 0.08 + 4 * found.error)
    with pytest.raises(DataError, match=r"of 3000 toys .* expected 10% at most"):
        Neyman.fit(Failing(model, lost=(0.4, 0.6)), model.generate, theta, members=1)


@dataclass(frozen=True)
class Gap(ClosedRatio):
    """Fits with μ held within the gap fail."""

    gap: tuple[float, float] = (2.25, 2.55)

    def __call__(self, sets: DataSets, psi: Tensor) -> Measured:
        found = super().__call__(sets, psi)
        failed = (psi[..., 0] > self.gap[0]) & (psi[..., 0] < self.gap[1])
        return found._replace(statistic=found.statistic.masked_fill(failed, 1e5), failed=failed)


def test_fits_to_the_data_that_failed_are_left_out_with_a_warning(neyman: Neyman) -> None:
    broken = Neyman(Gap(BoundedMean()), neyman.critical, neyman.reach)
    data, grid = Values(torch.tensor([2.0]).double()), torch.linspace(0, 8, 81).double()
    ((whole,),) = neyman.intervals(data, grid, levels=[0.9])
    ((found,),) = broken.intervals(data, grid, levels=[0.9])
    assert found.pieces == whole.pieces  # no hole where nothing is known
    assert found.best == whole.best
    assert "3 of 81 fits to the data with mu held did not converge" in found.warnings[0]
    inside = grid[:, None]
    assert torch.equal(broken.region(data, inside, 0.9), neyman.region(data, inside, 0.9))
    p = broken.p_values(data, inside[None])[0]
    assert grid[torch.isnan(p)].tolist() == pytest.approx([2.3, 2.4, 2.5])
    with pytest.raises(DataError, match="no fit to 1 of 1 data sets converged"):
        Neyman(Gap(BoundedMean(), gap=(-1.0, 9.0)), neyman.critical, neyman.reach).intervals(
            data, grid
        )


def test_a_profile_ratio_says_which_fits_failed() -> None:
    """Beyond μ = 2.5 the log-likelihood has no gradient."""
    model = Rough()
    data = model.asimov(model.truth())
    psi = torch.tensor([[[1.0], [3.0]]]).double()
    found = ProfileRatio(model, ("mu",))(data, psi)
    assert found.known.tolist() == [[True, False]]
    assert ProfileRatio(Line(), ("mu",))(data, psi).known.all()


def test_interval_score_is_that_of_the_challenge() -> None:
    n = 200
    sigma = (0.6827 * 0.3173 / n) ** 0.5

    def score(held: int) -> float:
        return interval_score(np.full(n, 0.5), np.arange(n) < held)

    assert score(136) == pytest.approx(-np.log(0.501))
    low = (0.5 - (0.6827 - 2 * sigma)) / sigma
    assert score(100) == pytest.approx(-np.log(0.501 * (1 + low**4)))
    high = (0.9 - (0.6827 + 2 * sigma)) / sigma
    assert score(180) == pytest.approx(-np.log(0.501 * (1 + high**3)))
