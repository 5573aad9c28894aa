"""From the words of a command line to a campaign."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgen.errors import InputError, ParameterError
from hepgen.pipeline.requests import count, simulation_campaign
from hepgen.pipeline.session import Session
from hepgen.simulators.campaign import Campaign

ZMUMU = Path(__file__).parents[2] / "workflows" / "zmumu.toml"


@pytest.fixture
def session() -> Session:
    return Session.open(ZMUMU)


@pytest.fixture
def campaign(session: Session) -> Callable[..., Campaign]:
    def made(*theta: str, events: str = "1000", **options: Any) -> Campaign:
        return simulation_campaign(session, events=events, theta=theta, **options)

    return made


# --- numbers of events ----------------------------------------------------------------


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 10**15))
def test_a_whole_number_is_itself(number: int) -> None:
    assert count(str(number)) == number
    assert count(f"{number:_}") == number
    assert count(f"{number}.0") == number


@pytest.mark.parametrize(("text", "number"), [("1e6", 10**6), ("2.5E3", 2500), (" 10 ", 10)])
def test_a_number_may_be_written_as_people_do(text: str, number: int) -> None:
    assert count(text) == number


@pytest.mark.parametrize(
    "text", ["0", "-5", "1.5", "1e-3", "many", "", "inf", "-inf", "nan", "1e999", "²"]
)
def test_what_is_no_number_of_events_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a whole number of events"):
        count(text)


# --- parameter points -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("theta", "prior", "fixed"),
    [
        (["prior"], True, {}),
        (["default"], False, {}),
        ([], False, {}),
        (["m_z=91.0"], False, {"m_z": 91.0}),
        (["prior", "m_z=91"], True, {"m_z": 91.0}),
        (["prior,m_z=91, muon_scale = 1e-3"], True, {"m_z": 91.0, "muon_scale": 0.001}),
        (["gamma_z=2.4"], False, {"gamma_z": 2.4}),
    ],
)
def test_parameters_are_drawn_or_fixed(
    campaign: Callable[..., Campaign], theta: list[str], prior: bool, fixed: dict[str, float]
) -> None:
    made = campaign(*theta)
    assert made.prior is prior
    assert dict(made.fixed) == fixed
    assert made.varies is prior


def test_a_campaign_whose_free_parameters_are_all_fixed_does_not_vary(session: Session) -> None:
    theta = ["prior", *(f"{p.name}={p.default}" for p in session.parameters.free)]
    assert not simulation_campaign(session, events="10", theta=theta).varies


@pytest.mark.parametrize(
    ("theta", "error", "words"),
    [
        ("m_zz=91", ParameterError, "no parameter 'm_zz'; did you mean 'm_z'"),
        ("m_z=heavy", ParameterError, "'heavy' is not a number"),
        ("m_z=", ParameterError, "is not a number"),
        ("m_z=95", ParameterError, r"outside its prior; expected a value in \[88, 94\]"),
        ("m_z=70", ParameterError, r"expected a value in \[80, 100\]"),
        ("m_z=nan", ParameterError, "m_z"),
        ("prior,default", InputError, "contradict each other"),
        ("m_z=90, m_z=91", InputError, "'m_z' is there more than once"),
        ("m_z", InputError, "expected prior, default, or name=value"),
        ("priors", InputError, "expected prior, default, or name=value"),
    ],
)
def test_a_point_that_makes_no_sense_is_refused(
    campaign: Callable[..., Campaign], theta: str, error: type[InputError], words: str
) -> None:
    with pytest.raises(error, match=words):
        campaign(theta)


# --- everything else ------------------------------------------------------------------


def test_the_rest_is_the_workflow_s_unless_it_is_said(
    campaign: Callable[..., Campaign], session: Session
) -> None:
    made = campaign("prior")
    entry = session.workflow.simulation
    assert (made.events, made.seed) == (1000, entry.seed)
    assert (made.points, made.block_size) == (entry.events_per_point, entry.block_size)
    other = campaign("prior", seed=0, points=7, latents=True, keep_all=True)
    assert (other.seed, other.points, other.latents, other.keep_all) == (0, 7, True, True)


@pytest.mark.parametrize("points", [0, -4])
def test_points_hold_events(campaign: Callable[..., Campaign], points: int) -> None:
    with pytest.raises(InputError, match="expected positive numbers"):
        campaign("prior", points=points)
