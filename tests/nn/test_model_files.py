"""Models on disk: what is written comes back, and nothing else is accepted."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from hepgen.errors import FileError
from hepgen.nn.model_files import load_weights, model_kind, read_model, write_model
from hepgen.nn.tensor_files import read_tensors, write_tensors


def network(width: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(2, width)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "model", "toy", {"number": 1.5, "tuple": (1, 2)}, network())
    return tmp_path / "model"


def test_round_trip(folder: Path) -> None:
    entry = read_model(folder, "toy")
    assert (entry["number"], entry["tuple"]) == (1.5, [1, 2])
    assert model_kind(folder) == "toy"
    with torch.device("meta"):
        loaded = nn.Linear(2, 3)
    load_weights(folder, loaded)
    x = torch.ones(1, 2)
    assert torch.equal(loaded(x), network()(x))


def test_only_two_files_and_no_pickle(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "weights.safetensors"]
    for path in folder.iterdir():
        with pytest.raises((pickle.UnpicklingError, ValueError, EOFError, KeyError, IndexError)):
            pickle.loads(path.read_bytes())


def edit(key: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        entry = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps({**entry, key: value}))

    return change


def truncate(name: str, size: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:size])

    return change


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no description": (lambda f: (f / "model.json").unlink(), r"no file .*model\.json"),
    "no weights": (lambda f: (f / "weights.safetensors").unlink(), r"no file .*weights"),
    "truncated description": (truncate("model.json", 40), "not JSON"),
    "truncated weights": (truncate("weights.safetensors", 90), "truncated, edited"),
    "other weights": (
        lambda f: write_tensors(f / "weights.safetensors", network(4).state_dict()),
        "truncated, edited",
    ),
    "edited number": (edit("number", 1.6), "edited after it was written"),
    "newer schema": (edit("schema", 99), r"schema 99.*update hepgen"),
    "another kind": (lambda _: None, r"kind 'toy'; expected 'nle'"),
    "a list": (lambda f: (f / "model.json").write_text("[]"), "does not describe a model"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(folder: Path, name: str) -> None:
    damage, message = DAMAGE[name]
    damage(folder)
    with pytest.raises(FileError, match=message):
        read_model(folder, "nle" if name == "another kind" else "toy")


def test_weights_must_fit_the_architecture(folder: Path) -> None:
    with pytest.raises(FileError, match=re.escape("bias is ((3,), torch.float32), expected ((4,)")):
        load_weights(folder, network(4))


def test_overwriting_replaces_both(folder: Path) -> None:
    write_model(folder, "toy", {"number": 2.5}, network(4))
    assert read_model(folder, "toy")["number"] == 2.5
    load_weights(folder, network(4))


def test_tensor_file_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(4).reshape(2, 2), "b": torch.tensor(1.5, dtype=torch.float64)}
    write_tensors(tmp_path / "t", tensors, {"x": [1, None]})
    found, metadata = read_tensors(tmp_path / "t")
    assert metadata == {"x": [1, None]}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("place", [-1, -9, 0.5])
def test_a_tensor_file_that_was_changed_is_refused(tmp_path: Path, place: float) -> None:
    tensors = {"a": torch.ones(4).to(torch.bfloat16), "b": torch.tensor(1.5), "c": torch.ones(0)}
    write_tensors(tmp_path / "t", tensors, {"x": [1, None, 2.5]})
    content = bytearray((tmp_path / "t").read_bytes())
    at = content.index(b"2.5") if place == 0.5 else int(place)
    content[at] ^= 1
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(FileError, match="was changed after it was written"):
        read_tensors(tmp_path / "t")


def test_a_tensor_file_without_a_checksum_is_read(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(save({"a": torch.ones(2)}, {"hepgen": '{"x": 1}'}))
    found, metadata = read_tensors(tmp_path / "t")
    assert (found["a"].tolist(), metadata) == ([1, 1], {"x": 1})


def test_missing_tensor_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no file"):
        read_tensors(tmp_path / "t")


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tensors(tmp_path / "t", {"a": torch.zeros(1)})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space"):
        write_tensors(tmp_path / "t", {"a": torch.ones(1)})
    assert read_tensors(tmp_path / "t")[0]["a"].item() == 0
    assert [p.name for p in tmp_path.iterdir()] == ["t"]
