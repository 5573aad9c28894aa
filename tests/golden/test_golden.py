"""What earlier versions have written is read, and says the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import hepgen
from hepgen.cli.program import app
from hepgen.io.block_file import check, decode, identity_of
from hepgen.io.tables import read, read_metadata
from hepgen.pipeline.reproduce import _result
from hepgen.surrogates.surrogate import Surrogate
from tests.golden.make import FILES, FOLDER, C, of_estimator, of_surrogate
from tests.io.hostile_files import IDENTITY, READERS

VERSIONS = sorted(path.parent.name for path in FOLDER.glob("*/numbers.json"))
MODELS = [
    (version, kind, name)
    for version in VERSIONS
    for kind, models in json.loads((FOLDER / version / "numbers.json").read_text()).items()
    for name in models
]

each = pytest.mark.parametrize("version", VERSIONS)
each_model = pytest.mark.parametrize(("version", "kind", "name"), MODELS)


def test_there_are_golden_files() -> None:
    assert "0.1.0" in VERSIONS


@each
@pytest.mark.parametrize("name", FILES)
def test_every_file_is_read(version: str, name: str, tmp_path: Path) -> None:
    READERS[FILES[name]].read(tmp_path, (FOLDER / version / name).read_bytes())


@each
@pytest.mark.parametrize("name", ["ttree.root", "rntuple.root", "events.parquet", "events.h5"])
def test_events_are_what_they_were(version: str, name: str) -> None:
    path = FOLDER / version / name
    events = read(path).read()
    np.testing.assert_array_equal(events["x"], np.linspace(0, 1, 50))
    assert events["Muon_pt"].to_list()[:2] == [[0.0], [1.0, 2.0]]
    assert read_metadata(path)["generated"] == 50


@each
def test_a_block_is_what_it_was(version: str) -> None:
    path = FOLDER / version / "block-0000000.safetensors"
    check(path)
    block = decode(path, 0)
    assert (block.generated, block.selected, identity_of(path)) == (60, 50, IDENTITY)
    np.testing.assert_array_equal(block.events["x"], np.linspace(0, 1, 50))


@each_model
def test_a_model_gives_what_it_gave(version: str, kind: str, name: str) -> None:
    """To what another processor makes of single precision."""
    folder = FOLDER / version / kind / name
    expected = json.loads((FOLDER / version / "numbers.json").read_text())[kind][name]
    if kind == "estimators":
        found = of_estimator(hepgen.load(folder))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
        return
    surrogate = Surrogate.load(folder)
    events = of_surrogate(surrogate)
    np.testing.assert_allclose(events["x"], expected["x"], rtol=1e-3, atol=1e-3)
    if expected["log_prob"] is not None:
        x = torch.tensor(expected["x"], dtype=torch.float64)
        log_prob = surrogate.log_prob(x, C, seed=1)
        np.testing.assert_allclose(log_prob, expected["log_prob"], rtol=1e-3, atol=1e-3)


@each
def test_a_result_is_shown_and_can_be_made_again(version: str) -> None:
    path = FOLDER / version / "result.json"
    shown = CliRunner().invoke(app, ["show", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "theta_0  -0.7 ± 0.6  (95 %: -1.5 to 0.7)" in shown.output
    assert isinstance(_result(path)["provenance"]["workflow"], str)
