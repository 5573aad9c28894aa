"""Surrogates of images: what is lost on the way there and back, and one that is trained."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hepgen.diagnostics.comparison.judge import ALL_CELLS, judge_images
from hepgen.errors import DataError, FileError, SurrogateError
from hepgen.features import Feature
from hepgen.images import dense_images
from hepgen.io.hdf5 import ImageReader, ImageWriter
from hepgen.surrogates.families import build
from hepgen.surrogates.images.cells import CellCode, fractions, layer_energies
from hepgen.surrogates.images.families import image_options
from hepgen.surrogates.images.law import CellLaw
from hepgen.surrogates.images.marginals import CellScores
from hepgen.surrogates.images.surrogate import ImageSurrogate

SHAPE = (3, 4, 4)
VOXELS = 48
INPUTS = (Feature("energy", "GeV"), Feature("place"))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def showers(
    n: int, seed: int = 0, step: float = 0.001, least: float = 0.009
) -> tuple[Tensor, Tensor]:
    """A toy: most of E in the middle layer, more of it on the side of ``place``; GeV."""
    g = generator(seed)
    energy = 1 + 3 * torch.rand(n, generator=g, dtype=torch.float64)
    place = torch.rand(n, generator=g, dtype=torch.float64) - 0.5
    depth = torch.tensor([0.1, 0.7, 0.2], dtype=torch.float64)
    across = torch.softmax(-(torch.arange(4.0) - 1.5 - 2 * place[:, None]).square(), -1)
    mean = energy[:, None, None, None] * depth[:, None, None] * across[:, None, :, None] / 4
    mean = mean.expand(n, *SHAPE).flatten(1)
    e = mean * torch.exp(0.3 * torch.randn(n, VOXELS, generator=g, dtype=torch.float64))
    e = e + 0.004 * torch.randn(n, VOXELS, generator=g, dtype=torch.float64)
    e = (e / step).round() * step if step else e
    return torch.where(e > least - 1e-9, e, 0.0), torch.stack([energy, place], -1)


cells_in_counts = st.lists(
    st.one_of(st.just(0), st.integers(9, 60_000)), min_size=VOXELS, max_size=VOXELS
)


@settings(deadline=None, max_examples=50)
@given(cells_in_counts, st.integers(0, 1000))
def test_counts_come_back_exactly(counts: list[int], seed: int) -> None:
    image = 0.001 * torch.tensor([counts], dtype=torch.float64)
    code = CellCode(SHAPE, least=0.009, step=0.001)
    energies, v = code.encode(image, generator(seed))
    torch.testing.assert_close(code.decode(energies, v), image, rtol=1e-12, atol=1e-12)
    assert torch.equal(v > 0, image > 0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.one_of(st.just(0.0), st.floats(0.009, 100.0)), min_size=VOXELS, max_size=VOXELS))
def test_energies_come_back(cells: list[float]) -> None:
    """To a relative 1e-5, asked in GeV; what was zero is zero, and layers keep their sums."""
    image = torch.tensor([cells], dtype=torch.float64)
    code = CellCode(SHAPE, least=0.009)
    energies, v = code.encode(image, generator())
    back = code.decode(energies, v)
    torch.testing.assert_close(back, image, rtol=1e-5, atol=1e-9)
    assert torch.equal(back == 0, image == 0)
    sums = image.reshape(3, 16).sum(-1)
    torch.testing.assert_close(energies[0][sums > 0], sums[sums > 0], rtol=1e-12, atol=0)
    assert bool((energies[0][sums == 0] < code.threshold).all())


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_any_numbers_give_an_image_that_could_have_been_read(seed: int) -> None:
    """Whatever a network says: the layers have their energies, and no cell is below the least."""
    g = generator(seed)
    energies = torch.exp(3 * torch.randn(5, 3, generator=g, dtype=torch.float64) - 3)
    v = 3 * torch.randn(5, VOXELS, generator=g, dtype=torch.float64)
    code = CellCode(SHAPE, least=0.01)
    image = code.decode(energies, v)
    sums = image.reshape(5, 3, 16).sum(-1)
    expected = torch.where(energies >= code.threshold, energies, 0.0)
    torch.testing.assert_close(sums, expected, rtol=1e-9, atol=1e-12)
    assert bool(((image == 0) | (image >= 0.01 - 1e-12)).all())
    counted = CellCode(SHAPE, least=0.01, step=0.002).decode(energies, v)
    assert bool(((counted == 0) | (counted > 0.01 - 1e-12)).all())
    counts = counted / 0.002
    torch.testing.assert_close(counts, counts.round(), rtol=1e-9, atol=1e-9)


def test_where_there_is_not_enough_energy_the_brightest_cells_are_read() -> None:
    code = CellCode((1, 1, 4), least=1.0)
    v = torch.tensor([[3.0, 1.0, 2.0, -1.0]])
    for energy, read in ((0.5, 0), (1.5, 1), (2.5, 2), (3.5, 3), (100.0, 3)):
        image = code.decode(torch.tensor([[energy]]), v)[0]
        assert int((image > 0).sum()) == read
        assert image.sum().item() == pytest.approx(energy if read else 0)
    dark = code.decode(torch.tensor([[5.0]]), -1 - v.abs())
    assert sorted(dark[0].tolist()) == [0.0, 0.0, 0.0, 5.0]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=12), st.floats(1e-2, 1e3))
def test_fractions_come_back(energies: list[float], incident: float) -> None:
    layer = torch.tensor([energies], dtype=torch.float64)
    given_energy = torch.tensor([incident], dtype=torch.float64)
    x = fractions(layer, given_energy)
    assert bool(((x[:, 1:] > 0) & (x[:, 1:] < 1)).all())
    torch.testing.assert_close(layer_energies(x, given_energy), layer, rtol=1e-9, atol=0)


@pytest.mark.parametrize("value", [0.005, -1.0, float("nan"), float("inf")])
def test_cells_that_cannot_be_read_are_refused(value: float) -> None:
    image = torch.zeros(1, VOXELS)
    image[0, 7] = value
    with pytest.raises(DataError, match=r"1 cells, e\.g\. .* neither 0 nor at least 0\.009 GeV"):
        CellCode(SHAPE, 0.009).encode(image, generator())
    with pytest.raises(DataError, match=r"expected \(N, 48\)"):
        CellCode(SHAPE, 0.009).encode(image[:, :5], generator())


@pytest.mark.parametrize(("least", "step"), [(0.0, 0.0), (0.01, 0.02), (0.01, -0.1)])
def test_a_code_without_a_threshold_is_refused(least: float, step: float) -> None:
    with pytest.raises(SurrogateError, match="expected a positive energy"):
        CellCode(SHAPE, least, step)


def test_what_a_cell_reads_is_a_normal_variable_beyond_a_threshold() -> None:
    """Exponential cells, read in 3 % to all of 20,000 images; to five sigma of the moments."""
    g = generator(3)
    often = torch.tensor([0.03, 0.4, 0.97, 1.0])
    read = torch.rand(20_000, 4, generator=g) < often
    v = torch.where(read, -torch.rand(20_000, 4, generator=g).clamp(min=1e-6).log(), 0.0)
    marginals = CellScores(4)
    marginals.fit(v)
    w = marginals(v)
    torch.testing.assert_close(torch.special.ndtr(-marginals.edge), often, rtol=0, atol=0.018)
    normal = torch.where(read, w + marginals.edge, 0.0).double()
    density = torch.exp(-0.5 * marginals.edge.double().square()) / math.sqrt(2 * math.pi)
    torch.testing.assert_close(normal.mean(0), density, rtol=0, atol=0.035)
    assert bool(((w > 0) == read).all())
    torch.testing.assert_close(marginals.inverse(w), v, rtol=1e-4, atol=1e-5)


def test_a_cell_that_is_never_read_is_a_function_too() -> None:
    marginals = CellScores(2)
    marginals.fit(torch.tensor([[0.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    w = torch.linspace(-2, 9, 50)[:, None].expand(50, 2)
    v = marginals.inverse(w)
    assert bool(v.isfinite().all())
    assert bool(((v > 0) == (w > 0)).all())
    assert bool((v.diff(dim=0) > 0).all())


def test_the_law_has_the_mean_the_widths_and_the_covariance_of_normal_cells() -> None:
    """Cells that are mostly read, with widths that follow z; 20,000 of them, to five sigma."""
    g = generator(1)
    z = torch.randn(20_000, 2, generator=g, dtype=torch.float64)
    root = torch.tensor([[0.5, 0.2, 0.0], [0.0, 0.4, 0.1], [0.0, 0.0, 0.3]])
    mean = 3 + z.float() @ torch.tensor([[1.0, 0.0, 0.5], [0.0, -1.0, 0.5]])
    width = torch.exp(0.2 * z[:, :1].float())
    v = (mean + width * (torch.randn(20_000, 3, generator=g) @ root)).clamp(min=0)
    law = CellLaw(3, 2, 2)
    u = law.fit(z, v, g)
    torch.testing.assert_close(torch.cov(u.mT), torch.eye(3), rtol=0, atol=0.03)
    torch.testing.assert_close(law.inverse(u, z).clamp(min=0), v, rtol=1e-3, atol=1e-3)
    made = law.inverse(torch.randn(20_000, 3, generator=g), z)
    residual, expected = (made - mean) / width, root.mT @ root
    torch.testing.assert_close(torch.cov(residual.mT), expected, rtol=0, atol=0.025)
    bright = z[:, 0] > 0.5
    for part in (bright, ~bright):
        torch.testing.assert_close(made[part].std(0), v[part].std(0), rtol=0.07, atol=0)


def test_cells_that_are_censored_are_drawn_from_the_law_that_was_cut() -> None:
    """Two cells with a correlation of 0.8, each read in half of 20,000 images.

    Three sweeps have not quite arrived there.
    """
    g = generator(2)
    z = torch.randn(20_000, 1, generator=g, dtype=torch.float64)
    first, second = torch.randn(2, 20_000, generator=g)
    cells = torch.stack([first, 0.8 * first + 0.6 * second], -1)
    law = CellLaw(2, 1, 1)
    u = law.fit(z, cells.clamp(min=0), g)
    filled = u @ law.root
    assert 0.72 < torch.cov(filled.mT)[0, 1] < 0.84
    made = law.inverse(torch.randn(20_000, 2, generator=g), z) > 0
    together = made.all(-1).float().mean()
    expected = torch.tensor(0.25 + math.asin(0.8) / (2 * math.pi))
    torch.testing.assert_close(together, expected, rtol=0, atol=0.025)


def test_images_beyond_those_of_the_law_are_treated_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same u for cells that are read, and a covariance of 1 for the rest."""
    monkeypatch.setattr("hepgen.surrogates.images.law._ROWS", 2000)
    g = generator(4)
    z = torch.randn(6000, 1, generator=g, dtype=torch.float64)
    v = (torch.randn(6000, 3, generator=g) + 0.5 * z.float()).clamp(min=0)
    law = CellLaw(3, 1, 1)
    u = law.fit(z, v, g)
    torch.testing.assert_close(torch.cov(u[2000:].mT), torch.eye(3), rtol=0, atol=0.12)
    torch.testing.assert_close(law.inverse(u, z).clamp(min=0), v, rtol=1e-3, atol=1e-3)


UNET = {
    "network": "unet", "hidden": 8, "blocks": 1, "steps": 4, "whiten": False, "probes": 1,
    "architecture": {"shape": list(SHAPE), "levels": 2},
}  # fmt: skip
OPTIONS = {"coupling": {"layers": 2, "hidden": [32]}, "diffusion": UNET}
every_method = pytest.mark.parametrize("method", list(OPTIONS))


@cache
def trained(method: str) -> ImageSurrogate:
    images, particles = showers(3000)
    quick = {"batch_size": 200, "patience": None}
    return ImageSurrogate.fit(
        images, particles, inputs=INPUTS, shape=SHAPE, step=0.001, method=method,
        options=OPTIONS[method], epochs=3, max_learning_rate=2e-3, batch_size=200, patience=None,
        energies={"method": "coupling", "options": {"hidden": [16]}, "epochs": 8, **quick},
    )  # fmt: skip


@pytest.mark.parametrize("method", ["coupling", "flow", "diffusion", "vae", "hvae"])
def test_networks_have_fewer_weights_than_the_images_numbers(method: str) -> None:
    """Of the 36,000 images of 1440 cells that the workflow makes."""
    model = build(method, 1440, 4, image_options(method, (10, 12, 12)))
    assert sum(p.numel() for p in model.parameters()) < 36_000 * 1440 / 10


@every_method
def test_a_surrogate_has_the_energies_and_the_sparsity_of_what_it_saw(method: str) -> None:
    surrogate = trained(method)
    truth, particles = showers(2000, seed=5)
    made = surrogate.sample(1, particles, seed=3)[0]
    energy, expected = (i.reshape(-1, 3, 16).sum(-1) for i in (made, truth))
    torch.testing.assert_close(energy.mean(0), expected.mean(0), rtol=0.05, atol=0)
    torch.testing.assert_close(energy.std(0), expected.std(0), rtol=0.2, atol=0)
    often, asked = ((i > 0).double().mean(0) for i in (made, truth))
    assert float((often - asked).abs().mean()) < 0.06
    torch.testing.assert_close(made.mean(0), truth.mean(0), rtol=0.15, atol=0.003)


@every_method
def test_images_follow_their_particle_and_their_seed(method: str) -> None:
    surrogate = trained(method)
    particles = torch.tensor([[1.5, 0.2], [3.5, 0.2]], dtype=torch.float64)
    made = surrogate.sample(50, particles)
    assert made.shape == (50, 2, VOXELS)
    images = made.reshape(50, 2, *SHAPE)
    total = images.sum((0, 2, 3, 4))
    assert 2.0 < total[1] / total[0] < 2.7
    side = images.sum((0, 1, 2, 4))
    assert side[2] > side[1]
    assert torch.equal(made, surrogate.sample(50, particles))
    assert not torch.equal(made, surrogate.sample(50, particles, seed=1))


def test_images_that_are_made_in_pieces_are_different_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hepgen.surrogates.images.surrogate._ROWS", 4)
    images = trained("coupling").sample(10, torch.tensor([2.0, 0.1], dtype=torch.float64))
    assert images.shape == (10, VOXELS)
    assert len(set(map(tuple, images.tolist()))) == 10


def test_what_is_not_known_is_refused() -> None:
    surrogate = trained("coupling")
    with pytest.raises(SurrogateError, match="expected 2 columns: energy, place"):
        surrogate.sample(2, torch.tensor([2.0]))
    with pytest.raises(SurrogateError, match=r"energy = 9 .* outside the range"):
        surrogate.sample(2, torch.tensor([9.0, 0.0]))
    with pytest.raises(DataError, match="0 cells read"):
        ImageSurrogate.fit(torch.zeros(5, VOXELS), torch.ones(5, 2), inputs=INPUTS, shape=SHAPE)


@every_method
def test_saved_and_loaded(method: str, tmp_path: Path) -> None:
    surrogate = trained(method)
    surrogate.save(tmp_path)
    loaded = ImageSurrogate.load(tmp_path)
    particle = torch.tensor([2.0, 0.1], dtype=torch.float64)
    assert torch.equal(loaded.sample(7, particle), surrogate.sample(7, particle))
    foreign = replace(surrogate, cells=replace(surrogate.cells, manifest={"of": "another"}))
    foreign.cells.save(tmp_path / "cells")
    with pytest.raises(FileError, match=r"cells is of another model than .*model\.json"):
        ImageSurrogate.load(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(FileError, match=r"not the file that model\.json describes"):
        ImageSurrogate.load(tmp_path)


def test_a_diffusion_of_images_is_distilled(tmp_path: Path) -> None:
    """One evaluation of the U-Net; trained on the flow of the teacher, it comes near its images."""
    teacher = trained("diffusion")
    _, particles = showers(500, seed=8)
    student = teacher.distilled(
        1, particles=particles, events=500, teacher_steps=4, batch_size=50, epochs=20, device="cpu"
    )
    layer = torch.full((500, 3), 0.5, dtype=torch.float64)
    images, asked = (s.cells_given(particles, layer, seed=4) for s in (student, teacher))
    other = teacher.cells_given(particles, layer, seed=5)
    assert (images - asked).abs().mean() < 0.5 * (other - asked).abs().mean()
    student.save(tmp_path)
    assert torch.equal(
        ImageSurrogate.load(tmp_path).sample(1, particles)[0], student.sample(1, particles)[0]
    )


def test_only_cells_of_a_diffusion_are_distilled() -> None:
    with pytest.raises(SurrogateError, match="cannot be distilled"):
        trained("coupling").distilled(1, events=5)


def test_images_go_to_hdf5(tmp_path: Path) -> None:
    surrogate = trained("coupling")
    _, particles = showers(20)
    images = surrogate.sample(1, particles)[0]
    events = surrogate.events(particles, images)
    np.testing.assert_allclose(dense_images(events, VOXELS), images.numpy())
    with ImageWriter(tmp_path / "a.h5", SHAPE) as writer:
        writer.write(events)
    read = ImageReader(tmp_path / "a.h5").read()
    np.testing.assert_allclose(read.showers, 1000 * images.numpy(), rtol=1e-6)
    np.testing.assert_allclose(read.incident_energies[:, 0], 1000 * particles[:, 0].numpy())


def test_it_is_judged_beside_the_null() -> None:
    """By observables and by cells; the null is within five standard errors of 1/2."""
    found = judge_images(trained("coupling"), *showers(1200, seed=9), density_images=20)
    assert found.method == "coupling"
    assert found.quality.startswith("bound")
    assert found.nll is not None
    assert 0 < found.nll.error < found.nll.value
    assert set(found.seconds_per_event) == {"1", "100", "1000"}
    assert [one.name for one in found.classifiers] == ["perceptron", "boosted trees", ALL_CELLS]
    for one in found.classifiers:
        assert abs(one.null.auc.value - 0.5) < 5 * one.null.auc.error
    again = judge_images(
        trained("coupling"), *showers(1200, seed=9), times=False, density_images=20, known=found
    )
    assert again.classifiers[-1].surrogate.auc == found.classifiers[-1].surrogate.auc
    assert again.seconds_per_event == {}
