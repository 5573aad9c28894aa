"""Sets in two pieces, and sets that end at a physical bound: nothing is lost, nothing cries."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hepgen.inference.likelihood import Likelihood
from hepgen.inference.statistics.fit import fit
from hepgen.inference.statistics.scans import profile_scan
from hepgen.parameters import Parameter, ParameterSet, Uniform
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.session import Session
from hepgen.pipeline.statements import Statements, _no_signal, neyman_intervals, statement_checks
from tests.inference.statistics.bounded import Values
from tests.pipeline.test_statement_options import TINY


class Power(Likelihood):
    """x ~ N(θ^power, σ)."""

    def __init__(self, power: int, sigma: float, low: float, physical: float = -math.inf) -> None:
        theta = Parameter("theta_0", 1.0, low=physical, role="interest", prior=Uniform(low, 3.0))
        self.parameters = ParameterSet([theta])
        self.power, self.sigma = power, sigma

    def log_likelihoods(self, sets: Values, theta: Tensor) -> Tensor:  # type: ignore[override]
        return -0.5 * ((sets.x[:, None] - theta[..., 0] ** self.power) / self.sigma).square()

    def generate(self, theta: Tensor, seed: int) -> Values:
        noise = torch.randn(len(theta), generator=torch.Generator().manual_seed(seed)).double()
        return Values(theta.double()[:, 0] ** self.power + self.sigma * noise)

    def asimov(self, theta: Tensor) -> Values:
        return Values(theta.double() ** self.power)


def values(x: float) -> Values:
    return Values(torch.tensor([x], dtype=torch.float64))


def session(*settings: str) -> Session:
    return Session.open(TINY, settings, monitor=Silent())


def test_both_pieces_of_a_set_are_found() -> None:
    """θ² = 4 ± 0.3: θ and −θ are the same to the data, seven errors apart and more."""
    model, data = Power(2, 0.3, -3.0), values(4.0)
    best = fit(model, data, start=torch.ones(1))
    scan = profile_scan(model, data, "theta_0", best=best)
    assert scan.values[0] < -2.2
    assert scan.values[-1] > 2.2
    intervals, maps = neyman_intervals(session("statements.toys=1000"), model, data, scan, best)
    for found, interval in zip(scan.intervals, intervals, strict=True):
        # t is exactly χ² here. 1,000 toys know the 68 % threshold to 8 %, an end to 4 % of a piece.
        for piece, exact in zip(interval.pieces, found.pieces, strict=True):
            width = exact[1] - exact[0]
            assert abs(piece[0] - exact[0]) < 0.2 * width
            assert abs(piece[1] - exact[1]) < 0.2 * width
        assert len(found.pieces) == 2
    assert len(maps) == 2


def test_a_scan_without_other_pieces_is_as_long_as_before() -> None:
    model, data = Power(1, 0.3, -3.0), values(1.0)
    scan = profile_scan(model, data, "theta_0")
    assert len(scan.values) == 41
    assert abs(scan.values[0] - (1.0 - 3.5 * 0.3)) < 1e-6


def test_a_set_that_ends_at_a_physical_bound_is_whole() -> None:
    physical, cut = Power(1, 0.3, 0.0, 0.0), Power(1, 0.3, 0.0)
    for model, is_open in ((physical, False), (cut, True)):
        scan = profile_scan(model, values(0.1), "theta_0")
        for one in scan.intervals:
            assert one.low == 0.0
            assert one.open_low == is_open
        (check,) = statement_checks(scan.intervals, Statements(scans=(scan,)), (), (), ())
        assert check.passed == (not is_open), check.meaning


def test_no_signal_is_tested_by_toys_where_these_are_asked_for() -> None:
    """P(x̂ ≥ 0.6 | 0) = 0.023 in closed form, and one that 1,000 toys cannot know."""
    asked = session("statements.limit=toys", "statements.toys=1000")
    model = Power(1, 0.3, -3.0)
    some, most = (
        _no_signal(asked, model, values(x), "theta_0", fit(model, values(x)), map)
        for x in (0.6, 1.8)
    )
    assert some.method == "toys"
    assert abs(some.p_value - 0.02275) < 4 * math.sqrt(0.02275 / 1000)
    assert most.method == "asymptotics"
    assert "too small for 1000 toys" in most.warnings[-1]
    (check,) = statement_checks((), Statements(), (), (most,), ())
    assert (check.passed, check.warning) == (True, True)
