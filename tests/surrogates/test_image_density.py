"""The lower bound of the log-density of images, against frequencies of what is sampled.

Images of two layers of two cells, with counts of the size of the threshold: so few that the
probability of each can be counted, and such that every way in which an image may come about is
frequent: layers with no, one and two cells read, and layers with no energy for another one.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hepgen.errors import DataError, SurrogateError
from hepgen.features import Feature
from hepgen.surrogates.arrays import ShowerSurrogate
from hepgen.surrogates.images.cells import fractions, log_fraction_slope
from hepgen.surrogates.images.families import image_options
from hepgen.surrogates.images.marginals import CellScores
from hepgen.surrogates.images.preimages import _tail
from hepgen.surrogates.images.surrogate import ImageSurrogate

SHAPE = (2, 1, 2)
INPUTS = (Feature("energy", "GeV"),)
QUICK: dict[str, Any] = {"batch_size": 200, "epochs": 5, "patience": None, "device": "cpu"}
PARTICLE = torch.tensor([7.5], dtype=torch.float64)
FALSE_ALARM = 1e-4


def showers(n: int, seed: int, step: float) -> tuple[Tensor, Tensor]:
    """Images and E ~ U(5, 10): log-normal cells, two of them correlated, read above half a GeV."""
    g = torch.Generator().manual_seed(seed)
    energy = 5 + 5 * torch.rand(n, 1, generator=g, dtype=torch.float64)
    z = torch.randn(n, 4, generator=g, dtype=torch.float64)
    z[:, 1] = 0.6 * z[:, 0] + 0.8 * z[:, 1]
    e = energy * torch.tensor([0.24, 0.12, 0.16, 0.08], dtype=torch.float64) * (0.5 * z).exp()
    e = (e / step).round() * step if step else e
    return torch.where(e > 0.5, e, 0.0), energy


@cache
def trained(step: float, method: str = "coupling") -> ImageSurrogate:
    options: dict[str, Any] = {
        "coupling": {"layers": 2, "hidden": [16], "tail": 100.0, "identity": True},
        "vae": {"latent": 2, "hidden": [16], "posterior": "diagonal", "importance": 1,
                "samples": 4},
    }  # fmt: skip
    images, particles = showers(6000, 1, step)
    made = ImageSurrogate.fit(
        images, particles, inputs=INPUTS, shape=SHAPE, step=step, method=method,
        options=options[method],
        energies={"method": "coupling", "options": {"layers": 2, "hidden": [16]}, **QUICK},
        **QUICK,
    )  # fmt: skip
    made.extrapolate = True  # the tails of the energies
    return made


def sampled(surrogate: ImageSurrogate, n: int) -> Tensor:
    return surrogate.sample(n, PARTICLE, seed=3)


@pytest.mark.parametrize("method", ["coupling", "vae"])
def test_each_image_is_sampled_as_often_as_its_density_says(method: str) -> None:
    """All images of up to three counts a cell, among 100,000: χ², and the sum of what they have.

    The VAE is itself a bound, whose exponential is right on average.
    """
    surrogate = replace(trained(1.0, method), draws=512)
    n, counted = 100_000, Counter[tuple[int, ...]]()
    counted.update(map(tuple, sampled(surrogate, n).long().tolist()))
    images = list(product(range(4), repeat=4))
    found = surrogate.bound(torch.tensor(images, dtype=torch.float64), PARTICLE)
    p, number = found.value.exp(), torch.tensor([counted[one] for one in images]).double()
    error = p * found.error
    assert p.sum() < 1
    inside = number.sum() / n
    sigma = (inside * (1 - inside) / n + error.square().sum()).sqrt()
    limit = stats.norm.isf(FALSE_ALARM / 2)
    assert abs(p.sum() - inside) < limit * sigma
    some = (n * p > 25) & (found.error < 0.3)
    assert some.sum() > 100
    chi2 = ((number - n * p).square() / (n * p + (n * error).square()))[some].sum().item()
    assert stats.chi2.sf(chi2, int(some.sum())) > FALSE_ALARM


def test_without_counts_it_is_a_density_that_integrates_to_what_is_sampled() -> None:
    """The mean of p over boxes of one, two and three cells, each with the chance of its samples."""
    surrogate = replace(trained(0.0), draws=16)
    n = 200_000
    made, g = sampled(surrogate, n), torch.Generator().manual_seed(5)
    for low, high in (
        ((0.8, 0.6, 0.0, 0.0), (1.5, 1.2, 0.0, 0.0)),
        ((0.0, 0.0, 0.9, 0.0), (0.0, 0.0, 2.0, 0.0)),
        ((1.0, 0.0, 0.8, 0.0), (2.0, 0.0, 1.4, 0.0)),
        ((1.0, 0.6, 0.7, 0.0), (2.5, 1.5, 2.0, 0.0)),
        ((1.0, 0.6, 0.7, 0.6), (2.5, 1.5, 2.0, 1.2)),
    ):
        edges = torch.tensor([low, high], dtype=torch.float64)
        chance = ((made >= edges[0]) & (made <= edges[1])).all(-1).double().mean()
        share = torch.rand(225, 4, generator=g, dtype=torch.float64)
        density = surrogate.log_prob(torch.lerp(edges[0], edges[1], share), PARTICLE).exp()
        size = (edges[1] - edges[0])[edges[1] > 0].prod()
        sigma = (size * density.std() / 15).hypot((chance / n).sqrt())
        assert n * chance > 100
        assert abs(size * density.mean() - chance) < stats.norm.isf(FALSE_ALARM / 10) * sigma


def test_it_does_not_fall_with_the_draws() -> None:
    """On average over images, whose differences from one K to the next have a known error."""
    images, energy = showers(200, 9, 1.0)
    value = torch.stack(
        [replace(trained(1.0), draws=k).log_prob(images, energy, seed=k) for k in (1, 4, 16, 64)]
    )
    rise = value.diff(dim=0)
    sigma = rise.std(-1) / math.sqrt(len(images))
    assert bool((rise.mean(-1) > -4 * sigma).all())
    total = value[-1] - value[0]
    assert total.mean() > 3 * total.std() / math.sqrt(len(images))


def test_it_knows_the_energy_of_its_images() -> None:
    """Of energies that are uniform, the quantiles of each in its posterior are, too."""
    surrogate = replace(trained(1.0), draws=32)
    g = torch.Generator().manual_seed(2)
    energy = 5.2 + 4.6 * torch.rand(80, 1, generator=g, dtype=torch.float64)
    images = surrogate.sample(1, energy, seed=8)[0]
    grid = torch.linspace(5.2, 9.8, 24, dtype=torch.float64)
    log_p = torch.stack([surrogate.log_prob(images, e[None]) for e in grid])
    posterior = (log_p - log_p.max(0).values).exp()
    area = torch.cat([torch.zeros(1, 80), torch.cumulative_trapezoid(posterior, dim=0)])
    place = (energy[:, 0] - 5.2) / 0.2
    k = place.long()
    first, second = (area.gather(0, (k + i)[None])[0] for i in (0, 1))
    below = torch.lerp(first, second, place - k)
    assert stats.kstest((below / area[-1]).numpy(), "uniform").pvalue > FALSE_ALARM
    own = surrogate.log_prob(images, energy)
    other = surrogate.log_prob(images, 15 - energy)
    far = (energy[:, 0] - 7.5).abs() > 1
    gain = (own - other)[far]
    assert gain.mean() > 4 * gain.std() / math.sqrt(len(gain))


def test_a_seed_determines_it_and_what_follows_does_not_change_it() -> None:
    surrogate, (images, energy) = trained(1.0), showers(30, 4, 1.0)
    whole = surrogate.log_density(images, energy, seed=5)
    assert torch.equal(surrogate.log_prob(images, energy, seed=5), whole.value)
    assert torch.equal(surrogate.bound(images, energy, seed=5).error, whole.error)
    assert not torch.equal(surrogate.log_prob(images, energy), whole.value)
    assert surrogate.log_prob(images[:0], energy[:0]).shape == (0,)


def test_images_and_their_density_come_together() -> None:
    surrogate = trained(1.0)
    context = torch.tensor([[6.0], [9.0]], dtype=torch.float64)
    x, found = surrogate.sample_and_log_prob(5, context, seed=2)
    assert torch.equal(x, surrogate.sample(5, context, seed=2))
    assert found.value.shape == found.error.shape == (5, 2)
    assert found.quality.kind == "bound"
    rows = context.expand(5, 2, 1).reshape(-1, 1)
    torch.testing.assert_close(
        found.value.flatten(), surrogate.log_prob(x.flatten(0, 1), rows, seed=2)
    )


def test_images_that_no_draw_explains_have_a_small_density_and_not_none() -> None:
    """A thousand times what was seen in one cell, the others not read; and nothing at all."""
    images = torch.tensor([[0, 0, 0, 5000], [4000, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.float64)
    value = trained(1.0).log_prob(images, PARTICLE)
    assert bool(value.isfinite().all())
    assert bool((value[:2] < -20).all())


def test_the_diffusion_of_the_workflow_has_its_density() -> None:
    """With the options for images, but for their size: it is an estimate with an error."""
    images, particles = showers(2000, 1, 0.0)
    options = image_options("diffusion", SHAPE) | {"hidden": 8}
    options["architecture"] = {"shape": list(SHAPE), "levels": 1, "heads": 1}
    made = ImageSurrogate.fit(
        images, particles, inputs=INPUTS, shape=SHAPE, step=0.0, method="diffusion",
        options=options, energies={"method": "coupling", "options": {"layers": 2, "hidden": [16]},
                                   **QUICK},
        **QUICK | {"epochs": 1},
    )  # fmt: skip
    assert made.quality.kind == "estimate"
    made.extrapolate = True
    found = made.log_density(images[:5], particles[:5])
    assert bool(torch.isfinite(found.value).all())
    assert bool((found.error > 0).all())


def test_arrays_have_the_density_of_the_tensors() -> None:
    surrogate = trained(0.0)
    arrays = ShowerSurrogate(surrogate)
    images, density = arrays.sample_and_log_prob(4, {"energy": 7.5}, seed=2)
    assert images.shape == (4, *SHAPE)
    again, error = arrays.log_density(images, {"energy": 7.5}, seed=2)
    expected = surrogate.log_density(
        torch.from_numpy(images).reshape(4, -1), PARTICLE.expand(4, 1), 2
    )
    assert np.array_equal(again, expected.value.numpy())
    assert np.array_equal(error, expected.error.numpy())
    assert np.allclose(density, again)
    assert np.array_equal(arrays.log_prob(images, {"energy": 7.5}, seed=2), again)
    assert arrays.quality == surrogate.quality
    with pytest.raises(DataError, match=r"images of shape \(4, 4\); expected \(N, 2, 1, 2\)"):
        arrays.log_prob(images.reshape(4, 4), {"energy": 7.5})


def test_what_has_no_density_is_refused() -> None:
    surrogate, images = trained(1.0), torch.tensor([[2.0, 1.0, 0.0, 1.0]])
    with pytest.raises(DataError, match=r"1 cells, e\.g\. 1\.3 GeV, are not whole counts of 1 GeV"):
        surrogate.log_prob(torch.tensor([[1.3, 1.0, 0.0, 1.0]]), PARTICLE)
    with pytest.raises(DataError, match=r"expected \(N, 4\)"):
        surrogate.log_prob(images[:, :3], PARTICLE)
    with pytest.raises(DataError, match="neither 0 nor at least 1 GeV"):
        surrogate.log_prob(-images, PARTICLE)
    strict = replace(surrogate, cells=replace(surrogate.cells, extrapolate=False))
    strict.extrapolate = False
    with pytest.raises(SurrogateError, match=r"energy = 20 .* outside the range"):
        strict.log_prob(images, torch.tensor([20.0]).double())


def test_the_jacobian_of_the_shares_of_the_layers() -> None:
    energies = torch.tensor([[1.0, 3.0, 0.5]], dtype=torch.float64)
    incident = torch.tensor([6.0], dtype=torch.float64)
    slope = torch.func.jacrev(lambda e: fractions(e, incident)[0])(energies)[:, 0]
    torch.testing.assert_close(log_fraction_slope(energies, incident)[0], slope.logdet())


def test_the_slope_of_the_scores_is_that_of_differences() -> None:
    scores = CellScores(3)
    v = torch.rand(5000, 3, generator=torch.Generator().manual_seed(1)).square() * 4 - 0.2
    scores.fit(v.clamp(min=0))
    at = torch.tensor([[0.11, 0.5, 1.7], [2.9, 9.0, -0.3]])
    w, slope = scores.with_slope(at)
    torch.testing.assert_close(w, scores(at))
    difference = (scores(at + 1e-3) - scores(at - 1e-3)) / 2e-3
    torch.testing.assert_close(slope, difference, rtol=0.05, atol=1e-3)
    some = torch.tensor([2, 0])
    torch.testing.assert_close(scores.of(some)(at[:, some]), w[:, some])


@pytest.mark.parametrize("edge", [3.0, 0.0, -5.0, -7.9, -8.1, -40.0])
def test_a_tail_is_drawn_with_the_density_that_is_said(edge: float) -> None:
    """E[φ/q] = Φ(edge) and E[x φ/q] = −φ(edge) over 20,000 draws, all below it; to four sigma."""
    chance = torch.rand(20_000, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    x, log_q = _tail(torch.tensor(edge, dtype=torch.float64), chance)
    assert bool((x <= edge).all())
    log_ratio = stats.norm.logpdf(x.numpy()) - log_q.numpy() - stats.norm.logcdf(edge)
    ratio = torch.from_numpy(log_ratio).exp()
    mean = -math.exp(stats.norm.logpdf(edge) - stats.norm.logcdf(edge))
    for found, expected in ((ratio, 1.0), (ratio * (x - mean), 0.0)):
        assert abs(found.mean() - expected) <= 4 * found.std() / math.sqrt(len(x)) + 1e-9
