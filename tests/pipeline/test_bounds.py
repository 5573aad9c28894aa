"""Which bounds spoil a result, and which are to be known only.

The likelihood is a Gaussian in each parameter, so that fits and errors are known.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hepgen.inference.likelihood import DataSets
from hepgen.inference.statistics.fit import Fit, fit
from hepgen.pipeline.bounds import bound_check, tolerated
from hepgen.pipeline.session import Session
from hepgen.pipeline.statements import Statements, statement_checks
from hepgen.statements import ProfileScan
from tests.inference.given_data import GivenData

SMALL = Path(__file__).parent / "small.toml"
#: A fraction of the interest, whose range ends at zero by its nature; m_z is then a nuisance.
FRACTION = (
    "parameters.background_fraction.prior={uniform=[0.0, 0.3]}",
    "parameters.background_fraction.role='interest'",
)


class Gaussian(GivenData):
    """log L = −½ Σ ((θ − centre)/width)²."""

    def __init__(self, session: Session, **centre: tuple[float, float]) -> None:
        self.parameters = session.parameters
        pairs = [centre[name] for name in session.parameters.free_names]
        self.centre, self.width = torch.tensor(pairs, dtype=torch.float64).unbind(-1)

    def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:  # noqa: ARG002
        return -0.5 * ((theta.double() - self.centre) / self.width).square().sum(-1)


def best(session: Session, **centre: tuple[float, float]) -> Fit:
    return fit(Gaussian(session, **centre), torch.zeros(1))


def test_inside_of_all_bounds_nothing_is_said() -> None:
    session = Session.open(SMALL)
    check = bound_check(session, best(session, m_z=(91.0, 0.2), muon_resolution=(1.2, 0.1)))
    assert check.passed
    assert not check.warning


def test_a_nuisance_parameter_at_its_bound_is_a_warning() -> None:
    session = Session.open(SMALL)
    found = best(session, m_z=(91.0, 0.2), muon_resolution=(3.0, 0.1))
    check = bound_check(session, found)
    assert check.passed
    assert check.warning
    assert "muon_resolution is at its bound, 2.7" in check.meaning
    scan = ProfileScan("m_z", np.zeros(2), np.zeros(2), 91.0, 0.2, warnings=found.warnings(0))
    found_scan = Statements(scans=(scan,))
    (profile,) = statement_checks((), found_scan, (), (), tolerated(session, found))
    assert profile.passed
    assert profile.warning
    assert "muon_resolution is at its bound" in profile.meaning
    (severe,) = statement_checks((), found_scan, (), (), ())
    assert not severe.passed


def test_a_parameter_of_interest_at_its_bound_is_a_failure() -> None:
    session = Session.open(SMALL)
    found = best(session, m_z=(95.0, 0.2), muon_resolution=(3.0, 0.1))
    check = bound_check(session, found)
    assert not check.passed
    assert not check.warning
    assert check.value == 1
    assert "m_z is at its bound, 94" in check.meaning
    # Both are named.
    assert "muon_resolution is at its bound" in check.meaning


@pytest.mark.parametrize(("centre", "passed"), [(93.9, False), (93.7, True)])
def test_an_interval_that_reaches_a_bound_is_a_failure(centre: float, passed: bool) -> None:
    session = Session.open(SMALL)
    check = bound_check(session, best(session, m_z=(centre, 0.2), muon_resolution=(1.2, 0.1)))
    assert check.passed == passed
    assert ("m_z = 93.9 ± 0.2 reaches its bound, 94" in check.meaning) == (not passed)


@pytest.mark.parametrize("centre", [-0.02, 0.005], ids=["at", "near"])
@pytest.mark.parametrize(
    ("method", "passed"),
    [
        ("statements.intervals=['posterior']", False),
        ("statements.intervals=['profile']", False),
        ("statements.intervals=['profile', 'neyman']", True),
        ("statements.limit='asymptotics'", True),
    ],
)
def test_a_physical_bound_needs_a_method_that_covers_there(
    method: str, passed: bool, centre: float
) -> None:
    session = Session.open(SMALL, [*FRACTION, method])
    assert session.parameters["background_fraction"].low == 0
    others = {"m_z": (91.0, 0.2), "muon_resolution": (1.2, 0.1)}
    check = bound_check(session, best(session, background_fraction=(centre, 0.02), **others))
    assert check.passed == passed


def test_the_edge_of_a_prior_is_no_physical_bound() -> None:
    session = Session.open(SMALL, [*FRACTION, "statements.limit='asymptotics'"])
    others = {"m_z": (91.0, 0.2), "muon_resolution": (1.2, 0.1)}
    check = bound_check(session, best(session, background_fraction=(0.4, 0.02), **others))
    assert not check.passed
