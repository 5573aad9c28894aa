"""Results to draw, and what every figure must leave alone."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from hepgen.parameters import Normal, Parameter, Uniform
from hepgen.results import Calibration, FeatureComparison, TrainingCurve

MASS = Parameter(
    "m_z", 91.19, "GeV", "interest", Uniform(88.0, 94.0), label="$m_Z$", reference=91.1876
)
SCALE = Parameter("scale", 0.0, "", "nuisance", Normal(0.0, 0.002), label=r"$\delta_\mathrm{s}$")


@pytest.fixture(autouse=True)
def no_trace() -> Iterator[None]:
    """No setting of matplotlib is changed and no figure is left open."""
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


@pytest.fixture
def parameters() -> list[Parameter]:
    return [MASS, SCALE]


@pytest.fixture
def draws() -> np.ndarray:
    rng = np.random.default_rng(1)
    covariance = [[0.04, -0.7 * 0.2 * 0.0018], [-0.7 * 0.2 * 0.0018, 0.0018**2]]
    return rng.multivariate_normal([90.9, 0.0], covariance, 3000)


@pytest.fixture
def curve() -> TrainingCurve:
    losses = tuple(2.0 + np.exp(-np.arange(20) / 3.0))
    return TrainingCurve(losses, losses, tuple(np.geomspace(1e-3, 1e-5, 20)), 19, 12.0, "done")


@pytest.fixture
def calibration() -> Calibration:
    rng = np.random.default_rng(2)
    truth = np.column_stack([rng.uniform(90, 92, 200), rng.normal(0, 0.002, 200)])
    std = np.tile([0.2, 0.002], (200, 1))
    mean = truth + std * rng.standard_normal((200, 2))
    rank = rng.uniform(size=(200, 2))
    return Calibration("nle", "chain", ("m_z", "scale"), np.full(200, 500), truth, mean, std, rank)


@pytest.fixture
def feature() -> FeatureComparison:
    predicted = np.array([10.0, 40.0, 80.0, 40.0, 10.0])
    return FeatureComparison(
        "Dimuon_mass",
        np.linspace(86.0, 96.0, 6),
        np.array([12.0, 38.0, 85.0, 36.0, 0.0]),
        predicted,
        0.05 * predicted,
        in_likelihood=True,
        p_value=0.43,
        label=r"$M_{\mu\mu}$",
        unit="GeV",
        training=np.full(5, 36.0),
    )
