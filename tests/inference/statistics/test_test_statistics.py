"""Test statistics and their distributions against closed forms (arXiv:1007.1727)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from hepgen.errors import ParameterError
from hepgen.inference.statistics.asymptotics import cls, expected_cls, expected_root, p_value
from hepgen.inference.statistics.test_statistics import asimov_data, evaluate, hypothesis_test
from hepgen.statements import SIGMAS, Statistic, significance
from tests.inference.statistics.models import counting

ALL: tuple[Statistic, ...] = ("t", "t_tilde", "q", "q_tilde", "q0")


def exact(statistic: Statistic, n: float, mu: float, s: float, b: float) -> float:
    """The statistic of n counts with a known background, in closed form."""

    def log_l(mean: float) -> float:
        return (n * math.log(mean) if n else 0.0) - mean

    best = (n - b) / s
    if statistic.endswith("tilde"):
        best = max(best, 0.0)
    t = 2 * (log_l(best * s + b) - log_l(mu * s + b)) if best * s + b > 0 else 2 * (mu * s + b)
    if statistic in ("q", "q_tilde") and best > mu:
        return 0.0
    return 0.0 if statistic == "q0" and best < 0 else t


@pytest.mark.parametrize("statistic", ALL)
@pytest.mark.parametrize("mu", [0.0, 0.7, 2.0])
def test_statistics_of_a_count(statistic: Statistic, mu: float) -> None:
    if statistic == "q0":
        mu = 0.0
    model, counts = counting(10.0, 30.0, low=-2.9), [18.0, 30.0, 37.0, 41.0, 70.0]
    found = evaluate(statistic, model, model.observed(torch.tensor(counts)[:, None]), "mu",
                     torch.tensor([mu]))  # fmt: skip
    expected = [exact(statistic, n, mu, 10.0, 30.0) for n in counts]
    assert found.statistic[:, 0].tolist() == pytest.approx(expected, abs=1e-6)


def simulated(statistic: Statistic, mu: float, truth: float, sigma: float) -> Any:
    """The statistic where μ̂ is exactly Gaussian: Wald's form (equations 8 to 16)."""
    best = truth + sigma * np.random.default_rng(1).normal(size=400_000)
    t = (mu - best) ** 2 / sigma**2
    if statistic.endswith("tilde"):
        t = np.where(best < 0, (mu**2 - 2 * mu * best) / sigma**2, t)
    if statistic in ("q", "q_tilde"):
        return np.where(best > mu, 0.0, t)
    return np.where(best < 0, 0.0, t) if statistic == "q0" else t


@pytest.mark.parametrize("statistic", ALL)
@pytest.mark.parametrize("truth", [0.0, 0.5, 1.2])
def test_asymptotic_distributions(statistic: Statistic, truth: float) -> None:
    """p-values are the tails of a simulation; false alarm below 1e-4 (4.5 sigma, all together)."""
    mu, sigma = 0.0 if statistic == "q0" else 1.2, 0.8
    toys = simulated(statistic, mu, truth, sigma)
    shift = (mu - truth) / sigma
    for q in (0.05, 0.4, 1.7, 2.3, 4.0, 7.0):
        expected = np.mean(toys >= q)
        p = float(p_value(statistic, q, shift=shift, reach=mu / sigma))
        assert p == pytest.approx(expected, abs=4.5 * math.sqrt(p * (1 - p) / len(toys)))


@pytest.mark.parametrize("q", [0.05, 1.7, 4.0])
def test_at_the_bound_itself_only_estimates_above_count(q: float) -> None:
    """t̃ of μ = 0: of the half of estimates that are negative all have q = 0."""
    toys = simulated("t_tilde", 0.0, 0.0, 0.8)
    p = float(p_value("t_tilde", q, reach=0.0))
    assert p == pytest.approx(norm.sf(math.sqrt(q)), rel=1e-12)
    assert p == pytest.approx(np.mean(toys >= q), abs=4 * math.sqrt(p * (1 - p) / len(toys)))
    assert p == pytest.approx(float(p_value("t_tilde", q, reach=1e-9)), rel=1e-12)


def test_a_test_of_no_signal_by_t_tilde_is_that_by_q0() -> None:
    """With μ̂ ≥ 0 both have one rejection region, and so one p-value."""
    model = counting(10.0, 30.0, low=0.0)
    data = model.observed([44.0])
    one, other = (hypothesis_test(model, data, "mu", statistic=s) for s in ("t_tilde", "q0"))
    assert one.observed == pytest.approx(other.observed)
    assert one.p_value == pytest.approx(other.p_value, rel=1e-9)


def test_expected_bands_are_limits_of_shifted_data() -> None:
    """CLs of q̃ where μ̂ is N σ is the band (below μ), and the root is where that is α."""
    for n, value in zip(SIGMAS, expected_cls(2.5**2), strict=True):
        assert value == pytest.approx(float(cls((2.5 - n) ** 2, 2.5**2)) if n > 0 else (
            norm.sf(2.5 - n) / norm.cdf(n)), rel=1e-9)  # fmt: skip
    for n, root in zip(range(5), expected_root(0.05), strict=True):
        assert expected_cls(root**2)[n] == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize("q", [1e-4, 0.5, 3.6, 20.0])
@pytest.mark.parametrize("asimov", [1e-6, 1e-18, 1e-320, 0.0])
def test_cls_far_in_both_tails(q: float, asimov: float) -> None:
    r"""Where μ says next to nothing, μ̂ lies q/(2μ/σ) σ below: CLs → e^{−q/2}."""
    assert float(cls(q, asimov)) == pytest.approx(math.exp(-q / 2), rel=2e-3)


def test_cls_is_smooth_where_the_estimate_becomes_negative() -> None:
    below, above = (float(cls(4.0 + shift, 4.0)) for shift in (-1e-9, 1e-9))
    assert below == pytest.approx(above, rel=1e-8)
    assert below == pytest.approx(2 * norm.sf(2), rel=1e-8)


@pytest.mark.parametrize(("s", "b"), [(10.0, 9.0), (5.0, 100.0), (2.0, 0.5)])
def test_asimov_significance(s: float, b: float) -> None:
    """√(2((s + b) ln(1 + s/b) − s)), equation 97."""
    model = counting(s, b, low=-0.9 * b / s)
    test = hypothesis_test(model, model.observed([b]), "mu", alternative=1.0)
    expected = math.sqrt(2 * ((s + b) * math.log1p(s / b) - s))
    assert test.expected_significance == pytest.approx(expected, rel=1e-6)
    assert test.observed == pytest.approx(0.0, abs=1e-9)
    assert test.p_value == pytest.approx(0.5)


def test_asimov_data_have_their_maximum_at_the_truth(line: Any) -> None:
    data = asimov_data(line, "mu", 2.0)
    found = evaluate("t", line, data, "mu", torch.tensor([2.0, 3.0]))
    sigma = line.covariance[0, 0].sqrt()
    torch.testing.assert_close(found.statistic[0], torch.stack([0 * sigma, sigma**-2]))


def test_a_p_value_at_a_bound_knows_the_bound(bounded_line: Any) -> None:
    """A fluctuation below the bound: q̃ is linear in μ̂ there, and its p-value is that of μ̂."""
    for seed in range(20):
        data = bounded_line.generate(bounded_line.truth(0.0)[None], seed)
        mu = bounded_line.best(data)[0, 0].item()
        if mu < -0.4:
            break
    error = bounded_line.covariance[0, 0].sqrt().item()
    test = hypothesis_test(bounded_line, data, "mu", 2.0, statistic="q_tilde")
    assert test.p_value == pytest.approx(norm.cdf((mu - 2.0) / error), rel=1e-5)
    warned = hypothesis_test(bounded_line, data, "mu", 2.0, statistic="q")
    assert any("so q is q_tilde" in word for word in warned.warnings)


def test_p_values_under_the_hypothesis_are_uniform(line: Any) -> None:
    """q₀ is a Gaussian's square on one side: p is uniform below ½; false alarm 1e-4."""
    sets = line.generate(line.truth(0.0).expand(600, -1), 2)
    q = evaluate("q0", line, sets, "mu", torch.zeros(1)).statistic[:, 0].numpy()
    p = p_value("q0", q[q > 0])
    assert kstest(2 * p, "uniform").pvalue > 1e-4
    assert abs((q > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(600)


def test_five_sigma() -> None:
    assert significance(float(p_value("q0", 25.0))) == pytest.approx(5.0)
    assert significance(0.5) == pytest.approx(0.0)


def test_q0_is_of_no_signal(line: Any) -> None:
    data = line.generate(line.truth()[None], 0)
    with pytest.raises(ParameterError, match="q0 at mu = 1; expected 0"):
        hypothesis_test(line, data, "mu", 1.0)
