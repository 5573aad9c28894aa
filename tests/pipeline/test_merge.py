"""Shards in folders of blocks, merged: the whole, or a refusal that names what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import pytest
import torch
from typer.testing import CliRunner

from hepgen.cli.program import app
from hepgen.compute import Workers
from hepgen.errors import FileError, InputError
from hepgen.io.blocks import BlockStore
from hepgen.io.manifest import noted
from hepgen.io.tables import read, read_metadata
from hepgen.pipeline.blocks import verify
from hepgen.pipeline.merge import merge
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.session import Session
from hepgen.pipeline.show import show, verified
from hepgen.pipeline.simulate import plan_of, simulate_to_blocks, simulate_to_file
from hepgen.simulators.campaign import Campaign

GAUSSIAN = Path(__file__).parent / "tiny.toml"
SESSION = Session.open(GAUSSIAN)
CAMPAIGN = Campaign(SESSION.chain, SESSION.parameters, 900, seed=7, points=16, block_size=128)


def simulated(output: Path, shard: str | None = None, campaign: Campaign = CAMPAIGN) -> Path:
    simulate_to_blocks(
        campaign, output, provenance={"made": "here"}, workers=Workers(), monitor=Silent(),
        shard=shard,
    )  # fmt: skip
    return output


def shards(folder: Path, n: int = 3) -> list[Path]:
    return [simulated(folder / f"{i}.blocks", f"{i}/{n}") for i in range(1, n + 1)]


def blocks_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("block-*"))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("whole") / "whole.root"
    return path, simulate_to_file(CAMPAIGN, path, provenance={"made": "here"}, monitor=Silent())


def test_merged_shards_are_the_file_of_the_whole(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    facts = merge(shards(tmp_path), tmp_path / "merged.root", monitor=Silent())
    merged, known = read(tmp_path / "merged.root").read(), read(whole[0]).read()
    assert merged.fields == known.fields
    assert ak.array_equal(merged.columns, known.columns)
    assert str({**facts, "output": ""}) == str({**whole[1], "output": ""})
    assert read_metadata(tmp_path / "merged.root")["provenance"] == {"made": "here"}


def test_shards_in_one_folder_and_in_many_are_the_same_blocks(tmp_path: Path) -> None:
    for i in (2, 1, 3):
        simulated(tmp_path / "one.blocks", f"{i}/3")
    facts = merge(shards(tmp_path), tmp_path / "merged.blocks", monitor=Silent())
    assert facts["missingBlocks"] == []
    expected = blocks_in(simulated(tmp_path / "whole.blocks"))
    assert blocks_in(tmp_path / "one.blocks") == expected
    assert blocks_in(tmp_path / "merged.blocks") == expected


def test_more_events_are_appended(tmp_path: Path) -> None:
    folder = simulated(tmp_path / "a.blocks", campaign=replace(CAMPAIGN, events=300))
    merge([folder], tmp_path / "short.root", monitor=Silent())
    simulated(folder)
    merge([folder], tmp_path / "long.root", monitor=Silent())
    short, longer = (read(tmp_path / f"{n}.root").read() for n in ("short", "long"))
    assert ak.array_equal(longer.select(slice(len(short))).columns, short.columns)
    assert blocks_in(folder) == blocks_in(simulated(tmp_path / "b.blocks"))


@pytest.mark.parametrize("shard", [None, "1/2"])
def test_fewer_events_than_there_are_change_nothing(tmp_path: Path, shard: str | None) -> None:
    """The last block of the shorter campaign would replace a full one."""
    folder = simulated(tmp_path / "a.blocks")
    before = blocks_in(folder)
    short = replace(CAMPAIGN, events=300)
    for planned in (True, False):
        if not planned:
            (folder / "plan.json").unlink()
        with pytest.raises(FileError, match=r"more of this campaign than 300 events.*--force"):
            simulated(folder, shard, short)
        other = simulated(tmp_path / "b.blocks", campaign=short)
        with pytest.raises(FileError, match="more of this campaign than 300 events"):
            merge([other], folder, monitor=Silent())
        assert blocks_in(folder) == before
    merge([other], folder, overwrite=True, monitor=Silent())
    assert blocks_in(folder) == blocks_in(other)


def test_a_plan_of_which_nothing_came_holds_up_nobody(tmp_path: Path) -> None:
    """A mistyped number, or an engine that did not answer; but other shards may be on their way."""
    identity, long = CAMPAIGN.identity(), replace(CAMPAIGN, events=90_000)
    for shard in (None, "1/2"):
        folder = tmp_path / f"{shard is None}.blocks"
        BlockStore(folder, identity).intend(plan_of(long, shard, {}))
        if shard is None:
            simulated(folder)
            assert verify(folder)[1] == []
        else:
            with pytest.raises(FileError, match="is meant to hold, more of this campaign"):
                simulated(folder)


def test_a_cut_block_is_missing_where_it_is_looked_for(tmp_path: Path) -> None:
    folder = simulated(tmp_path / "a.blocks", campaign=replace(CAMPAIGN, events=300))
    simulated(folder, "2/2", replace(CAMPAIGN, events=384))
    facts, wrong = verify(folder)
    assert facts["missingBlocks"] == [2]
    assert len(wrong) == 1
    with pytest.raises(FileError, match="1 of 3 blocks are missing: 2"):
        merge([folder], tmp_path / "out.root", monitor=Silent())


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    parts = shards(tmp_path)
    with pytest.raises(FileError, match=r"blocks are missing: 1, 4, 7; they are of --shard 2/3"):
        merge([parts[0], parts[2]], tmp_path / "out.root", monitor=Silent())
    assert not (tmp_path / "out.root").exists()
    words = show(str(parts[0]))[1]
    assert "3 of 8 blocks" in words
    assert "missing: 5 blocks, of shards 2/3, 3/3" in words


def test_a_last_block_of_a_shorter_campaign_is_missing_from_a_longer_one(tmp_path: Path) -> None:
    folder = simulated(tmp_path / "a.blocks", "1/2", replace(CAMPAIGN, events=300))
    other = simulated(tmp_path / "b.blocks", "2/2")
    with pytest.raises(FileError, match="blocks are missing: 2, 4, 6; they are of --shard 1/2"):
        merge([folder, other], tmp_path / "out.root", monitor=Silent())


def test_overlapping_shards_are_named(tmp_path: Path) -> None:
    parts = [*shards(tmp_path, 2), simulated(tmp_path / "again.blocks", "1/4")]
    with pytest.raises(FileError, match=r"block 0 is in .*1\.blocks and in .*again\.blocks"):
        merge(parts, tmp_path / "out.root", monitor=Silent())


def test_shards_of_two_campaigns_are_named(tmp_path: Path) -> None:
    one = simulated(tmp_path / "1.blocks", "1/2")
    two = simulated(tmp_path / "2.blocks", "2/2", replace(CAMPAIGN, seed=8))
    with pytest.raises(FileError, match=r"two campaigns \(seed: 8 there, 7 here"):
        merge([one, two], tmp_path / "out.root", monitor=Silent())


def with_torch(folder: Path, version: str, numbers: Iterable[int]) -> None:
    """As if another version of torch had made some blocks; without one, nobody noted it."""
    store = BlockStore.open(folder)
    for number in numbers:
        block = store.read(number)
        notes = {k: v for k, v in block.notes.items() if k != "versions"}
        if version:
            notes["versions"] = {**block.notes["versions"], "torch": version}
        store.write(number, block.events, block.generated, block.selected, **notes)


def test_versions_are_noted_and_a_mixture_of_them_is_named(tmp_path: Path) -> None:
    one, two = shards(tmp_path, 2)
    assert BlockStore.open(one).read(0).notes["versions"]["torch"] == torch.__version__
    facts = merge([one, two], tmp_path / "alike.root", monitor=Silent())
    assert "mixedVersions" not in facts
    with_torch(two, "0.1.2", [1, 3])
    with_torch(two, "0.1", [5])
    named = f"torch 0.1 in 1 block, 0.1.2 in 2 blocks, {torch.__version__} in 5 blocks"
    facts = merge([one, two], tmp_path / "mixed.root", monitor=Silent())
    assert facts["mixedVersions"] == [named]
    assert read_metadata(tmp_path / "mixed.root")["provenance"]["mixedVersions"] == [named]
    merge([one, two], tmp_path / "mixed.blocks", monitor=Silent())
    (tmp_path / "mixed.blocks" / "manifest.jsonl").unlink()  # the blocks say so themselves
    facts, words = verified(str(tmp_path / "mixed.blocks"))
    assert facts["wrong"] == []
    assert f"warning: blocks of several versions, {named}; " in words
    for output in ("again.root", "again.blocks"):
        command = ["merge", str(one), str(two), "-o", str(tmp_path / output), "--quiet"]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        assert named in done.output


def test_blocks_that_note_no_versions_are_taken(tmp_path: Path) -> None:
    """Those from before they were noted; so are lines of a manifest."""
    one, two = shards(tmp_path, 2)
    with_torch(one, "", [0, 2])
    merge([one, two], tmp_path / "all.blocks", monitor=Silent())
    facts, words = verified(str(tmp_path / "all.blocks"))
    assert facts["mixedVersions"] == []
    assert "warning" not in words
    manifest = one / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    before = [{k: v for k, v in line.items() if k != "versions"} for line in lines[-2:]]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in before))
    assert set(noted(one)) == {0, 2}
    assert verified(str(one))[0]["mixedVersions"] == []


def test_nothing_is_replaced_without_force(tmp_path: Path) -> None:
    folder = simulated(tmp_path / "a.blocks")
    output = tmp_path / "out.root"
    output.write_text("mine")
    with pytest.raises(FileError, match="give --force"):
        merge([folder], output, monitor=Silent())
    assert output.read_text() == "mine"
    merge([folder], output, overwrite=True, monitor=Silent())
    assert len(read(output).read()) == 900
    other = replace(CAMPAIGN, seed=8)
    with pytest.raises(FileError, match="another campaign"):
        simulated(folder, campaign=other)
    simulate_to_blocks(other, folder, provenance={}, monitor=Silent(), overwrite=True)
    assert BlockStore.open(folder).identity["seed"] == 8


def test_a_block_that_is_there_is_replaced_by_another_only_with_force(tmp_path: Path) -> None:
    one, two = (simulated(tmp_path / f"{name}.blocks") for name in "ab")
    with_torch(two, "another", [1])
    before = blocks_in(two)
    with pytest.raises(FileError, match=r"block-0000001.* is another block.*--force"):
        merge([one], two, monitor=Silent())
    assert blocks_in(two) == before
    merge([one], two, overwrite=True, monitor=Silent())
    assert blocks_in(two) == blocks_in(one)


def test_a_damaged_block_is_mended_by_a_merge_and_a_cut_one_completed(tmp_path: Path) -> None:
    one, short = simulated(tmp_path / "a.blocks"), replace(CAMPAIGN, events=300)
    two = simulated(tmp_path / "b.blocks", campaign=short)
    damaged = two / "block-0000000.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    merge([one], two, monitor=Silent())
    assert blocks_in(two) == blocks_in(one)


def test_force_into_a_folder_behind_a_link_starts_again_there(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.blocks").symlink_to(tmp_path / "disk")
    folder, other = simulated(tmp_path / "a.blocks"), replace(CAMPAIGN, seed=8)
    simulate_to_blocks(other, folder, provenance={}, monitor=Silent(), overwrite=True)
    assert folder.is_symlink()
    assert BlockStore.open(tmp_path / "disk").identity["seed"] == 8


def test_what_cannot_be_merged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.blocks").mkdir()
    for folder in ("nothing.blocks", "empty.blocks"):
        with pytest.raises(FileError, match=folder):
            merge([tmp_path / folder], tmp_path / "out.root", monitor=Silent())
    with pytest.raises(InputError, match=r"a name that ends in \.parquet"):
        merge(
            [simulated(tmp_path / "a.blocks")], tmp_path / "out.root", format="parquet",
            monitor=Silent(),
        )  # fmt: skip


def test_a_lost_plan_costs_the_cross_section_only(tmp_path: Path) -> None:
    folder = simulated(tmp_path / "a.blocks")
    (folder / "plan.json").unlink()
    assert merge([folder], tmp_path / "out.root", monitor=Silent())["genEventCount"] == 900


def test_damage_is_found_by_verification(tmp_path: Path) -> None:
    folder = simulated(tmp_path / "a.blocks")
    facts, words = verified(str(folder))
    assert facts["wrong"] == []
    assert "every block agrees with its checksum" in words
    path = folder / "block-0000003.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    facts, words = verified(str(folder))
    assert len(facts["wrong"]) == 1
    assert "block-0000003" in words
    with pytest.raises(FileError, match="block-0000003"):
        merge([folder], tmp_path / "out.blocks", monitor=Silent())
    path.unlink()
    assert "1 of 8 blocks are missing" in verified(str(folder))[1]
    simulated(folder)
    assert verified(str(folder))[0]["wrong"] == []


def test_only_blocks_are_verified(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no folder of blocks"):
        verified(str(tmp_path))
