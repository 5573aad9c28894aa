"""Blocks on disk: what is read is what was written, and nothing is ever half there."""

from __future__ import annotations

import errno
import json
import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from hepgen.errors import FileError
from hepgen.events import Events
from hepgen.io import manifest
from hepgen.io.block_file import StoredBlock, encode
from hepgen.io.blocks import BEACON, IDENTITY, BlockStore
from hepgen.io.ledger import LEDGER, Attempt, enter, entries
from hepgen.io.manifest import MANIFEST
from hepgen.io.plan import PLAN, Plan
from hepgen.pipeline.blocks import summary, words

IDENTITIES: dict[str, Any] = {"process": "zmumu", "seed": 7, "prior": True, "points": (64, 128)}
DTYPES = ("bool", "int8", "int32", "int64", "uint8", "uint64", "float32", "float64")


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file of this process can grow beyond ``size`` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def events(n: int = 10) -> Events:
    return Events.from_columns({"x": np.arange(n), "y": np.linspace(0, 1, n)})


@pytest.fixture
def store(tmp_path: Path) -> BlockStore:
    return BlockStore(tmp_path / "blocks", IDENTITIES)


# --- identity -------------------------------------------------------------------------


@st.composite
def columns(draw: st.DrawFn) -> Events:
    lengths = np.array(draw(st.lists(st.integers(0, 4), max_size=6)), dtype=np.int64)
    table: dict[str, Any] = {}
    for i, kind in enumerate(draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=4))):
        jagged = draw(st.booleans())
        total = int(lengths.sum()) if jagged else len(lengths)
        numbers = draw(st.lists(st.integers(0, 100), min_size=total, max_size=total))
        flat = np.array(numbers).astype(kind)
        table[f"c{i}"] = ak.unflatten(flat, lengths) if jagged else flat
    return Events.from_columns(table)


@settings(deadline=None, derandomize=True)
@given(columns(), st.integers(0, 10**6), st.integers(0, 100), st.integers(0, 100))
def test_what_is_read_is_what_was_written(
    written: Events, number: int, generated: int, selected: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = BlockStore(Path(folder), IDENTITIES)
        store.write(number, written, generated, selected)
        block = BlockStore(Path(folder), IDENTITIES).read(number)
    assert ak.array_equal(block.events.columns, written.columns)
    assert block.events.columns.type == written.columns.type
    assert (block.generated, block.selected) == (generated, selected)


def test_special_numbers_keep_every_bit(store: BlockStore) -> None:
    numbers = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324, np.nextafter(1, 2)])
    store.write(0, Events.from_columns({"x": numbers}), 6, 6)
    again = np.asarray(store.read(0).events["x"])
    assert again.tobytes() == numbers.tobytes()


def test_a_selection_is_written_without_what_was_left_out(store: BlockStore) -> None:
    jagged = ak.unflatten(np.arange(200_000.0), np.full(100_000, 2))
    few = Events.from_columns({"x": jagged}).select(slice(500, 502))
    store.write(0, few, 100_000, 2)
    assert store.read(0).events["x"].to_list() == [[1000.0, 1001.0], [1002.0, 1003.0]]
    assert (store.folder / "block-0000000.safetensors").stat().st_size < 10_000


def test_blocks_are_found_by_number_and_read_in_order(store: BlockStore) -> None:
    for number in (4, 2, 0):
        store.write(number, events(number), 10, number)
    assert [number in store for number in range(5)] == [True, False, True, False, True]
    assert [block.selected for block in store.read_all(range(0, 5, 2))] == [0, 2, 4]
    assert [store.generated(number) for number in (2, 3)] == [10, 0]


def test_a_block_that_is_written_again_is_replaced(store: BlockStore) -> None:
    store.write(1, events(3), 3, 3)
    store.write(1, events(5), 6, 5)
    assert (len(store.read(1).events), store.generated(1)) == (5, 6)


# --- another campaign -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 8}, "seed: 7 there, 8 here"),
        ({"process": "dijet", "prior": False}, 'prior: true there, false here; process: "zmumu"'),
        ({"new": [1.0]}, r"new: null there, \[1.0\] here"),
        ({"points": (64, 256)}, "points"),
    ],
)
def test_a_folder_of_another_campaign_is_refused_with_what_differs(
    store: BlockStore, changed: dict[str, Any], words: str
) -> None:
    store.write(0, events(), 10, 10)
    with pytest.raises(FileError, match=f"another campaign .*{words}"):
        BlockStore(store.folder, IDENTITIES | changed)


def test_a_folder_without_blocks_is_taken_over(store: BlockStore) -> None:
    after = BlockStore(store.folder, IDENTITIES | {"seed": 8})
    with pytest.raises(FileError, match=r"another campaign .*seed: 8 there, 7 here"):
        store.write(0, events(), 10, 10)
    assert after.empty
    after.write(0, events(), 10, 10)
    with pytest.raises(FileError, match=r"another campaign .*seed: 8 there, 7 here"):
        BlockStore(store.folder, IDENTITIES)


def test_the_order_of_an_identity_does_not_matter(store: BlockStore) -> None:
    store.write(0, events(), 10, 10)
    assert 0 in BlockStore(store.folder, dict(reversed(IDENTITIES.items())))


@pytest.mark.parametrize("damage", [b"{", b"\xff"])
def test_a_damaged_identity_is_refused(store: BlockStore, damage: bytes) -> None:
    store.write(0, events(), 10, 10)
    (store.folder / IDENTITY).write_bytes(damage)
    with pytest.raises(FileError, match="cannot be read"):
        BlockStore(store.folder, IDENTITIES)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot make the folder"):
        BlockStore(tmp_path / "file" / "blocks", IDENTITIES)


# --- damage ---------------------------------------------------------------------------


def test_a_missing_block_is_said_so(store: BlockStore) -> None:
    with pytest.raises(FileError, match=r"block-0000003.*cannot be read"):
        store.read(3)


@pytest.mark.parametrize("kept", [0, 4, 40, 0.5, 0.99])
def test_a_truncated_block_is_said_so(store: BlockStore, kept: float) -> None:
    store.write(0, events(1000), 1000, 1000)
    path = store.folder / "block-0000000.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    for ask in (store.read, store.generated):
        with pytest.raises(FileError, match="remove it and run again"):
            ask(0)


@pytest.mark.parametrize("content", [b"not a block " * 20, b"\x02\0\0\0\0\0\0\0{}"])
def test_another_file_is_said_to_be_no_block(store: BlockStore, content: bytes) -> None:
    (store.folder / "block-0000000.safetensors").write_bytes(content)
    with pytest.raises(FileError, match="cannot be read"):
        store.read(0)


@pytest.mark.parametrize("where", [0.001, 0.02, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("bit", [0, 6])
def test_a_flipped_bit_anywhere_is_found(store: BlockStore, where: float, bit: int) -> None:
    store.write(0, events(1000), 1000, 1000)
    path = store.folder / "block-0000000.safetensors"
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(FileError, match="block-0000000"):
        store.read(0)
    (wrong,) = store.verify()
    assert "remove it and run again" in wrong


def test_what_is_sound_is_verified(store: BlockStore) -> None:
    for number in range(3):
        store.write(number, events(20), 30, 20, note="kept")
    assert store.verify() == []


def test_events_that_failed_are_counted_with_a_manifest_and_without(store: BlockStore) -> None:
    failure = {"stage": "shower", "event": 3, "reason": "no phase space", "retried": True}
    store.write(0, events(20), 30, 20, failures=[failure, failure])
    store.write(1, events(20), 30, 20, failures=[])
    for _ in range(2):
        assert [facts.failed for facts in store.catalogue().values()] == [2, 0]
        facts = summary(store)
        assert facts["failedEventCount"] == 2
        assert "2 events failed in a stage" in words(facts)
        lines = (store.folder / MANIFEST).read_text().splitlines()
        (store.folder / MANIFEST).unlink()
    # As it was written before failures were noted.
    old = [json.dumps({**json.loads(line), "failed": None}) for line in lines]
    for text in (old, [line.replace(', "failed": null', "") for line in old]):
        (store.folder / MANIFEST).write_text("\n".join(text) + "\n")
        assert summary(store)["failedEventCount"] == 2
        assert store.verify() == []


def test_a_block_under_another_number_is_refused(store: BlockStore) -> None:
    """Its events would count twice."""
    for number in range(2):
        store.write(number, events(20), 30, 20)
    copied, there = (store.folder / f"block-000000{n}.safetensors" for n in (0, 1))
    there.write_bytes(copied.read_bytes())
    assert ["is block 0 of its campaign, not 1" in fault for fault in store.verify()] == [True]
    with pytest.raises(FileError, match="copied or renamed; remove it and run again"):
        store.read(1)
    (store.folder / MANIFEST).unlink()
    with pytest.raises(FileError, match="is block 0 of its campaign, not 1"):
        store.catalogue()


@pytest.mark.parametrize("key", [b"checksum", b"campaign"])
def test_a_flipped_bit_in_the_name_of_the_checksum_is_found(store: BlockStore, key: bytes) -> None:
    content = bytearray(encode(StoredBlock(events(), 10, 10), IDENTITIES, 0))
    content[content.index(key)] ^= 1
    (store.folder / "block-0000000.safetensors").write_bytes(content)
    with pytest.raises(FileError, match="changed after it was written"):
        store.read(0)


def test_a_block_from_before_there_were_checksums_is_read(store: BlockStore) -> None:
    form, length, buffers = ak.to_buffers(events(4).columns)
    facts = {"form": form.to_json(), "length": length, "generated": 9, "selected": 4, "notes": {}}
    arrays = {name: np.asarray(buffer) for name, buffer in buffers.items()}
    old = save(arrays, {"block": json.dumps(facts)})
    (store.folder / "block-0000000.safetensors").write_bytes(old)
    assert store.read(0).generated == 9
    assert store.verify() == []
    assert store.catalogue()[0].checksum == ""


# --- the manifest ---------------------------------------------------------------------


def filled(store: BlockStore) -> BlockStore:
    for number in range(4):
        store.write(number, events(number + 1), 10 * number, number)
    return store


@pytest.mark.parametrize(
    "damage", [lambda text: text[:0], lambda text: text[:-20], lambda text: text[60:],
               lambda text: b"\xff\x00{}\n[1]\n3\n" + text, lambda text: text + text]
)  # fmt: skip
def test_the_manifest_is_rebuilt_from_the_blocks(
    store: BlockStore, damage: Callable[[bytes], bytes]
) -> None:
    known = filled(store).catalogue()
    assert [facts.generated for facts in known.values()] == [0, 10, 20, 30]
    assert [facts.rows for facts in known.values()] == [1, 2, 3, 4]
    path = store.folder / MANIFEST
    path.write_bytes(damage(path.read_bytes()))
    assert store.catalogue() == known
    path.unlink()
    assert store.catalogue() == known
    assert path.exists()


def test_a_block_that_the_manifest_knows_is_not_opened(
    store: BlockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = filled(store).catalogue()

    def opened(path: Path) -> None:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(manifest, "facts_of", opened)
    assert store.catalogue() == known


def test_the_campaign_is_rebuilt_from_the_blocks(store: BlockStore) -> None:
    known = filled(store).catalogue()
    (store.folder / IDENTITY).unlink()
    again = BlockStore.open(store.folder)
    assert again.catalogue() == known
    assert BlockStore(store.folder, IDENTITIES).catalogue() == known


def test_a_block_that_is_gone_or_another_is_not_in_the_catalogue_as_it_was(
    store: BlockStore,
) -> None:
    filled(store)
    (store.folder / "block-0000001.safetensors").unlink()
    store.write(2, events(50), 60, 50)
    assert {n: f.generated for n, f in store.catalogue().items()} == {0: 0, 2: 60, 3: 30}


def test_a_block_of_another_campaign_is_named(store: BlockStore, tmp_path: Path) -> None:
    filled(store)
    other = BlockStore(tmp_path / "other", IDENTITIES | {"seed": 8})
    other.write(4, events(), 10, 10)
    name = "block-0000004.safetensors"
    (store.folder / name).write_bytes((other.folder / name).read_bytes())
    with pytest.raises(FileError, match=r"block-0000004.*another campaign \(seed: 8 there, 7 here"):
        store.catalogue()
    (wrong,) = store.verify()
    assert "two campaigns in one folder" in wrong


def test_a_block_of_another_campaign_and_the_same_size_is_not_read(
    store: BlockStore, tmp_path: Path
) -> None:
    other = BlockStore(tmp_path / "other", IDENTITIES | {"seed": 8})
    name = "block-0000000.safetensors"
    for one in (store, other):
        one.write(0, events(), 10, 10)
    (store.folder / name).write_bytes((other.folder / name).read_bytes())
    assert 0 in store.catalogue()
    with pytest.raises(FileError, match=r"block-0000000.*another campaign \(seed: 8 there, 7 here"):
        list(store.read_all([0]))


@pytest.mark.parametrize("entry", ["selected", "rows", "generated"])
def test_a_manifest_that_says_other_things_than_a_block_is_found(
    store: BlockStore, entry: str
) -> None:
    store.write(0, events(), 10, 10)
    path = store.folder / MANIFEST
    path.write_text(path.read_text().replace(f'"{entry}": 10', f'"{entry}": 9'))
    (wrong,) = store.verify()
    assert "says of block 0 what is not in the block" in wrong
    path.unlink()
    assert store.verify() == []


BAD_LINES = [
    '{"block": 0, "generated": "a", "selected": 1, "rows": 1, "bytes": SIZE}',
    '{"block": 0, "generated": null, "selected": 1, "rows": 1, "bytes": SIZE, "checksum": 3}',
    '{"block": 0, "generated": 1, "selected": 1, "rows": 1, "bytes": SIZE, "checksum": 3}',
    '{"block": "0", "generated": 1, "selected": 1, "rows": 1, "bytes": SIZE}',
    '{"block": 0, "generated": -1, "selected": 1, "rows": 1, "bytes": SIZE}',
    "[" * 100_000,
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_line_of_the_manifest_that_says_nothing_does_not_count(
    store: BlockStore, line: str
) -> None:
    store.write(0, events(), 10, 10)
    known = store.catalogue()
    line = line.replace("SIZE", str(known[0].bytes))
    (store.folder / MANIFEST).write_text(f"{line}\n")
    assert store.catalogue() == known


def test_a_manifest_of_the_campaign_before_does_not_count(store: BlockStore) -> None:
    store.write(0, events(), 10, 10)
    lines = (store.folder / MANIFEST).read_bytes()
    (store.folder / "block-0000000.safetensors").unlink()
    after = BlockStore(store.folder, IDENTITIES | {"seed": 8})
    after.write(0, events(), 10, 10)
    (store.folder / MANIFEST).write_bytes(lines)  # killed before its own line was written
    assert after.read(0).selected == 10
    assert list(after.catalogue()) == [0]


def test_a_campaign_that_cannot_be_read_now_is_kept(
    store: BlockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(0, events(), 10, 10)

    def refused(_: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refused)
        with pytest.raises(FileError, match=r"cannot read .*campaign\.json: Permission denied"):
            BlockStore.open(store.folder)
    assert (store.folder / IDENTITY).exists()


@pytest.mark.parametrize("content", ["{", "[]", '[["seed", 8]]', "[" * 100_000])
def test_a_campaign_that_is_damaged_is_that_of_the_blocks(store: BlockStore, content: str) -> None:
    store.write(0, events(), 10, 10)
    (store.folder / IDENTITY).write_text(content)
    assert BlockStore.open(store.folder).identity["seed"] == 7


def test_a_folder_that_says_nothing_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no folder"):
        BlockStore.open(tmp_path / "nothing")
    with pytest.raises(FileError, match="no block that says of which campaign"):
        BlockStore.open(tmp_path)


# --- the plan and the ledger ----------------------------------------------------------


def test_a_plan_grows_and_never_shrinks(store: BlockStore) -> None:
    found = [store.plan]
    for plan in (Plan(100, 32, 2), Plan(50, 32), Plan(200, 32)):
        store.intend(plan)
        found.append(store.plan)
    assert found == [None, Plan(100, 32, 2), Plan(100, 32, 2), Plan(200, 32)]


def test_the_plan_of_a_campaign_that_was_there_before_does_not_count(store: BlockStore) -> None:
    store.intend(Plan(10**6, 50))
    after, found = BlockStore(store.folder, IDENTITIES | {"seed": 8}), []
    found.append(after.plan)
    after.intend(Plan(100, 50))
    found.append(after.plan)
    assert found == [None, Plan(100, 50)]


def test_a_plan_that_does_not_say_whose_it_is_counts(store: BlockStore) -> None:
    (store.folder / PLAN).write_text('{"events": 10, "block_size": 5}')
    assert store.plan == Plan(10, 5)


@pytest.mark.parametrize(
    "content",
    ['{"events": "x", "block_size": 5}', '{"events": 10, "block_size": 0}', "[]", "[" * 100_000,
     '{"events": 1e3, "block_size": 50}', '{"events": 10, "block_size": 5, "shards": 0}',
     '{"events": 10, "block_size": 5, "varies": 1}', '{"events": true, "block_size": 5}',
     '{"events": 10, "block_size": 5, "cross_section_pb": "1"}', '{"events": 10}', "\x00",
     '{"events": 10, "block_size": 5, "provenance": 1}', '{"events": 10, "more": 1}'],
)  # fmt: skip
def test_a_damaged_plan_is_said_so_and_replaced(store: BlockStore, content: str) -> None:
    (store.folder / PLAN).write_text(content)
    found = [store.plan]
    (wrong,) = store.verify()
    assert "plan.json is damaged" in wrong
    store.intend(Plan(10, 5))
    found.append(store.plan)
    assert found == [None, Plan(10, 5)]
    assert store.verify() == []


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 2_000), st.integers(1, 500))
def test_the_blocks_of_a_plan_generate_its_events(events: int, block_size: int) -> None:
    plan = Plan(events, block_size)
    assert sum(plan.generated(block) for block in range(plan.blocks)) == events
    assert plan.generated(plan.blocks - 1) > 0


def test_the_ledger_keeps_every_attempt_and_outlives_a_line_cut_short(store: BlockStore) -> None:
    attempts = [Attempt(3, 1, "it died"), Attempt(3, 2, "it hung")]
    for attempt in attempts:
        enter(store.folder, attempt)
    with (store.folder / LEDGER).open("ab") as file:
        file.write(b'{"block": 4, "att')
    assert list(entries(store.folder)) == attempts


@pytest.mark.parametrize("torn", [b'{"block": 4, "att', b"[" * 100_000, b'{"block": 1e999}', b"[]"])
def test_what_follows_a_line_cut_short_is_kept(store: BlockStore, torn: bytes) -> None:
    for attempt in (1, 2):
        with (store.folder / LEDGER).open("ab") as file:
            file.write(torn)
        enter(store.folder, Attempt(3, attempt, "it died"))
    assert list(entries(store.folder)) == [Attempt(3, n, "it died") for n in (1, 2)]


# --- nothing half-written -------------------------------------------------------------


def test_a_block_that_does_not_fit_leaves_nothing_behind(store: BlockStore) -> None:
    store.write(0, events(), 10, 10)
    before = names(store.folder)
    with small_files(4096), pytest.raises(FileError, match="nothing was left half-written"):
        store.write(1, events(10_000), 10_000, 10_000)
    assert names(store.folder) == before
    store.write(1, events(10_000), 10_000, 10_000)
    assert len(store.read(1).events) == 10_000


# --- removal --------------------------------------------------------------------------


def test_removing_takes_the_blocks_and_what_a_killed_process_left(store: BlockStore) -> None:
    store.write(0, events(), 10, 10)
    (store.folder / ".block-0000001.safetensors.part").write_bytes(b"half")
    (store.folder / f"{BEACON}x7").touch()
    store.remove()
    assert not store.folder.exists()


def test_removing_leaves_what_is_not_its_own(store: BlockStore) -> None:
    store.write(0, events(), 10, 10)
    (store.folder / "notes.txt").write_text("mine")
    store.remove()
    assert names(store.folder) == ["notes.txt"]
