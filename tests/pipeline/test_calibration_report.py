"""Densities that a calibration ranks by, and what a report says of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hepgen.diagnostics.calibration import resolved
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.posterior import PosteriorSample
from hepgen.pipeline.calibration_report import figures, in_words, recalibrated
from hepgen.pipeline.session import Session
from hepgen.pipeline.validate import draw_all, log_densities
from hepgen.results import Calibration, ParameterEstimate
from tests.inference.conftest import GaussianMean


def made(method: str = "nle") -> Calibration:
    rng = np.random.default_rng(1)
    truth, std = rng.normal(0, 1, (99, 1)), np.full((99, 1), 0.2)
    # Central intervals that first hold the truth at levels of √uniform: too narrow.
    rank = 0.5 + 0.5 * np.sqrt((np.arange(99) + 0.5) / 99)[:, None]
    return Calibration(
        method, "pseudo-data", ("m_z",), np.full(99, 500), truth, truth, std, rank,
        draws=0, hpd=rng.uniform(size=99), tarp=rng.uniform(size=99),
    )  # fmt: skip


def test_densities_are_those_of_the_posterior_up_to_a_constant() -> None:
    model = GaussianMean()
    sets = [torch.randn(n, 1, generator=torch.Generator().manual_seed(n)).double() for n in (4, 9)]
    theta = torch.linspace(-1, 1, 5, dtype=torch.float64)[None, :, None].expand(2, 5, 1)
    found = log_densities(LikelihoodPosterior(model), sets, theta)
    for x, values in zip(sets, found, strict=True):
        mean, width = model.posterior(x)
        expected = -0.5 * ((theta[0, :, 0] - mean) / width) ** 2
        torch.testing.assert_close(values - values[0], expected - expected[0])


class Repeating(LikelihoodPosterior):
    """Draws of the third data set are said to be worth seven."""

    def draw_batched(self, *arguments: Any, **options: Any) -> list[PosteriorSample]:
        samples = super().draw_batched(*arguments, **options)
        samples[2] = dataclasses.replace(samples[2], effective_samples=(7.0,))
        return samples


def test_what_draws_are_worth_is_kept_of_each_set(tmp_path: Path) -> None:
    session = Session.open(Path(__file__).parent / "small.toml", [f"folder='{tmp_path}'"])
    model = GaussianMean()
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(12, 1, generator=generator).double()
    sets = [model.simulate(t.expand(20, 1), generator) for t in truth]
    drawn = draw_all(session, Repeating(model), sets, truth.numpy(), "draw")
    assert len(drawn.draws) == len(drawn.hpd) == len(sets)
    assert drawn.effective[2] == 7
    # Of 2000 proposals for 1000 draws from a Gaussian.
    assert (np.delete(drawn.effective, 2) > 700).all()
    assert np.flatnonzero(~resolved(drawn.effective)).tolist() == [2]


def test_recalibrated_intervals_stand_beside_the_raw_ones() -> None:
    draws = torch.linspace(90, 92, 1001, dtype=torch.float64)[:, None]
    estimate = ParameterEstimate.from_samples(draws[:, 0].numpy(), "interest", "GeV")
    sample = PosteriorSample(draws, ("m_z",), "nuts", (1001.0,))
    found = list(recalibrated({"m_z": estimate}, sample, made(), 500))
    # √0.68 of the range from 90 to 92 about its middle.
    assert found[0].pieces[0] == pytest.approx((90.18, 91.82), abs=0.02)
    assert [one.warnings for one in found] == [(), ()]
    (words,) = in_words(found, {"m_z": estimate}, 99)
    assert "99 pseudo-data sets: 68 % from 90.2 to 91.8" in words


def test_levels_that_do_not_hold_for_these_data_say_so() -> None:
    draws = torch.linspace(90, 92, 1001, dtype=torch.float64)[:, None]
    estimate = ParameterEstimate.from_samples(draws[:, 0].numpy(), "interest", "GeV")
    sample = PosteriorSample(draws, ("m_z",), "nuts", (1001.0,))
    (first, _) = recalibrated({"m_z": estimate}, sample, made(), 5000)
    assert "recalibrated on sets of 500 events, and the data have 5000" in first.warnings[0]
    few = dataclasses.replace(made(), rank=made().rank[89:])
    (_, last) = recalibrated({"m_z": estimate}, sample, few, 500)
    assert "too few for the 0.95 level of m_z" in last.warnings[0]


def test_a_figure_for_each_test_and_none_where_there_was_none() -> None:
    drawn = figures([made(), made("npe")], ["m_z"])
    assert list(drawn) == ["Uniform ranks of m_z", "Expected coverage", "TARP"]
    old = dataclasses.replace(made(), hpd=None, tarp=None)
    assert list(figures([old], ["m_z"])) == ["Uniform ranks of m_z"]
