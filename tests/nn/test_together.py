"""Processes that train together come to what one comes to, and to the same."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from hepgen.nn import together
from tests.nn import pair

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("weighted", [False, True])
def test_two_come_to_the_weights_of_one(weighted: bool, tmp_path: Path) -> None:
    work = partial(pair.fitted, weighted=weighted)
    first, second = pair.two(work, tmp_path)
    module, curve = work()
    for name, alone in module.state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first["validation"], torch.tensor(curve.validation), rtol=1e-4,
                               atol=1e-6)  # fmt: skip


def test_they_decide_alike_by_the_leaders_clock_and_draw_what_is_their_own(tmp_path: Path) -> None:
    first, second = pair.two(pair.in_time, tmp_path)
    assert torch.equal(first["validation"], second["validation"])
    assert torch.equal(first["0.weight"], second["0.weight"])
    assert len(first["drawn"]) == len(second["drawn"]) > 5
    assert (first["drawn"] != second["drawn"]).all()


def test_one_alone_leads_and_has_everything() -> None:
    rows = torch.arange(5)
    assert together.leads()
    assert torch.equal(together.share(rows), rows)
    assert together.summed(1.0, -2.0) == [1.0, -2.0]
    assert [together.agreed(yes) for yes in (True, False)] == [True, False]
    with together.by_the_leader() as leads:
        assert leads
