"""Variations that are learned from varied samples, against closed forms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hepgen.errors import FileError
from hepgen.features import Feature
from hepgen.inference.channel import Channel, Sample
from hepgen.inference.density import ClosedForm
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.nre import ParametrisedClassifier
from hepgen.inference.reweighting import (
    LogNorm,
    Reweighted,
    ReweightedSampler,
    ShapeVariation,
    VariedRate,
)
from hepgen.inference.sampler import Sampler
from hepgen.inference.statistics.fit import fit
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform

SHIFT = 0.2
"""At ν = ±1 the events are moved by so much: r± = exp(±0.2 x − 0.02), Z± = exp(±0.2 θ)."""
MEAN = ParameterSet([Parameter("mean", 0.0, role="interest", prior=Uniform(-1.0, 1.0))])
NU = ParameterSet([Parameter("nu", 0.0, prior=Normal(0.0, 1.0))])
BOTH = ParameterSet([*MEAN, *NU])
EVENTS = 60_000


def normal(x: Tensor, mean: Tensor | float) -> Tensor:
    return -0.5 * (x - mean) ** 2 - 0.5 * math.log(2 * math.pi)


NOMINAL = ClosedForm(MEAN, ("x",), lambda x, v: normal(x[..., 0], v["mean"]))


class Draws:
    """Events of N(θ, 1)."""

    def draw(self, counts: Tensor, values: Mapping[str, Tensor], seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        mean = values["mean"].double().expand(len(counts)).repeat_interleave(counts)
        return (mean + torch.randn(len(mean), generator=generator).double())[:, None]

    def expected(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        at = {name: value.reshape(1) for name, value in values.items()}
        x = self.draw(torch.tensor([20_000]), at, 9)
        return x, torch.full((len(x),), 1 / len(x)).double()


DRAWS: Sampler = Draws()


@pytest.fixture(scope="module")
def shape() -> ShapeVariation:
    generator = torch.Generator().manual_seed(4)

    def events(mean: Tensor | float) -> Tensor:
        return (mean + torch.randn(EVENTS, generator=generator).double())[:, None]

    theta = MEAN.prior().sample((EVENTS,), generator)
    return ShapeVariation.fit(
        events(0.0), events(SHIFT), events(-SHIFT), events(theta[:, 0]), theta,
        features=(Feature("x"),), hidden=(16, 16), epochs=8, batch_size=4096,
        max_learning_rate=1e-2, seed=2,
    )  # fmt: skip


class ExactTilt(ParametrisedClassifier):
    """log r± = ± 0.2 x − 0.02, in the place of what is learned."""

    def __init__(self) -> None:
        pass

    def log_prob(self, x: Tensor, ends: Tensor) -> Tensor:
        return SHIFT * x.double() * ends.T - SHIFT**2 / 2


@pytest.fixture(scope="module")
def exact() -> Reweighted:
    """The density of ratios that are right, and of a Z by quadrature."""
    x, theta = torch.meshgrid(
        torch.linspace(-9, 9, 361).double(), torch.linspace(-1, 1, 21).double(), indexing="ij"
    )
    x, theta = x.reshape(-1, 1), theta.reshape(-1, 1)
    ratio = ExactTilt()
    log_ratios = ratio.log_prob(x, torch.tensor([[1.0], [-1.0]]).double())
    weight = normal(x[:, 0], theta[:, 0]).exp()
    return Reweighted(
        NOMINAL, {"nu": ShapeVariation(ratio, LogNorm.fit(log_ratios, theta, weight))}, NU
    )


@pytest.mark.parametrize("nu", [-3.0, -1.0, -0.3, 0.0, 0.6, 1.0, 1.4, 3.5])
def test_what_is_moved_is_moved_at_every_nu(exact: Reweighted, nu: float) -> None:
    """A Gaussian is an exponential family: log r is linear in its shift, and Z is known."""
    for mean in (-0.8, 0.0, 0.5):
        x = torch.linspace(mean - 4, mean + 4, 17, dtype=torch.float64)
        expected = normal(x, mean + SHIFT * nu)
        torch.testing.assert_close(heights(exact, x, mean, nu), expected, atol=2e-4, rtol=0)


def test_a_shift_adds_its_square_to_the_error(exact: Reweighted) -> None:
    """30 events that are far from a Gaussian: the error of θ̂ is √(1/30 + 0.2²), that of ν̂ is 1."""
    model = EventLikelihood(BOTH, [Channel("c", (Sample("all", exact),), extended=False)])
    x = torch.linspace(-0.6, 0.6, 30).double() ** 3
    best = fit(model, model.data({"c": x[:, None]}))
    assert best.error("mean")[0].item() == pytest.approx(math.hypot(1 / 30**0.5, SHIFT), rel=0.01)
    assert best.error("nu")[0].item() == pytest.approx(1.0, rel=0.01)


@pytest.fixture(scope="module")
def density(shape: ShapeVariation) -> Reweighted:
    return Reweighted(NOMINAL, {"nu": shape}, NU)


def heights(density: Reweighted, x: Tensor, mean: float, nu: float) -> Tensor:
    theta = torch.tensor([[[mean, nu]]], dtype=torch.float64)
    return density.log_densities(density.prepare(x[:, None])[None], theta)[0, :, 0].detach()


@pytest.mark.parametrize(
    ("mean", "nu"), [(0.0, 0.0), (0.0, 1.0), (0.0, -1.0), (0.6, 1.0), (-0.6, 0.4)]
)
def test_the_density_is_that_of_the_varied_sample_at_every_theta(
    density: Reweighted, mean: float, nu: float
) -> None:
    x = torch.linspace(mean - 2, mean + 2, 101, dtype=torch.float64)
    expected = normal(x, mean + SHIFT * nu)
    # 60,000 events of each kind, a small network: the logarithm is known to some 3 %.
    assert (heights(density, x, mean, nu) - expected).abs().mean() < 0.04
    grid = torch.linspace(mean - 8, mean + 8, 1601, dtype=torch.float64)
    norm = heights(density, grid, mean, nu).exp().sum() * (grid[1] - grid[0])
    assert norm.item() == pytest.approx(1.0, abs=0.01)


def test_z_of_a_tilt_is_its_exponential(shape: ShapeVariation) -> None:
    theta = torch.tensor([[-0.7], [0.0], [0.7]], dtype=torch.float64)
    expected = torch.exp(SHIFT * theta * torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(shape.log_norm.ends(theta), expected, rtol=0.03, atol=0)


def test_a_measurement_is_as_uncertain_as_the_shift(density: Reweighted) -> None:
    """50 events of N(θ + 0.2 ν, 1): θ̂ has the error √(1/50 + 0.2²), and ν̂ is 0 ± 1."""
    model = EventLikelihood(BOTH, [Channel("c", (Sample("all", density),), extended=False)])
    x = torch.linspace(0.5 / 50, 1 - 0.5 / 50, 50, dtype=torch.float64)
    data = model.data({"c": torch.special.ndtri(x)[:, None]})
    best = fit(model, data)
    assert best.column("mean")[0].item() == pytest.approx(0.0, abs=0.04)
    # 0.141 without the variation; noise of the network looks like a weak measurement of ν.
    assert best.error("mean")[0].item() == pytest.approx(math.hypot(1 / 50**0.5, SHIFT), rel=0.1)
    assert best.error("nu")[0].item() == pytest.approx(1.0, rel=0.1)


def test_pseudo_data_have_the_variation(density: Reweighted) -> None:
    sampler = ReweightedSampler(DRAWS, density)
    counts = torch.tensor([20_000, 0, 30_000])
    values = {"mean": torch.tensor([0.0, 0.0, 0.5]), "nu": torch.tensor([1.0, 0.0, -1.0])}
    x = sampler.draw(counts, values, seed=3)
    assert len(x) == 50_000
    assert torch.equal(x, sampler.draw(counts, values, seed=3))
    first, last = x[:20_000].mean().item(), x[20_000:].mean().item()
    # What the network has wrong, and four standard errors.
    assert first == pytest.approx(SHIFT, abs=0.02 + 4 / 20_000**0.5)
    assert last == pytest.approx(0.5 - SHIFT, abs=0.02 + 4 / 30_000**0.5)
    one = {"mean": torch.tensor(0.0).double(), "nu": torch.tensor(1.0).double()}
    events, weight = sampler.expected(one)
    assert weight.sum().item() == pytest.approx(1.0)
    assert (events[:, 0] @ weight).item() == pytest.approx(SHIFT, abs=0.05)


def test_a_rate_is_exponential_and_knows_that_a_tilt_depends_on_theta(
    shape: ShapeVariation,
) -> None:
    rate = VariedRate("nu", 1.1, 0.9, MEAN)
    nu = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    expected = torch.tensor([0.81, 0.9, 1.0, 1.1, 1.331], dtype=torch.float64)
    torch.testing.assert_close(rate({"nu": nu, "mean": 0 * nu}), expected)
    tilted = VariedRate("nu", 1.1, 0.9, MEAN, shape)
    found = tilted({"nu": torch.ones(2).double(), "mean": torch.tensor([0.0, 0.6]).double()})
    wanted = torch.tensor([1.1, 1.1 * math.exp(SHIFT * 0.6)], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=0.03, atol=0)


def test_what_is_written_is_what_is_read(shape: ShapeVariation, tmp_path: Path) -> None:
    shape.save(tmp_path)
    again = ShapeVariation.load(tmp_path)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    torch.testing.assert_close(again.log_ratios(x), shape.log_ratios(x), rtol=1e-6, atol=0)
    assert vars(again.log_norm).keys() == vars(shape.log_norm).keys()
    for name, value in vars(again.log_norm).items():
        assert torch.equal(value, getattr(shape.log_norm, name))
    (tmp_path / "norm.json").write_text('{"centre": 1}')
    with pytest.raises(FileError, match="no norm of a variation"):
        ShapeVariation.load(tmp_path)
