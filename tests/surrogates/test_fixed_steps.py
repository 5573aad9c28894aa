"""A linear field carries a Gaussian to a Gaussian: its density is known."""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hepgen.features import Feature
from hepgen.surrogates.conditional import ConditionalDensity
from hepgen.surrogates.export import export
from hepgen.surrogates.families import FAMILIES, Family
from hepgen.surrogates.fixed_steps import FixedSteps
from hepgen.surrogates.surrogate import Surrogate
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


METHODS: dict[str, dict[str, Any]] = {
    "cnf": {"width": 8, "blocks": 1},
    "flow-matching": {"width": 8, "blocks": 1},
    "diffusion": {"hidden": 8, "blocks": 1, "likelihood_steps": 12, "steps": 4},
}


def exported(method: str, folder: Path) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    c = 1 + torch.rand(600, 1, generator=generator, dtype=torch.float64)
    x = c + torch.randn(600, 2, generator=generator, dtype=torch.float64)
    features, inputs = [Feature("x"), Feature("y")], [Feature("shift")]
    surrogate = Surrogate.fit(
        x, c, features=features, inputs=inputs, method=method, options=METHODS[method],
        epochs=1, batch_size=100, device="cpu",
    )  # fmt: skip
    return export(surrogate, folder)


@pytest.mark.parametrize("method", METHODS)
def test_densities_along_an_ode_are_exported(method: str, tmp_path: Path) -> None:
    """With one step in the graph, whatever their number."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    # In a process of its own: torch cannot look through the checks of types that tests add.
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        manifest = alone.submit(exported, method, tmp_path).result()
    assert not manifest["density"]["why_not"]
    assert manifest["density"]["quality"] == "estimate"
    assert manifest["density"]["check"]["largest_deviation"] < 1e-4
    assert (tmp_path / "density.onnx").stat().st_size < 200_000


def test_the_manifest_says_how_far_fixed_steps_are_from_the_family(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        manifest = alone.submit(exported_linear, tmp_path).result()
    assert "2 steps of rk4 with the exact trace, not estimate" in manifest["fixed_steps"]["words"]
    assert manifest["density"]["words"] == "ODE by 2 steps of rk4, exact trace"
    assert manifest["density"]["check"]["largest_deviation"] < 1e-5
    apart = manifest["fixed_steps"]["apart"]["x_in_interquartile_ranges"]
    assert apart["largest"] == 0


def exported_linear(folder: Path) -> dict[str, Any]:
    FAMILIES["linear"] = Family(Linear, TITLE)
    surrogate = toy(kind="estimate")
    surrogate.model, surrogate.method = Linear(1, 1, kind="estimate"), "linear"
    return export(surrogate, folder)
