"""Shape and normalisation variations: closed forms, normalisation, and what is met at ±1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hepgen.errors import ParameterError
from hepgen.inference.density import ClosedForm, Density
from hepgen.inference.interpolation import Code
from hepgen.inference.variations import Normalisation, Quadrature, Varied
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform

NUISANCES = ParameterSet(
    [Parameter("a", 0.0, prior=Normal(0.0, 1.0)), Parameter("b", 0.0, prior=Normal(0.0, 1.0))]
)
CODES: tuple[Code, ...] = ("code1", "code4", "code4p", "log4p")
LINE = Quadrature.line(0.0, 1.0, 64)
MEAN = Parameter("mean", 0.5, prior=Uniform(0.0, 1.0))


def tilted(slope: float) -> ClosedForm:
    """1 + slope·(x − ½) on (0, 1)."""
    return ClosedForm(
        ParameterSet([]), ("x",), lambda x, _: torch.log(1 + slope * (x[..., 0] - 0.5))
    )


def varied(code: Code, nominal: Density | None = None) -> Varied:
    variations: dict[str, tuple[Density, Density]] = {
        "a": (tilted(0.5), tilted(-0.3)),
        "b": (tilted(0.1), tilted(-0.9)),
    }
    return Varied(nominal or tilted(0.0), variations, NUISANCES, LINE, code)


def density(model: Density, x: Tensor, theta: list[float]) -> Tensor:
    at = torch.tensor([[theta]], dtype=torch.float64)
    return model.log_densities(model.prepare(x)[None], at)[0, :, 0].exp()


@pytest.mark.parametrize("code", CODES)
def test_it_is_normalised_and_meets_its_variations(code: Code) -> None:
    model, weight = varied(code), LINE.log_weight.exp()

    for theta in ([0.0, 0.0], [0.7, -0.4], [-1.5, 0.3]):
        total = (weight * density(model, LINE.points, theta)).sum()
        assert total.item() == pytest.approx(1, abs=1e-9)
    for theta, slope in (([1.0, 0.0], 0.5), ([-1.0, 0.0], -0.3), ([0.0, -1.0], -0.9)):
        expected = 1 + slope * (LINE.points[:, 0] - 0.5)
        torch.testing.assert_close(density(model, LINE.points, theta), expected)


def test_exponentials_vary_as_they_should() -> None:
    """log p linear in ν is an exponential family: e^(−(1 + ν/10)t) for all ν."""

    def exponential(r: float) -> ClosedForm:
        return ClosedForm(ParameterSet([]), ("t",), lambda x, _: math.log(r) - r * x[..., 0])

    rates = [exponential(r) for r in (1.0, 1.1, 0.9)]
    nuisance = ParameterSet([NUISANCES["a"]])
    line = Quadrature.line(0.0, 80.0, 300)
    t = torch.linspace(0.1, 5, 7, dtype=torch.float64)[:, None]
    codes: tuple[Code, ...] = ("code1", "log4p")
    for code in codes:
        model = Varied(rates[0], {"a": (rates[1], rates[2])}, nuisance, line, code)
        for nu in (-2.0, -0.5, 0.3, 2.0):
            rate = 1 + nu / 10
            expected = rate * torch.exp(-rate * t[:, 0])
            torch.testing.assert_close(density(model, t, [nu]), expected, rtol=1e-9, atol=0)


def test_the_nominal_density_may_have_parameters_of_its_own() -> None:
    def form(x: Tensor, values: object) -> Tensor:
        mean = values["mean"]  # type: ignore[index]
        return torch.log(1 + (x[..., 0] - 0.5) * (mean - 0.5))

    nominal = ClosedForm(ParameterSet([MEAN]), ("x",), form)
    model = varied("log4p", nominal)
    assert model.parameters.free_names == ("mean", "a", "b")
    x = torch.tensor([[0.2], [0.9]], dtype=torch.float64)

    torch.testing.assert_close(
        density(model, x, [0.8, 0.0, 0.0]), 1 + 0.3 * (x[:, 0] - 0.5), rtol=1e-12, atol=0
    )
    at = torch.tensor([[[0.8, 0.3, -1.4]]], dtype=torch.float64, requires_grad=True)
    prepared = model.prepare(x)[None]
    assert torch.autograd.gradcheck(lambda t: model.log_densities(prepared, t), (at,))
    assert torch.autograd.gradgradcheck(lambda t: model.log_densities(prepared, t), (at,))


def test_an_additive_variation_that_goes_too_far_is_no_density() -> None:
    model = Varied(
        tilted(0.0), {"a": (tilted(1.5), tilted(-1.5))}, ParameterSet([NUISANCES["a"]]),
        code="code4p",
    )  # fmt: skip
    x = torch.tensor([[0.05], [0.5]], dtype=torch.float64)
    assert density(model, x, [1.2]).tolist() == pytest.approx([1 - 1.2 * 1.5 * 0.45, 1.0])
    assert density(model, x, [2.0]).tolist() == pytest.approx([0.0, 1.0])


def test_a_sample_is_a_quadrature() -> None:
    """∫ x² over a falling density, from its own draws, to the error of 10,000 of them."""
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.triangular(0, 0, 1, (10_000, 1)))
    falling = ClosedForm(ParameterSet([]), ("x",), lambda x, _: torch.log(2 * (1 - x[..., 0])))
    found = Quadrature.of_sample(falling, x)
    integral = (found.log_weight.exp() * 2 * (1 - x[:, 0]) * x[:, 0] ** 2).sum().item()

    # The standard error of x² is 0.2/√n.
    assert integral == pytest.approx(1 / 6, abs=4 * 0.2 / 100)


def test_a_normalisation_is_that_of_its_variations() -> None:
    rate = Normalisation("nu", 1.2, 0.7)
    found = rate({"nu": torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])})
    np.testing.assert_allclose(found, [0.49, 0.7, 1.0, 1.2, 1.44], rtol=1e-12)
    with pytest.raises(ParameterError, match="two percent"):
        Normalisation("nu", -0.02)


def test_what_does_not_fit_together_is_an_error() -> None:
    with pytest.raises(ParameterError, match="quadrature"):
        Varied(tilted(0.0), {"a": (tilted(0.1), tilted(-0.1))}, ParameterSet([NUISANCES["a"]]))
    with pytest.raises(ParameterError, match="nuisance parameters a, b"):
        Varied(tilted(0.0), {"a": (tilted(0.1), tilted(-0.1))}, NUISANCES, LINE)
