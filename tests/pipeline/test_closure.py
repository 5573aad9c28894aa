"""Closure in ``hepgen validate``, of a surrogate that is right and of some that are not."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.pipeline.closure import bins, closures, pseudo_data, references
from hepgen.pipeline.session import Session
from hepgen.results import TrainingCurve
from hepgen.simulators.linear_gaussian import LinearGaussian
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality
from hepgen.surrogates.surrogate import Domain, Surrogate

WORKFLOW = """
process = "gaussian"
chain = { depth = 1, dimension = 1, parameters = 1, noise = 1.0 }
features = [{ name = "x_0" }]

[parameters.theta_0]
role = "interest"
prior = { uniform = [-1.0, 1.0] }

[surrogate]
closure_sets = 5
closure_events = 100
template_events = 50_000
"""


class Normal(ConditionalDensity):
    """N(a c + b, s²) of one number."""

    def __init__(self, slope: float, offset: float, scale: float) -> None:
        super().__init__(1, 1)
        self.slope, self.offset, self.scale = slope, offset, scale

    @property
    def options(self) -> dict[str, float]:
        return {}

    @property
    def quality(self) -> Quality:
        return Quality("exact", "normal")

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        return -self.log_prob(u, context).value

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        return self.slope * context + self.offset + self.scale * noise

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        z = (u - self.slope * context - self.offset) / self.scale
        value = -0.5 * z.square() - math.log(self.scale) - 0.5 * math.log(2 * math.pi)
        return LogDensity.exact(value[:, 0].double())


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("closure")
    (folder / "one.toml").write_text(WORKFLOW)
    return Session.open(folder / "one.toml", [f"folder={str(folder / 'run')!r}"])


def known() -> tuple[float, float, float]:
    """x | θ ~ N(a θ + b, s²): a, b and s of the chain, in closed form."""
    model = LinearGaussian.standard(1, 1, 1, 1.0)
    zero, one = (model.marginal(torch.tensor([at]).double()) for at in (0.0, 1.0))
    offset = float(zero.mean)
    return float(one.mean) - offset, offset, float(zero.covariance_matrix) ** 0.5


def surrogate(slope: float, offset: float, scale: float) -> Surrogate:
    plain = FeatureSpace((Feature("x_0"),), (0.0,), (1.0,))
    given = FeatureSpace((Feature("theta_0"),), (0.0,), (1.0,))
    return Surrogate(
        Normal(slope, offset, scale), "flow", plain, given, Domain(("theta_0",), (-1.0,), (1.0,)),
        TrainingCurve((), (), (), 0, 0.0, ""),
    )  # fmt: skip


def test_what_is_right_closes_and_what_is_not_does_not(session: Session) -> None:
    """A density shifted by half a σ of 100 events, and one that is a fifth too wide."""
    slope, offset, scale = known()
    known_side = references(session)
    found = {}
    for name, (shift, wider) in {
        "right": (0.0, 1.0), "shifted": (0.5 * scale / 10, 1.0), "wide": (0.0, 1.2),
    }.items():  # fmt: skip
        (one,), why = closures(session, surrogate(slope, offset + shift, wider * scale), known_side)
        assert not why
        found[name] = one
    assert found["right"].name == "theta_0"
    assert "templates of 50,000 simulated events" in found["right"].reference
    assert found["right"].rms < 0.15
    assert 0.01 < found["right"].reference_error < 0.15
    assert found["right"].excess < found["right"].rms < found["shifted"].excess
    assert abs(found["right"].width.value - 1) < 0.05
    # The mean moves by −shift/slope, against a width of scale/(10 slope).
    moved = found["shifted"].shifts - found["right"].shifts
    assert np.allclose(moved, -0.5, atol=0.1)
    widened = found["wide"].widths / found["right"].widths
    assert np.allclose(widened, 1.2, atol=0.03)


def test_why_there_is_no_closure_is_said(session: Session) -> None:
    none = dataclasses.replace(
        session, workflow=session.workflow.model_copy(
            update={"surrogate": session.workflow.surrogate.model_copy(
                update={"closure_sets": 0})}),
    )  # fmt: skip
    assert closures(none, surrogate(1.0, 0.0, 1.0)) == (
        (), "No closure: it was not asked for (surrogate.closure_sets = 0)."
    )  # fmt: skip


def test_pseudo_data_follow_their_seed_and_stay_in_the_middle(session: Session) -> None:
    parameters = session.parameters.only("theta_0")
    first, again, other = (
        pseudo_data(session.simulator, parameters, ["x_0"], 3, 50, seed=seed) for seed in (1, 1, 2)
    )
    assert [one.shape for one in first] == [(50, 1)] * 3
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])


def test_bins_are_even_in_number_and_hold_every_value() -> None:
    generator = torch.Generator().manual_seed(0)
    count = torch.poisson(torch.full((5000,), 6.0), generator=generator).double()
    x = torch.stack([torch.rand(5000, generator=generator).double(), count], -1)
    features = (Feature("x", low=0.0, high=1.0), Feature("n", kind="discrete", low=0.0, high=40.0))
    edges = bins(features, x)
    assert edges["x"][[0, -1]].tolist() == [0.0, 1.0]
    assert edges["n"][[0, -1]].tolist() == [-0.5, 40.5]
    for line in edges.values():
        assert len(line) % 2 == 1
        assert (np.diff(line) > 0).all()
    assert (edges["n"] % 1 == 0.5).all()
    whole = bins((Feature("x"),), x[:, :1])["x"]
    assert len(whole) == 201
    assert whole[[0, -1]].tolist() == [-math.inf, math.inf]
    assert np.histogram(x[:, 0], whole)[0].min() >= 20
