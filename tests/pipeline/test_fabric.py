"""``hepgen train --devices``: several processes make the model of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hepgen.errors import InputError
from hepgen.nn.fabric import launched

TINY = Path(__file__).parent / "tiny.toml"


def train(folder: Path, method: str, *options: str) -> Any:
    command = [sys.executable, "-c", "from hepgen.cli import main; main()"]
    program = Path(sys.executable).with_name("hepgen")  # is run again, by its name
    if program.exists():
        command = [str(program)]
    done = subprocess.run(
        [*command, "train", str(TINY), "--method", method, "--device", "cpu", "--json", "--quiet",
         "--set", f"folder='{folder}'", *options],
        capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "hepgen" not in done.stderr  # the others say nothing
    return json.loads(done.stdout)[method]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nle", "coupling"])
def test_two_processes_make_the_model_of_one(method: str, tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric", reason="pip install 'hepgen[fabric]'")
    few = ["--set", "surrogate.events=20000", "--set", "surrogate.epochs=3"]
    alone = train(tmp_path / "one", method, *few)
    together = train(tmp_path / "two", method, "--devices", "2", *few)
    # They draw nothing in a batch: what differs is the order of sums.
    assert together["validation_loss"] == pytest.approx(alone["validation_loss"], abs=2e-3)
    made = [
        sorted(p.name for p in (tmp_path / n).rglob("*") if p.is_file()) for n in ("one", "two")
    ]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("devices", "nodes", "device", "words"),
    [
        (0, 1, "cpu", "--devices 0: expected at least 1"),
        (1, -1, "cpu", "--nodes -1: expected at least 1"),
        (2, 1, "cpu:0", "--device cpu:0 is one device, and --devices asks for 2"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    devices: int, nodes: int, device: str, words: str
) -> None:
    with pytest.raises(InputError, match=words), launched(devices, nodes, device):
        pass


def test_more_gpus_than_there_are_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    words = "--devices 2: this machine has 1 GPUs"
    with pytest.raises(InputError, match=words), launched(2, 1, "cuda"):
        pass


def test_without_fabric_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    words = r"pip install 'hepgen\[fabric\]'"
    with pytest.raises(InputError, match=words), launched(2, 1, "cpu"):
        pass
