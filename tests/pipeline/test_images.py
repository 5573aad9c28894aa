"""Calorimeter images from the command's side: the name of the output chooses the format."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hepgen.errors import FileError, InputError
from hepgen.images import dense_images
from hepgen.io.hdf5 import ImageReader
from hepgen.io.tables import read
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.session import Session
from hepgen.pipeline.show import show
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.simulators.campaign import Campaign

WORKFLOWS = Path(__file__).parents[2] / "workflows"
SESSION = Session.open(WORKFLOWS / "calo_shower.toml")
CAMPAIGN = Campaign(SESSION.chain, SESSION.parameters, 300, seed=7, points=1, block_size=128)


def simulate(output: Path, campaign: Campaign = CAMPAIGN, **options: Any) -> dict[str, Any]:
    return simulate_to_file(campaign, output, provenance={}, monitor=Silent(), **options)


def test_the_images_are_those_of_the_cells_in_root(tmp_path: Path) -> None:
    facts = simulate(tmp_path / "a.hdf5")
    simulate(tmp_path / "a.root")
    events = read(tmp_path / "a.root").read()
    reader = ImageReader(tmp_path / "a.hdf5")
    images = reader.read()

    assert (facts["events"], len(reader), reader.shape) == (300, 300, (10, 12, 12))
    assert reader.metadata["genEventCount"] == 300
    np.testing.assert_allclose(images.showers, 1000 * dense_images(events, 1440), rtol=1e-6)
    np.testing.assert_allclose(images.incident_energies, 1000 * events.theta(["energy"]), rtol=1e-6)
    assert len(np.unique(images.incident_energies)) == 300
    ratio = images.showers.sum(-1) / images.incident_energies[:, 0]
    assert 0.9 < ratio.mean() < 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.hdf5", "a.root"]


def test_a_file_that_is_there_is_replaced_by_force_only(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_text("mine")
    with pytest.raises(FileError, match="--force"):
        simulate(path)
    assert path.read_text() == "mine"
    simulate(path, overwrite=True)
    assert len(ImageReader(path)) == 300


def test_events_without_a_cell_are_images_of_zeros(tmp_path: Path) -> None:
    session = Session.open(WORKFLOWS / "calo_shower.toml", ["chain.threshold=1e4"])
    campaign = dataclasses.replace(CAMPAIGN, chain=session.chain)
    simulate(tmp_path / "a.h5", campaign)
    assert not ImageReader(tmp_path / "a.h5").read().showers.any()


def test_what_images_cannot_hold_is_refused_before_anything_is_simulated(tmp_path: Path) -> None:
    for more in ({"latents": True}, {"scores": ("energy",)}, {"ratios": {"far": {"gain": 1.1}}}):
        with pytest.raises(InputError, match="nothing but energies and showers"):
            simulate(tmp_path / "a.hdf5", dataclasses.replace(CAMPAIGN, **more))
    assert not list(tmp_path.iterdir())


def test_events_without_images_are_columns(tmp_path: Path) -> None:
    other = Session.open(WORKFLOWS / "zmumu.toml")
    simulate(tmp_path / "a.h5", Campaign(other.chain, other.parameters, 100))
    assert "Dimuon_mass" in read(tmp_path / "a.h5").read().fields


def test_the_suffix_may_be_in_capitals(tmp_path: Path) -> None:
    simulate(tmp_path / "A.HDF5")
    simulate(tmp_path / "a.hdf5")
    capital, small = (ImageReader(tmp_path / name).read().showers for name in ("A.HDF5", "a.hdf5"))
    assert (capital == small).all()
    assert show(str(tmp_path / "A.HDF5"))[0].keys() == show(str(tmp_path / "a.hdf5"))[0].keys()


def test_show_says_what_is_in_it(tmp_path: Path) -> None:
    simulate(tmp_path / "a.h5")
    facts, words = show(str(tmp_path / "a.h5"))
    assert (facts["images"], facts["shape"]) == (300, [10, 12, 12])
    assert "300 images of 10 x 12 x 12 voxels\n  genEventCount = 300" in words
