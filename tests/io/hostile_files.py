"""Every kind of file that hepgen reads: a small whole one, what reads it, and ways to break it."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import torch
from torch import nn

from hepgen.config import parse
from hepgen.events import Events
from hepgen.inference.nle import NLE
from hepgen.io import block_file
from hepgen.io.block_file import StoredBlock, encode
from hepgen.io.blocks import BlockStore
from hepgen.io.event_files import open_events
from hepgen.io.hdf5 import ImageReader, ImageWriter
from hepgen.io.ledger import Attempt, enter
from hepgen.io.manifest import block_path
from hepgen.io.plan import Plan
from hepgen.io.tables import describe, event_writer, read
from hepgen.nn import model_files
from hepgen.nn.tensor_files import read_tensors, write_tensors
from hepgen.pipeline import reproduce
from hepgen.pipeline.load import load
from hepgen.pipeline.session import Session
from hepgen.pipeline.show import show, verified
from hepgen.store import RunFolder
from tests.io.event_text import hepmc_event, lhe

REPOSITORY = Path(__file__).parents[2]
RESULT = REPOSITORY / "tests" / "golden" / "0.1.0" / "result.json"
WORKFLOW = REPOSITORY / "tests" / "pipeline" / "tiny.toml"
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Arguments:
        content: A whole one.
        read: Reads a file of such a content, in a folder that holds nothing else.
        text: Whether it is text, whose words are broken besides its bytes.
        sign: Makes a broken content right again where a checksum would give it away.
    """

    content: Callable[[], bytes]
    read: Callable[[Path, bytes], Any]
    text: bool = False
    sign: Callable[[bytes], bytes] = bytes


def broken(content: bytes, chance: random.Random, text: bool) -> bytes:
    """Content that was flipped, cut, repeated, overwritten or mixed up at random places."""
    result = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        ways = (_flip, _overwrite, _number, _cut, _remove, _repeat, _move)
        way = chance.choice((*ways, _word, _word, _word) if text else ways)
        way(result, chance)
    return bytes(result)


def _place(content: bytearray, chance: random.Random) -> int:
    return chance.randrange(len(content)) if content else 0


def _piece(content: bytearray, chance: random.Random) -> slice:
    start = _place(content, chance)
    return slice(start, start + chance.choice((1, 2, 4, 8, 64, 512)))


def _flip(content: bytearray, chance: random.Random) -> None:
    if content:
        content[_place(content, chance)] ^= 1 << chance.randrange(8)


def _overwrite(content: bytearray, chance: random.Random) -> None:
    piece = _piece(content, chance)
    content[piece] = chance.randbytes(len(content[piece]))


def _number(content: bytearray, chance: random.Random) -> None:
    start, size = _place(content, chance), chance.choice((1, 2, 4, 8))
    value = chance.choice(NUMBERS) % 256**size
    content[start : start + size] = value.to_bytes(size, chance.choice(("big", "little")))


def _cut(content: bytearray, chance: random.Random) -> None:
    del content[_place(content, chance) :]


def _remove(content: bytearray, chance: random.Random) -> None:
    del content[_piece(content, chance)]


def _repeat(content: bytearray, chance: random.Random) -> None:
    piece = content[_piece(content, chance)]
    place = _place(content, chance)
    content[place:place] = piece * chance.choice((1, 2, 50))


def _move(content: bytearray, chance: random.Random) -> None:
    piece = content[_piece(content, chance)]
    start = _place(content, chance)
    content[start : start + len(piece)] = piece


_WORDS = (b"nan", b"inf", b"-1", b"1e999", b"999999999999999999999", b"0", b"", b"\xff", b"\x00",
          b"{", b"[", b"]]", b"null", b"true", b'""', b"../../x", b"[" * 3000, b"<!ENTITY x 'y'>",
          b"<", b"__import__('os')", b"!!python", b"\n\n", b"=", b'"""')  # fmt: skip


def _word(content: bytearray, chance: random.Random) -> None:
    words = bytes(content).split(b" ")
    words[chance.randrange(len(words))] = chance.choice(_WORDS)
    content[:] = b" ".join(words)


# --- ROOT, LHE, HepMC, HDF5 -----------------------------------------------------------


def _events() -> Events:
    return Events.from_columns(
        {
            "x": np.linspace(0, 1, 50),
            "Muon_pt": ak.unflatten(np.arange(75, dtype=np.float32), [1, 2] * 25),
            "name": ak.Array(["ab", "c"] * 25),
        }
    )


@functools.cache
def _table(format: str, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        with event_writer(path, format=format) as writer:
            writer.write(_events())
            writer.metadata({"generated": 50})
        return path.read_bytes()


def _read_table(name: str) -> Callable[[Path, bytes], None]:
    def read_it(folder: Path, content: bytes) -> None:
        path = folder / name
        path.write_bytes(content)
        describe(path)
        read(path).read()

    return read_it


def _lhe() -> bytes:
    return lhe(4).encode()


@functools.cache
def _hepmc() -> bytes:
    import pyhepmc

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.hepmc"
        run_info = pyhepmc.GenRunInfo()
        run_info.weight_names = ["nominal", "other"]
        with pyhepmc.open(path, "w") as file:
            for k in range(4):
                file.write(hepmc_event(pyhepmc, k, run_info))
        return path.read_bytes()


def _packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def _read_generated(kind: str) -> Callable[[Path, bytes], None]:
    def read_it(folder: Path, content: bytes) -> None:
        path = folder / "a"
        path.write_bytes(content)
        file = open_events(kind, path)
        file.read(0, len(file))

    return read_it


@functools.cache
def _hdf5() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.hdf5"
        with ImageWriter(path, (2, 2, 2)) as writer:
            cells = {"Cell_index": [[1, 5], []], "Cell_energy": [[9.5, 0.5], []]}
            writer.write(Events.from_columns({"theta_energy": [10.0, 11.0], **cells}))
            writer.metadata({"generated": 2})
        return path.read_bytes()


def _read_hdf5(folder: Path, content: bytes) -> None:
    path = folder / "a.hdf5"
    path.write_bytes(content)
    for images in ImageReader(path):
        assert len(images) >= 0
    show(str(path))


# --- workflows, models, blocks, checkpoints -------------------------------------------


def _read_workflow(folder: Path, content: bytes) -> None:
    path = folder / "a.toml"
    path.write_bytes(content)
    Session.open(path)


@functools.cache
def _model() -> dict[str, bytes]:
    session = Session.open(WORKFLOW)
    generator = torch.Generator().manual_seed(0)
    theta = session.parameters.prior().sample((400,), generator)
    x = theta[:, :1] + torch.randn(400, 1, generator=generator)
    model = NLE.fit(
        x, theta, features=session.features, parameters=session.parameters, epochs=1,
        components=2, hidden=(4,), batch_size=200,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _read_model(broken_file: str) -> Callable[[Path, bytes], None]:
    def read_it(folder: Path, content: bytes) -> None:
        for name, whole in (_model() | {broken_file: content}).items():
            (folder / name).write_bytes(whole)
        load(folder)

    return read_it


def _sign_model(content: bytes) -> bytes:
    try:
        entries = json.loads(content)
        entries.pop("sha256", None)
        return json.dumps({**entries, "sha256": model_files._digest(entries)}).encode()
    except (ValueError, AttributeError, RecursionError):
        return content


def _read_weights(folder: Path, content: bytes) -> None:
    """Weights whose digest in ``model.json`` is right, whatever is in them."""
    description = json.loads(_model()["model.json"])
    description["weights_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "model.json").write_bytes(_sign_model(json.dumps(description).encode()))
    (folder / "weights.safetensors").write_bytes(content)
    load(folder)


IDENTITY = {"process": "gaussian", "seed": 7, "block_size": 50}


def _block() -> bytes:
    notes = {"sum_weights": 1.0, "failures": [], "generator": {}}
    return encode(StoredBlock(_events(), 60, 50, notes), IDENTITY, 0)


def _read_block(folder: Path, content: bytes) -> None:
    store = BlockStore(folder, IDENTITY)
    block_path(folder, 0).write_bytes(content)
    verified(str(folder))
    store.catalogue()
    store.read(0).events["x"].to_list()


def _sign_block(content: bytes) -> bytes:
    at = block_file._checksum_place(content)
    if at is None:
        return content
    return content[:at] + block_file._checksum(content, at).encode() + content[at + 64 :]


def _read_folder(folder: Path, content: bytes) -> None:
    """A folder of blocks whose ``campaign.json`` is broken."""
    block_path(folder, 0).write_bytes(_block())
    (folder / "campaign.json").write_bytes(content)
    show(str(folder))


def _read_beside(name: str) -> Callable[[Path, bytes], None]:
    """A folder of blocks in which one of the small files is broken."""

    def read_it(folder: Path, content: bytes) -> None:
        BlockStore(folder, IDENTITY).put(0, _block())
        (folder / name).write_bytes(content)
        show(str(folder))
        verified(str(folder))

    return read_it


@functools.cache
def _beside(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        store = BlockStore(Path(folder), IDENTITY)
        store.put(0, _block())
        store.intend(Plan(120, 60, provenance={"seed": 7}))
        for attempt in (1, 2):
            enter(store.folder, Attempt(1, attempt, "it died"))
        return (store.folder / name).read_bytes()


@functools.cache
def _run() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.json").write_text("x")
        RunFolder(Path(folder)).record("train nle", "k", ["model.json"], {"seconds": 2.5})
        return (Path(folder) / "manifest.json").read_bytes()


def _read_run(folder: Path, content: bytes) -> None:
    (folder / "model.json").write_text("x")
    (folder / "manifest.json").write_bytes(content)
    RunFolder(folder).is_current("train nle", "k")
    RunFolder(folder).facts("train nle")


def _read_result(folder: Path, content: bytes) -> None:
    """A result that is shown, and taken apart to be made again."""
    (folder / "result.json").write_bytes(content)
    show(str(folder))
    before = reproduce._result(folder)
    provenance = before["provenance"]
    reproduce._request(provenance, ())
    parse(reproduce._toml(folder, "workflow", provenance["workflow"]), str(folder))
    reproduce.compared(before, json.loads(RESULT.read_bytes()))


def _tensors() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        write_tensors(path, nn.Linear(3, 2).state_dict(), {"state": {"epoch": 1}})
        return path.read_bytes()


def _read_tensors(folder: Path, content: bytes) -> None:
    path = folder / "a"
    path.write_bytes(content)
    read_tensors(path)


READERS: dict[str, Reader] = {
    "ROOT TTree": Reader(lambda: _table("ttree", "a.root"), _read_table("a.root")),
    "ROOT RNTuple": Reader(lambda: _table("rntuple", "a.root"), _read_table("a.root")),
    "Parquet": Reader(lambda: _table("parquet", "a.parquet"), _read_table("a.parquet")),
    "HDF5 events": Reader(lambda: _table("hdf5", "a.h5"), _read_table("a.h5")),
    "LHE": Reader(_lhe, _read_generated("lhe"), text=True),
    "HepMC": Reader(_hepmc, _read_generated("hepmc"), text=True),
    "LHE, gzip": Reader(lambda: _packed(_lhe()), _read_generated("lhe")),
    "HepMC, gzip": Reader(lambda: _packed(_hepmc()), _read_generated("hepmc")),
    "HDF5 images": Reader(_hdf5, _read_hdf5),
    "TOML": Reader(WORKFLOW.read_bytes, _read_workflow, text=True),
    "model.json": Reader(
        lambda: _model()["model.json"], _read_model("model.json"), True, _sign_model
    ),
    "weights": Reader(lambda: _model()["weights.safetensors"], _read_weights),
    "block": Reader(_block, _read_block, sign=_sign_block),
    "campaign.json": Reader(lambda: json.dumps(IDENTITY).encode(), _read_folder, text=True),
    **{
        name: Reader(functools.partial(_beside, name), _read_beside(name), text=True)
        for name in ("plan.json", "manifest.jsonl", "ledger.jsonl")
    },
    "manifest.json": Reader(_run, _read_run, text=True),
    "result.json": Reader(RESULT.read_bytes, _read_result, text=True),
    "checkpoint": Reader(_tensors, _read_tensors),
}
