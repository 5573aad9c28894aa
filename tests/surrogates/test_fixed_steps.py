"""A linear field carries a Gaussian to a Gaussian: its density is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hepgen.surrogates.conditional import ConditionalDensity
from hepgen.surrogates.export import export
from hepgen.surrogates.families import FAMILIES, Family
from hepgen.surrogates.fixed_steps import FixedSteps
from tests.surrogates.toys import TITLE, Gaussian, toy

RATE = 0.7


def field(t: Tensor, u: Any, context: Tensor) -> Any:  # noqa: ARG001
    """du/dt = a u + a Σc, so that u(1) = eᵃ u(0) + (eᵃ − 1) Σc."""
    return RATE * u + RATE * context.sum(-1, keepdim=True)


class Linear(Gaussian):
    """What the field gives, in closed form."""

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        return math.exp(RATE) * noise + math.expm1(RATE) * context.sum(-1, keepdim=True)

    def exportable(self) -> tuple[ConditionalDensity, str]:
        twin = FixedSteps(self, field, steps=2)
        return twin, twin.words


@pytest.mark.parametrize(("steps", "error"), [(2, 5e-3), (16, 2e-6)])
def test_the_density_is_that_of_the_gaussian(steps: int, error: float) -> None:
    generator = torch.Generator().manual_seed(0)
    noise, c = (torch.randn(50, n, generator=generator).double() for n in (3, 2))
    model = Linear(3, 2).double()
    normal = -0.5 * noise.square().sum(-1) - 1.5 * math.log(2 * math.pi)
    found = FixedSteps(model, field, steps=steps).log_prob(model.generate(noise, c), c)
    difference = (found.value - (normal - 3 * RATE)).abs().max()
    # Of fourth order: eight times the steps, 8⁴ times less.
    assert error / 100 < difference < error
    assert found.quality.kind == "estimate"


def test_it_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.setitem(FAMILIES, "linear", Family(Linear, TITLE))
    surrogate = toy(kind="estimate")
    surrogate.model, surrogate.method = Linear(1, 1, kind="estimate"), "linear"
    manifest = export(surrogate, tmp_path)
    assert "2 steps of rk4 with the exact trace, not estimate" in manifest["fixed_steps"]["words"]
    assert manifest["density"]["words"] == "ODE by 2 steps of rk4, exact trace"
    assert manifest["density"]["check"]["largest_deviation"] < 1e-5
    apart = manifest["fixed_steps"]["apart"]["x_in_interquartile_ranges"]
    assert apart["largest"] == 0
