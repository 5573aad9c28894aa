"""The same events for any number of workers, any shards, any order, after any stop.

The blocks are small, so workers are used only because ``WORTH_A_WORKER`` is set to one.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgen.compute import Engine, InProcess, Workers
from hepgen.errors import FileError, InputError
from hepgen.events import Events
from hepgen.io.blocks import BlockStore
from hepgen.io.manifest import MANIFEST
from hepgen.io.tables import read, read_metadata
from hepgen.pipeline import simulate
from hepgen.pipeline.monitor import Silent, Update
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import (
    run_campaign,
    shard_blocks,
    simulate_to_blocks,
    simulate_to_file,
)
from hepgen.simulators.campaign import POINT, Block, Campaign

ZMUMU = Path(__file__).parents[2] / "workflows" / "zmumu.toml"
SESSION = Session.open(ZMUMU)
CAMPAIGN = Campaign(SESSION.chain, SESSION.parameters, 2700, seed=7, points=32, block_size=512)
BLOCKS = CAMPAIGN.blocks  # 6, the last one cut

Contents = dict[str, bytes]


class Interrupted:
    """Passes calls on, and is interrupted at one of them."""

    def __init__(self, call: Callable[..., Any], at: int) -> None:
        self.call, self.left = call, at

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.call(*arguments, **options)


class Recording(Silent):
    """Notes what a monitor is told."""

    def __init__(self) -> None:
        self.told: list[float] = []
        self.total = 0.0

    @contextmanager
    def task(self, title: str, total: float, unit: str = "") -> Iterator[Update]:  # noqa: ARG002
        self.total = total

        def update(done: float, words: str = "") -> None:  # noqa: ARG001
            self.told.append(done)

        yield update


def run(
    folder: Path, campaign: Campaign = CAMPAIGN, jobs: int = 1, blocks: range | None = None
) -> BlockStore:
    store = BlockStore(folder, campaign.identity())
    run_campaign(campaign, store, workers=Workers(jobs), monitor=Silent(), blocks=blocks)
    return store


def contents(folder: Path) -> Contents:
    """The files of a store, but the manifest, whose lines are in the order of the work."""
    paths = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    return {path.name: path.read_bytes() for path in paths}


def to_root(output: Path, campaign: Campaign = CAMPAIGN, **options: Any) -> dict[str, Any]:
    return simulate_to_file(campaign, output, provenance={"seed": 7}, monitor=Silent(), **options)


def same(a: Events, b: Events) -> bool:
    return a.fields == b.fields and bool(ak.array_equal(a.columns, b.columns))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """Every block of the campaign, bit for bit, from one uninterrupted process."""
    return contents(run(tmp_path_factory.mktemp("whole")).folder)


# --- the same events ------------------------------------------------------------------


@pytest.mark.slow
def test_the_number_of_workers_and_ctrl_c_do_not_matter(
    tmp_path: Path, whole: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulate, "WORTH_A_WORKER", 1)

    class Impatient(Silent):
        @contextmanager
        def task(self, title: str, total: float, unit: str = "") -> Iterator[Update]:  # noqa: ARG002
            def update(done: float, words: str = "") -> None:  # noqa: ARG001
                if done:
                    raise KeyboardInterrupt

            yield update

    store = BlockStore(tmp_path, CAMPAIGN.identity())
    with pytest.raises(KeyboardInterrupt):
        run_campaign(CAMPAIGN, store, workers=Workers(2), monitor=Impatient())
    # What a worker was writing when it was ended is under another name, until the next writes it.
    there = contents(tmp_path)
    kept = {name: content for name, content in there.items() if not name.endswith(".part")}
    assert len(there) <= len(kept) + 2, "one of each worker"
    assert 2 <= len(kept) <= 1 + 4, "the campaign, one block, and what was under way"
    assert kept.items() <= whole.items()
    run(tmp_path)
    assert contents(tmp_path) == whole


def test_few_events_are_not_worth_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    @contextmanager
    def noted(_: Workers, calls: int | None, path: str | None = None) -> Iterator[Engine]:  # noqa: ARG001
        asked.append(calls)
        yield InProcess()

    monkeypatch.setattr(Workers, "engine", noted)
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder) / "few", jobs=8)
        monkeypatch.setattr(simulate, "WORTH_A_WORKER", 1024)
        run(Path(folder) / "more", jobs=8)
    assert asked == [1, 3]


@pytest.mark.parametrize("at", [1, 2, 5])
def test_after_ctrl_c_finished_blocks_stay_and_are_used(
    tmp_path: Path, whole: Contents, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Campaign, "simulate", _interrupted_method(Campaign.simulate, at))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    kept = contents(tmp_path)
    assert len(kept) == at, "the campaign and every finished block"
    assert kept.items() <= whole.items()
    made = _count_calls(monkeypatch)
    run(tmp_path)
    assert made == list(range(at - 1, BLOCKS))
    assert contents(tmp_path) == whole


def _interrupted_method(method: Callable[..., Any], at: int) -> Callable[..., Any]:
    interrupted = Interrupted(method, at)
    return lambda *arguments, **notes: interrupted(*arguments, **notes)


def _count_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the blocks that are simulated from now on."""
    made: list[int] = []
    original = Campaign.simulate

    def noted(campaign: Campaign, block: int) -> Block:
        made.append(block)
        return original(campaign, block)

    monkeypatch.setattr(Campaign, "simulate", noted)
    return made


def test_a_finished_campaign_is_not_simulated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    made = _count_calls(monkeypatch)
    run(tmp_path)
    assert made == []


@pytest.mark.parametrize("order", [range(BLOCKS - 1, -1, -1), range(1, BLOCKS, 2)])
def test_the_order_of_blocks_does_not_matter(tmp_path: Path, whole: Contents, order: range) -> None:
    run(tmp_path, blocks=order)
    run(tmp_path)
    assert contents(tmp_path) == whole


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_shards_together_are_the_whole(tmp_path: Path, whole: Contents, shards: int) -> None:
    together: Contents = {}
    for i in range(1, shards + 1):
        folder = tmp_path / str(i)
        run(folder, blocks=shard_blocks(CAMPAIGN, f"{i}/{shards}"))
        together |= contents(folder)
    assert together == whole


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 300), st.integers(1, 40))
def test_every_block_is_in_one_shard(blocks: int, shards: int) -> None:
    campaign = replace(CAMPAIGN, events=512 * blocks)
    if shards > blocks:
        with pytest.raises(InputError, match=f"{blocks} blocks"):
            shard_blocks(campaign, f"1/{shards}")
        return
    parts = [shard_blocks(campaign, f"{i}/{shards}") for i in range(1, shards + 1)]
    assert sorted(n for part in parts for n in part) == list(range(blocks))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert shard_blocks(campaign, None) == range(blocks)


@pytest.mark.parametrize("shard", ["", "1", "0/3", "4/3", "1/0", "-1/3", "a/b", "1/2/3", "²/3"])
def test_a_shard_that_is_none_is_refused(shard: str) -> None:
    with pytest.raises(InputError, match="expected i/n"):
        shard_blocks(CAMPAIGN, shard)


@pytest.mark.parametrize("events", [1000, 512, 100])
def test_a_longer_campaign_goes_on_from_a_shorter_one(
    tmp_path: Path, whole: Contents, events: int
) -> None:
    run(tmp_path, replace(CAMPAIGN, events=events))
    run(tmp_path)
    assert contents(tmp_path) == whole


def test_a_shorter_campaign_takes_no_more_from_a_longer_one(tmp_path: Path) -> None:
    short = replace(CAMPAIGN, events=1000)
    run(tmp_path / "a")
    run(tmp_path / "a", short)
    run(tmp_path / "b", short)
    assert contents(tmp_path / "b").items() <= contents(tmp_path / "a").items()


def test_a_monitor_is_told_from_where_and_how_far(tmp_path: Path) -> None:
    run(tmp_path, blocks=range(2))
    monitor = Recording()
    store = BlockStore(tmp_path, CAMPAIGN.identity())
    run_campaign(CAMPAIGN, store, monitor=monitor)
    assert monitor.total == 512 * BLOCKS
    assert monitor.told == [512 * n for n in range(2, BLOCKS + 1)]


def test_a_damaged_block_is_said_so_and_its_successor_is_the_same(
    tmp_path: Path, whole: Contents
) -> None:
    run(tmp_path)
    block = tmp_path / "block-0000003.safetensors"
    block.write_bytes(block.read_bytes()[:100])
    with pytest.raises(FileError, match=r"block-0000003.*remove it and run again"):
        run(tmp_path)
    block.unlink()
    run(tmp_path)
    assert contents(tmp_path) == whole


# --- a disk that is full --------------------------------------------------------------


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file of this process can grow beyond ``size`` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_leaves_whole_blocks_only(
    tmp_path: Path, whole: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    store = BlockStore(tmp_path, CAMPAIGN.identity())
    run_campaign(CAMPAIGN, store, monitor=Silent(), blocks=range(2))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FileError, match=r"No space left.*run the same command again"):
            run_campaign(CAMPAIGN, store, monitor=Silent())
    assert contents(tmp_path).items() <= whole.items()
    assert len(contents(tmp_path)) == 3
    run(tmp_path)
    assert contents(tmp_path) == whole


def test_a_file_that_does_not_fit_is_not_there_and_its_blocks_are(tmp_path: Path) -> None:
    run(tmp_path / "out.root.partial")
    with small_files(60_000), pytest.raises(FileError, match="cannot be written"):
        to_root(tmp_path / "out.root")
    assert [path.name for path in tmp_path.iterdir()] == ["out.root.partial"]
    assert to_root(tmp_path / "out.root")["genEventCount"] == CAMPAIGN.events
    assert [path.name for path in tmp_path.iterdir()] == ["out.root"]


# --- ROOT files -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A file of all events, selected or not, with the truth of every stage."""
    path = tmp_path_factory.mktemp("everything") / "out.root"
    campaign = replace(CAMPAIGN, keep_all=True, latents=True)
    return path, to_root(path, campaign)


def test_the_file_holds_the_events_of_the_blocks(
    everything: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    to_root(tmp_path / "out.root")
    written = read(tmp_path / "out.root").read()
    store = run(tmp_path / "blocks")
    simulated = Events.concatenate([b.events for b in store.read_all(range(BLOCKS))])
    assert set(written.fields) == set(simulated.fields)
    for name in simulated.fields:
        assert ak.array_equal(written[name], simulated[name], dtype_exact=True), name

    all_of_them = read(everything[0]).read()
    flag = np.asarray(all_of_them["selected"])
    for name in simulated.fields:
        assert ak.array_equal(all_of_them[name][flag], simulated[name]), name


def test_runs_normalise_the_events(everything: tuple[Path, dict[str, Any]]) -> None:
    path, facts = everything
    events, runs = read(f"{path}:Events").read(), read_metadata(path)
    assert facts["events"] == len(events) == CAMPAIGN.events
    assert runs["genEventCount"] == runs["genEventSumw"] == CAMPAIGN.events
    assert runs["selectedEventCount"] == int(ak.sum(events["selected"]))
    assert runs["efficiency"] == runs["selectedEventCount"] / runs["genEventCount"]
    assert runs["seed"] == CAMPAIGN.seed
    assert runs["provenance"] == {"seed": 7}
    assert {k: v for k, v in facts.items() if k in runs and v == v} == {
        k: v for k, v in runs.items() if k in facts and v is not None and v == v
    }
    row = read(f"{path}:Runs", ["genEventCount", "seed"]).read()
    assert row.flat(["genEventCount", "seed"]).tolist() == [[CAMPAIGN.events, CAMPAIGN.seed]]


def test_the_cross_section_is_that_of_the_point_and_none_for_many(tmp_path: Path) -> None:
    one = replace(CAMPAIGN, events=100, prior=False, fixed={"m_z": 91.0})
    facts = to_root(tmp_path / "one.root", one)
    values = SESSION.parameters.values(None, m_z=91.0)
    known = [stage.cross_section(values) for stage in SESSION.chain.stages]
    (expected,) = [float(sigma) for sigma in known if sigma is not None]
    assert facts["crossSection_pb"] == expected > 0
    assert read_metadata(tmp_path / "one.root")["crossSection_pb"] == pytest.approx(expected)
    many = to_root(tmp_path / "many.root", replace(CAMPAIGN, events=100))
    assert np.isnan(many["crossSection_pb"])


def test_only_selected_events_are_written_and_all_are_counted(tmp_path: Path) -> None:
    facts = to_root(tmp_path / "out.root")
    assert facts["events"] == facts["selectedEventCount"] == len(read(tmp_path / "out.root").read())
    assert facts["events"] < facts["genEventCount"] == CAMPAIGN.events


def test_shards_are_files_whose_sums_are_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_facts = to_root(tmp_path / "whole.root")
    parts = [tmp_path / f"part{i}.root" for i in (1, 2)]
    made = _count_calls(monkeypatch)
    facts = [to_root(p, shard=f"{i}/2") for i, p in enumerate(parts, start=1)]
    assert made == [0, 2, 4, 1, 3, 5], "each its own, and no other"
    for name in ("genEventCount", "genEventSumw", "selectedEventCount", "events"):
        assert sum(f[name] for f in facts) == whole_facts[name]
    together, whole = read(parts).read(), read(tmp_path / "whole.root").read()
    order = np.argsort(np.asarray(together[POINT]), kind="stable")
    assert ak.array_equal(together.columns[order][whole.fields], whole.columns)


def test_nothing_but_the_file_is_left(tmp_path: Path) -> None:
    to_root(tmp_path / "new" / "out.root")
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == [
        "new", "new/out.root",
    ]  # fmt: skip


def test_a_file_is_replaced_only_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out.root"
    to_root(output)
    before = output.read_bytes()
    made = _count_calls(monkeypatch)
    with pytest.raises(FileError, match=r"out\.root exists; .*--force"):
        to_root(output)
    assert made == []
    assert output.read_bytes() == before
    to_root(output, replace(CAMPAIGN, seed=8), overwrite=True)
    assert read_metadata(output)["seed"] == 8


def test_only_a_regular_file_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.root")
    (tmp_path / "link.root").symlink_to(tmp_path / "pipe.root")
    (tmp_path / "folder.root").mkdir()
    before = sorted(tmp_path.iterdir())
    for name in ("pipe.root", "link.root", "folder.root"):
        with pytest.raises(FileError, match=r"expected the name of a file"):
            to_root(tmp_path / name, overwrite=True)
    assert sorted(tmp_path.iterdir()) == before


def test_an_input_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(ZMUMU.read_bytes())
    (tmp_path / "link.root").symlink_to(tmp_path / "mine.toml")
    session = Session.open(tmp_path / "mine.toml")
    for name in ("mine.toml", "link.root"):
        with pytest.raises(FileError, match="is an input of this simulation"):
            to_root(tmp_path / name, overwrite=True, inputs=session.inputs)
    assert (tmp_path / "mine.toml").read_bytes() == ZMUMU.read_bytes()


def test_a_file_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to_root(tmp_path / "whole.root")
    with monkeypatch.context() as patch:
        patch.setattr(Campaign, "simulate", _interrupted_method(Campaign.simulate, at=4))
        with pytest.raises(KeyboardInterrupt):
            to_root(tmp_path / "out.root")
    assert not (tmp_path / "out.root").exists()
    made = _count_calls(monkeypatch)
    to_root(tmp_path / "out.root")
    assert made == [3, 4, 5]
    assert same(read(tmp_path / "out.root").read(), read(tmp_path / "whole.root").read())


@pytest.mark.parametrize("left", ["all", "some", "nothing"])
def test_a_file_that_was_finished_before_its_blocks_were_removed_is_a_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    def killed(store: BlockStore) -> None:
        if left == "nothing":
            remove(store)
            store.folder.mkdir()
        if left == "some":
            next(store.folder.glob("block-*")).unlink()
        raise KeyboardInterrupt

    output, remove = tmp_path / "out.root", BlockStore.remove
    with monkeypatch.context() as patch:
        patch.setattr(BlockStore, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            to_root(output)
    before = output.read_bytes()
    with pytest.raises(FileError, match="exists"):
        to_root(output, replace(CAMPAIGN, seed=8))
    with pytest.raises(FileError, match="exists"):
        to_root(output, shard="1/2")
    made = _count_calls(monkeypatch)
    facts = to_root(output)
    assert (made, [path.name for path in tmp_path.iterdir()]) == ([], ["out.root"])
    assert output.read_bytes() == before
    again = to_root(tmp_path / "again.root")
    assert str(facts | {"output": ""}) == str(again | {"output": ""})
    with pytest.raises(FileError, match="exists"):
        to_root(output)


def test_a_run_that_failed_at_once_does_not_stand_in_the_way_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Campaign, "simulate", _interrupted_method(Campaign.simulate, 1))
        with pytest.raises(KeyboardInterrupt):
            to_root(tmp_path / "a.root")
    assert not list(tmp_path.iterdir())
    assert to_root(tmp_path / "a.root", replace(CAMPAIGN, seed=8))["seed"] == 8


def test_blocks_of_another_simulation_are_not_mixed_in(tmp_path: Path) -> None:
    run(tmp_path / "out.root.partial", replace(CAMPAIGN, seed=8), blocks=range(1))
    with pytest.raises(FileError, match=r"another campaign \(seed: 8 there, 7 here\)"):
        to_root(tmp_path / "out.root")


def test_force_starts_an_unfinished_file_of_another_simulation_again(tmp_path: Path) -> None:
    run(tmp_path / "out.root.partial", replace(CAMPAIGN, seed=8), blocks=range(1))
    assert to_root(tmp_path / "out.root", overwrite=True)["seed"] == 7
    assert [path.name for path in tmp_path.iterdir()] == ["out.root"]


def test_blocks_that_a_user_named_like_a_file_are_never_taken_for_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "out.root.blocks"
    simulate_to_blocks(CAMPAIGN, mine, provenance={}, monitor=Silent())
    before = contents(mine)
    to_root(tmp_path / "out.root", replace(CAMPAIGN, events=600))
    with pytest.raises(FileError, match="exists"):
        to_root(tmp_path / "out.root")
    assert contents(mine) == before


def test_more_blocks_than_a_folder_can_hold_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1e\+14 events in blocks of 512 .*block_size"):
        to_root(tmp_path / "out.root", replace(CAMPAIGN, events=10**14))
    assert not list(tmp_path.iterdir())


def test_fewer_events_than_an_unfinished_file_has_are_refused(tmp_path: Path) -> None:
    blocks, few = tmp_path / "out.root.partial", replace(CAMPAIGN, events=600)
    run(blocks)
    before = contents(blocks)
    with pytest.raises(FileError, match=r"unfinished simulation of more than 600 events.*--force"):
        to_root(tmp_path / "out.root", few)
    assert contents(blocks) == before
    assert to_root(tmp_path / "out.root", few, overwrite=True)["genEventCount"] == 600
    assert [path.name for path in tmp_path.iterdir()] == ["out.root"]


def test_a_place_that_cannot_be_written_is_refused_before_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    made = _count_calls(monkeypatch)
    with pytest.raises(FileError, match="cannot make the folder"):
        to_root(tmp_path / "file" / "out.root")
    assert made == []


def test_a_selection_that_keeps_nothing_is_a_file_of_no_events(tmp_path: Path) -> None:
    session = Session.open(ZMUMU, ["chain.pt_min=1e4"])
    campaign = Campaign(session.chain, session.parameters, 600, points=32, block_size=512)
    facts = to_root(tmp_path / "out.root", campaign)
    assert (facts["events"], facts["selectedEventCount"], facts["efficiency"]) == (0, 0, 0.0)
    assert read_metadata(tmp_path / "out.root")["genEventCount"] == 600


# --- Ctrl-C, as it comes from a keyboard ----------------------------------------------


@pytest.mark.slow
def test_ctrl_c_on_the_command_line_keeps_what_is_finished(tmp_path: Path) -> None:
    options = ["-n", "30000", "--seed", "7", "--points", "32", "-j", "1", "-q"]
    size = ["--set", "simulation.block_size=200"]
    # A shell that starts a job in the background has it ignore the signal.
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{start}; from hepgen.cli import main; main()", "simulate"]
    with subprocess.Popen(
        [*command, str(ZMUMU), *options, *size, "-o", "out.root"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if (tmp_path / "out.root.partial" / "block-0000002.safetensors").exists():
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=60)
    assert process.returncode == 130
    assert words.startswith("hepgen: interrupted; what is finished is kept")
    assert "Traceback" not in words

    (folder,) = tmp_path.iterdir()
    kept = contents(folder)
    assert 4 <= len(kept) < 151
    campaign = replace(CAMPAIGN, events=30_000, block_size=200)
    numbers = range(len(kept) - 1)
    assert kept == contents(run(tmp_path / "again", campaign, blocks=numbers).folder)
