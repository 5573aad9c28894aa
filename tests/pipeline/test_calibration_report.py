"""Densities that a calibration ranks by, and what a report says of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.posterior import PosteriorSample
from hepgen.pipeline.calibration_report import figures, recalibrated
from hepgen.pipeline.validate import log_densities
from hepgen.results import Calibration, InferenceResult, ParameterEstimate
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


def test_recalibrated_intervals_stand_beside_the_raw_ones() -> None:
    draws = torch.linspace(90, 92, 1001, dtype=torch.float64)[:, None]
    estimate = ParameterEstimate.from_samples(draws[:, 0].numpy(), "interest", "GeV")
    result = InferenceResult("nle", 500, {"m_z": estimate}, [])
    sample = PosteriorSample(draws, ("m_z",), "nuts", (1001.0,))
    (words,) = recalibrated(result, sample, [made("npe"), made()])
    # √0.68 of the range from 90 to 92 about its middle.
    assert "99 pseudo-data sets of 500 events: 68 % from 90.2 to 91.8" in words
    assert "(credible level 0.82" in words


def test_a_figure_for_each_test_and_none_where_there_was_none() -> None:
    drawn = figures([made(), made("npe")], ["m_z"])
    assert list(drawn) == ["Uniform ranks of m_z", "Expected coverage", "TARP"]
    old = dataclasses.replace(made(), hpd=None, tarp=None)
    assert list(figures([old], ["m_z"])) == ["Uniform ranks of m_z"]
