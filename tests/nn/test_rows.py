"""Training rows: any order has all of them, and where they lie changes no number."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hepgen.errors import DataError, FileError
from hepgen.nn import rows as training_rows
from hepgen.nn.columns import Derived, Joined, parts, whole
from hepgen.nn.row_file import RowFile
from hepgen.nn.rows import Rows, Table, shuffled, standardised
from hepgen.nn.train import train


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 500), st.integers(0, 600), st.integers(0, 1000))
def test_an_order_has_every_row_once(n: int, window: int, seed: int) -> None:
    index = 3 * torch.arange(n)
    order = shuffled(index, generator(seed), window)
    assert torch.equal(order.msort(), index)
    assert torch.equal(order, shuffled(index, generator(seed), window))


def test_a_batch_is_of_many_places_and_a_window_of_few() -> None:
    """Of 64 000 rows in windows of 6400: 64 chunks of 100 rows are open at once, and no more."""
    order = shuffled(torch.arange(64_000), generator(), 6400)
    first = order[:6400] // 100
    assert len(set(first.tolist())) == 64
    # 500 draws leave each of 64 chunks out with a chance of 4e-4.
    assert len(set(first[:500].tolist())) > 58
    assert torch.stack([torch.arange(6400.0), order[:6400].float()]).corrcoef()[0, 1].abs() < 0.07


def test_where_rows_are_standardised_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    x, c = torch.randn(100, 3, generator=generator()).double(), torch.arange(100.0)[:, None]
    columns = Derived(lambda one: 2 * one + 1, x), Derived(lambda a, b: a[:, :1] * b, x, c)
    at_once = Table(*standardised(*columns))
    monkeypatch.setattr(training_rows, "IN_MEMORY", 0)
    later = Table(*standardised(*columns))
    assert at_once.window == 0 < later.window
    index = torch.tensor([5, 3, 99])
    taken = [rows.take(index, generator()) for rows in (at_once, later)]
    for one, other in (*zip(*taken, strict=True), *zip(at_once.sample, later.sample, strict=True)):
        assert torch.equal(one, other)
        assert other.dtype == torch.float32


def test_a_file_gives_back_its_rows(tmp_path: Path) -> None:
    parts = [np.random.default_rng(i).random((n, 2), np.float32) for i, n in enumerate([3, 0, 70])]
    with RowFile(tmp_path / "run") as file:
        for part in parts:
            file.append(part)
        rows = file.mapped()
    np.testing.assert_array_equal(rows.numpy(), np.concatenate(parts))
    assert rows.dtype == torch.float32
    rows += 1  # in memory
    assert list((tmp_path / "run").iterdir()) == []


def test_rows_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    with RowFile(tmp_path) as file:
        with pytest.raises(DataError, match="no events"):
            file.mapped()
        file.append(np.ones((2, 3), np.float32))
        for other in (np.ones((2, 4), np.float32), np.ones((2, 3))):
            with pytest.raises(DataError, match="those before have"):
                file.append(other)


def line(rows: Rows) -> tuple[float, Tensor]:
    torch.manual_seed(0)
    network = nn.Linear(2, 1)

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        squares: Tensor = (network(batch[0]) - batch[1]).square().sum(-1)
        return squares

    curve = train(network, loss, rows, batch_size=50, epochs=30, max_learning_rate=0.05)
    return curve.validation[curve.best_epoch], network.weight.detach()[0]


def test_training_from_a_file_ends_where_training_from_memory_does(tmp_path: Path) -> None:
    """To the noise of the order: y = x₁ − 2x₂ + 0.1 ε has a loss of 0.01."""
    x = torch.randn(3000, 2, generator=generator())
    y = x @ torch.tensor([[1.0], [-2.0]]) + 0.1 * torch.randn(3000, 1, generator=generator(1))
    with RowFile(tmp_path) as file:
        for part in torch.split(torch.cat([x, y], -1), 500):
            file.append(part.numpy())
        rows = file.mapped()
    stored = Table(rows[:, :2], rows[:, 2:], window=1000)
    (memory, weight), (disk, other) = line(Table(x, y)), line(stored)
    assert disk == pytest.approx(memory, rel=0.05)
    torch.testing.assert_close(other, weight, rtol=0, atol=0.01)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"cannot write events .*file.*: .*make room"):
        RowFile(tmp_path / "file").__enter__()


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    """By a process whose files may have 100 kB."""
    code = (
        "import numpy as np; from pathlib import Path; from hepgen.nn.row_file import RowFile\n"
        "with RowFile(Path('.')) as file:\n"
        "    for _ in range(100): file.append(np.ones((1000, 4)))\n"
        "    file.mapped()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    assert "FileError: cannot write events to train on into .: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match=r"lengths \[2, 3\]"):
        Table(torch.ones(2), torch.ones(3))
    with pytest.raises(DataError, match=r"lengths \[2, 3\]"):
        Derived(torch.add, torch.ones(2), torch.ones(3))


def test_joined_columns_are_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = torch.randn(7, 2, generator=generator()), torch.randn(5, 2)
    joined, both = Joined(first, second), torch.cat([first, second])
    for index in (torch.tensor([11, 0, 6, 7, 7]), torch.tensor([2]), torch.tensor([9])):
        assert torch.equal(joined[index], both[index])
    for rows in (slice(None), slice(5, 9), slice(0, 12, 3), slice(8, 20)):
        assert torch.equal(joined[rows], both[rows])
    assert joined.nbytes == both.nbytes
    monkeypatch.setattr("hepgen.nn.columns._PART", 5)
    assert [len(part) for (part,) in parts(joined)] == [5, 5, 2]
    assert torch.equal(whole(Derived(torch.square, joined)), both.square())
