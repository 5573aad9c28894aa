"""A student of few steps, from a teacher that is exact."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hepgen.errors import SurrogateError, TrainingError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.nn.train import Progress
from hepgen.results import TrainingCurve
from hepgen.surrogates.diffusion.distillation import Distilled, distil, paths
from hepgen.surrogates.diffusion.model import Diffusion
from hepgen.surrogates.families import build
from hepgen.surrogates.surrogate import Domain, Surrogate
from tests.surrogates.diffusion.oracles import Gaussian, Network

QUICK: dict[str, Any] = {"batch_size": 250, "epochs": 25, "max_learning_rate": 1e-2}


def teacher(variance: float) -> Surrogate:
    """u ~ N(0, s²), known exactly."""
    model = Diffusion(1, 0, hidden=16, blocks=1, steps=64)
    model.network = Network(Gaussian(variance))
    space = FeatureSpace.from_sample([Feature("x")], torch.tensor([[-1.0], [1.0]]).double())
    curve = TrainingCurve((), (), (), 0, 0.0, "known")
    return Surrogate(model, "diffusion", space, None, Domain((), (), ()), curve)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_a_student_of_a_gaussian(steps: int, tmp_path: Path) -> None:
    """Its events have the width that the teacher's have, to 2 %."""
    source = teacher(0.25)
    student = distil(source, steps, events=4000, device="cpu", **QUICK)
    nowhere = torch.zeros(0, dtype=torch.float64)
    few, many = (s.sample(4000, nowhere, seed=3).std().item() for s in (student, source))
    assert few == pytest.approx(many, rel=0.02)
    student.save(tmp_path)
    again = Surrogate.load(tmp_path)
    # To rounding: where weights are in memory decides which path linear algebra takes.
    assert torch.allclose(again.sample(5, nowhere), student.sample(5, nowhere), atol=1e-5)
    assert again.quality.kind == "none"


def test_a_student_begins_where_the_training_of_its_teacher_has_put_the_ends() -> None:
    source = teacher(0.25)
    model = Diffusion(1, 0, hidden=16, blocks=1, steps=8, weighting="bound", learned_ends=True)
    model.network = Network(Gaussian(0.25))
    assert model.schedule.ends is not None
    with torch.no_grad():
        model.schedule.ends.copy_(torch.tensor([-9.0, 7.0]))
    student = distil(replace(source, model=model), 2, events=200, device="cpu", epochs=1)
    assert isinstance(student.model, Distilled)
    assert student.model.levels[0] == pytest.approx(7.0)


def test_the_path_is_the_flow_of_the_gaussian() -> None:
    """x at a level is the noise times √v there, √s² at the end."""
    source = teacher(0.25)
    student = Distilled(1, 0, steps=4, hidden=16, blocks=1)
    assert isinstance(source.model, Diffusion)
    found = paths(source.model, student, torch.zeros(3, 0), 200, seed=1)[..., 0]
    gammas = torch.tensor([*student.levels, -math.inf])
    expected = Gaussian(0.25).diffused(gammas)[:, 0].sqrt()
    torch.testing.assert_close(found / found[:, :1], expected.expand(3, 5), rtol=1e-3, atol=0)


def test_imitation_is_zero_on_the_teacher_s_path() -> None:
    """Of N(0, 1) the flow stands still and v = 0, which is where a student starts."""
    student = Distilled(2, 0, steps=3, hidden=8, blocks=1)
    x = torch.randn(5, 2)
    angles = torch.tensor(student.angles)
    path = torch.stack([x * torch.cos(angles[0] - angle) for angle in angles[:1]], 1)
    turned = [path[:, 0]]
    for before, after in zip(student.angles[:-1], student.angles[1:], strict=True):
        turned.append(turned[-1] * math.cos(after - before))
    loss = student.imitation(torch.stack(turned, 1), torch.zeros(5, 0))
    torch.testing.assert_close(loss, torch.zeros(5))


def test_a_student_has_no_density() -> None:
    student = build("distilled", 2, 0, {"hidden": 8, "blocks": 1})
    with pytest.raises(SurrogateError, match="ask the diffusion"):
        student.log_prob(torch.zeros(1, 2), torch.zeros(1, 0))


def test_only_a_diffusion_is_distilled() -> None:
    flow = build("flow", 1, 0, {"layers": 1, "hidden": [8]})
    source = teacher(1.0)
    other = Surrogate(flow, "flow", source.features, None, source.domain, source.curve)
    with pytest.raises(SurrogateError, match="a surrogate of Flow cannot be distilled"):
        distil(other)


def test_events_alone_do_not_make_a_student() -> None:
    x = torch.randn(50, 1).double()
    with pytest.raises(SurrogateError, match="train one of method 'diffusion' and distil it"):
        Surrogate.fit(
            x, torch.zeros(50, 0), features=[Feature("x")], inputs=[], method="distilled"
        )  # fmt: skip


def test_a_distillation_that_fails_keeps_the_last_good_state(tmp_path: Path) -> None:
    settings = QUICK | {"max_learning_rate": 1e30}
    with pytest.raises(TrainingError, match=r"became .*no column stands out.* is x = "):
        distil(teacher(0.25), 2, events=500, device="cpu", rescue=tmp_path, **settings)
    kept = Surrogate.load(tmp_path)
    assert (kept.method, kept.curve.stopped) == ("distilled", "failed")


def test_a_distillation_that_is_interrupted_goes_on(tmp_path: Path) -> None:
    def press_ctrl_c(now: Progress) -> None:
        if now.epoch == 2:
            raise KeyboardInterrupt

    kept: dict[str, Any] = {"events": 500, "device": "cpu", "checkpoint": tmp_path / "c", **QUICK}
    with pytest.raises(KeyboardInterrupt):
        distil(teacher(0.25), 2, progress=press_ctrl_c, **kept)
    resumed, whole = (distil(teacher(0.25), 2, **k) for k in (kept, kept | {"checkpoint": None}))
    for one, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
