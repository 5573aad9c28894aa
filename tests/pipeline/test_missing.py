"""What is missing of a campaign is counted right, and in no time however long the plan."""

from __future__ import annotations

import json
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hepgen.events import Events
from hepgen.io.blocks import BlockStore
from hepgen.io.plan import PLAN, Plan
from hepgen.pipeline.blocks import MOST, verify, words
from hepgen.pipeline.missing import Missing


@settings(deadline=None, derandomize=True)
@given(st.sets(st.integers(0, 40)), st.integers(0, 30), st.integers(1, 50))
def test_it_is_what_a_list_says(there: set[int], blocks: int, shards: int) -> None:
    listed = [n for n in range(blocks) if n not in there]
    names = [f"{i + 1}/{shards}" for i in sorted({n % shards for n in listed})]
    found = Missing(there, blocks, shards)
    assert (found.count, found.first(99), found.first_shards(99)) == (len(listed), listed, names)
    assert found.first(2) == listed[:2]
    assert found.first_shards(2) == names[:2]


def test_a_plan_of_very_many_blocks_is_shown_at_once(tmp_path: Path) -> None:
    store = BlockStore(tmp_path, {"process": "gaussian", "seed": 7, "hepgen": "1"})
    store.write(0, Events.from_columns({"x": [1.0]}), 1, 1)
    store.intend(Plan(10**30, 1, 10**9))
    started = time.monotonic()
    facts, wrong = verify(tmp_path)
    assert time.monotonic() - started < 5
    assert facts["missingBlockCount"] == 10**30 - 1
    assert len(facts["missingBlocks"]) == len(facts["missingShards"]) == MOST
    assert len(json.dumps(facts)) < 10_000
    assert "of shards 1/1000000000, 2/1000000000" in words(facts)
    assert len(wrong) == 1
    assert (tmp_path / PLAN).exists()
