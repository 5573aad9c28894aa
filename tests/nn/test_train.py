"""The training loop: what it minimises, how it stops, and that resuming changes nothing."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hepgen.errors import DataError, TrainingError
from hepgen.nn.mlp import mlp
from hepgen.nn.rows import Table
from hepgen.nn.tensor_files import read_tensors, write_tensors
from hepgen.nn.train import Progress, one_cycle, train
from hepgen.results import TrainingCurve


def rows(n: int = 600) -> Table:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 2, generator=generator)
    return Table(x, x.sin().sum(-1, keepdim=True) + 0.1 * torch.randn(n, 1, generator=generator))


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return mlp(2, 1, (16, 16))


def fit(
    module: nn.Module,
    *,
    checkpoint: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    epochs: int = 5,
    seed: int = 3,
) -> TrainingCurve:
    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        squares: Tensor = (module(batch[0]) - batch[1]).square().sum(-1)
        return squares

    return train(
        module, loss, rows(), batch_size=32, epochs=epochs, max_learning_rate=0.01, seed=seed,
        checkpoint=checkpoint, progress=progress,
    )  # fmt: skip


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(weights(a), weights(b), strict=True))


class Interrupt:
    """Presses Ctrl-C once an epoch is complete."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, now: Progress) -> None:
        if now.epoch == self.epoch and not math.isnan(now.validation):
            raise KeyboardInterrupt


def test_loss_falls_and_the_best_epoch_is_kept() -> None:
    module = network()
    curve = fit(module, epochs=20)
    assert curve.validation[curve.best_epoch] == min(curve.validation)
    assert curve.validation[-1] < 0.1 * curve.validation[0]
    assert len(curve.train) == len(curve.validation) == len(curve.learning_rate) == 20
    assert curve.stopped == "all epochs done"


def test_same_seed_same_weights() -> None:
    a, b, c = network(), network(), network()
    fit(a)
    fit(b)
    fit(c, seed=4)
    assert same(a, b)
    assert not same(a, c)


def test_resumed_after_an_epoch_is_bit_identical(tmp_path: Path) -> None:
    through, resumed = network(), network()
    whole = fit(through)
    with pytest.raises(KeyboardInterrupt):
        fit(resumed, checkpoint=tmp_path / "c", progress=Interrupt(2))
    fresh = network()
    curve = fit(fresh, checkpoint=tmp_path / "c")
    assert same(through, fresh)
    assert replace(curve, seconds=0.0) == replace(whole, seconds=0.0)


@pytest.mark.parametrize("stop", range(18, 36))
def test_resumed_within_an_epoch_is_bit_identical(tmp_path: Path, stop: int) -> None:
    """Interrupted in any call of the loss of the second epoch: its steps, and what measures."""
    through, interrupted, fresh = network(), network(), network()
    whole = fit(through)
    steps = 0

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == stop:
            raise KeyboardInterrupt
        squares: Tensor = (interrupted(batch[0]) - batch[1]).square().sum(-1)
        return squares

    with pytest.raises(KeyboardInterrupt):
        train(
            interrupted, loss, rows(), batch_size=32, epochs=5, max_learning_rate=0.01, seed=3,
            checkpoint=tmp_path / "c",
        )  # fmt: skip
    curve = fit(fresh, checkpoint=tmp_path / "c")
    assert same(through, fresh)
    assert replace(curve, seconds=0.0) == replace(whole, seconds=0.0)


def test_finished_checkpoint_is_not_trained_again(tmp_path: Path) -> None:
    done, again = network(), network()
    first = fit(done, checkpoint=tmp_path / "c")
    reports: list[Progress] = []
    second = fit(again, checkpoint=tmp_path / "c", progress=reports.append)
    assert same(done, again)
    assert second.validation == first.validation
    assert reports == []


def test_checkpoint_of_another_training_is_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(network(), checkpoint=tmp_path / "c", seed=4)
    through, module = network(), network()
    fit(through)
    with caplog.at_level(logging.WARNING):
        fit(module, checkpoint=tmp_path / "c")
    assert same(through, module)
    assert "other data or settings" in caplog.text


def test_truncated_checkpoint_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(network(), checkpoint=tmp_path / "c")
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:200])
    through, module = network(), network()
    fit(through)
    fit(module, checkpoint=tmp_path / "c")
    assert same(through, module)
    assert "is not used" in caplog.text


def test_checkpoint_with_a_flipped_bit_is_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(network(), checkpoint=tmp_path / "c")
    content = bytearray((tmp_path / "c").read_bytes())
    content[-1] ^= 0x40
    (tmp_path / "c").write_bytes(content)
    through, module = network(), network()
    fit(through)
    fit(module, checkpoint=tmp_path / "c")
    assert same(through, module)
    assert "was changed after it was written" in caplog.text


Change = Callable[[dict[str, Tensor], dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors, _: tensors.popitem(), "does not fit|missing"),
        (lambda tensors, _: tensors.update({"best/0.weight": torch.ones(1)}), "best/0.weight"),
        (lambda tensors, _: tensors.update({"module/0.bias": torch.ones(1)}), "module/0.bias"),
        (
            lambda tensors, _: tensors.update({"optimizer/exp_avg/0.bias": torch.ones(1)}),
            "does not fit the parameter",
        ),
        (lambda _, data: data["state"].update(epoch="x"), "epoch = 'x'"),
        (lambda _, data: data["state"].update(train=[1.0, "x"]), "train = "),
        (lambda _, data: data["state"].update(best_epoch=99), "one entry for each epoch"),
        (lambda _, data: data["state"].update(step=-1), "negative"),
        (lambda _, data: data["state"].update(more=1), "more"),
        (lambda _, data: data.update(state=5), "where the training stands"),
    ],
)
def test_checkpoint_that_does_not_fit_leaves_the_module_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Change, words: str
) -> None:
    fit(network(), checkpoint=tmp_path / "c")
    tensors, metadata = read_tensors(tmp_path / "c")
    change(tensors, metadata)
    write_tensors(tmp_path / "c", tensors, metadata)
    through, module = network(), network()
    fit(through)
    fit(module, checkpoint=tmp_path / "c")
    assert same(through, module)
    assert re.search(words, caplog.text)


def test_checkpoint_is_no_pickle_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    fit(network(), checkpoint=tmp_path / "c")
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    header = int.from_bytes((tmp_path / "c").read_bytes()[:8], "little")
    assert (tmp_path / "c").read_bytes()[8:9] == b"{"
    assert header < 20_000


def test_global_generator_is_untouched() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fit(network(), epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_signed_weights_give_the_weighted_mean() -> None:
    """The minimum of Σ w (μ − x)² is Σ w x / Σ w, also where weights are negative."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40_000, 1, generator=generator) + 3
    weight = torch.where(x[:, 0] > 4, -0.5, 7.0)
    line = nn.Linear(1, 1, bias=True)
    nn.init.zeros_(line.weight)
    line.weight.requires_grad_(False)
    train(
        line,
        lambda batch: (line(batch[0]) - batch[0]).square().sum(-1),
        Table(x), weight=weight, batch_size=20_000, epochs=300, max_learning_rate=0.1,
        weight_decay=0.0, patience=None, validation_fraction=0.5,
    )  # fmt: skip
    expected = (weight * x[:, 0]).sum() / weight.sum()
    assert line.bias.item() == pytest.approx(expected.item(), abs=0.02)


def test_scale_of_the_weights_does_not_matter() -> None:
    def end(scale: float) -> list[float]:
        module = network()
        curve = train(
            module,
            lambda b: (module(b[0]) - b[1]).square().sum(-1),
            rows(), weight=torch.full((600,), scale), batch_size=32, epochs=2,
        )  # fmt: skip
        return list(curve.validation)

    assert end(1.0) == pytest.approx(end(1000.0), rel=1e-6)


def test_early_stop_restores_the_best_weights() -> None:
    """The loss grows from epoch to epoch by construction: the first is the best."""
    module = nn.Linear(1, 1)
    epochs: list[Tensor] = []

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        if not module.training and len(batch[0]) == 10:
            epochs.append(module.weight.detach().clone())
            return torch.full((10,), float(len(epochs)))
        squares: Tensor = (module(batch[0]) - 3).square().sum(-1)
        return squares

    curve = train(
        module, loss, Table(torch.ones(100, 1)), batch_size=30, epochs=50, patience=4,
        validation_fraction=0.1,
    )  # fmt: skip
    assert curve.best_epoch == 0
    assert len(curve.validation) == 5
    assert "no better validation loss in 4 epochs" in curve.stopped
    assert torch.equal(module.weight.detach(), epochs[0])


def test_time_budget_completes_the_cycle() -> None:
    curve_module = network()
    curve = train(
        curve_module,
        lambda b: (curve_module(b[0]) - b[1]).square().sum(-1),
        rows(), batch_size=32, epochs=10**6, time_budget=0.5, patience=None,
    )  # fmt: skip
    assert curve.stopped == "time budget used"
    assert curve.learning_rate[-1] < 1e-3 * max(curve.learning_rate)


def test_a_time_budget_ends_within_an_epoch() -> None:
    """One that is over at once takes one step, with its rate at the end of the cycle."""
    module, steps = network(), 0

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        nonlocal steps
        steps += module.training
        losses: Tensor = (module(batch[0]) - batch[1]).square().sum(-1)
        return losses

    curve = train(module, loss, rows(), batch_size=2, epochs=3, time_budget=1e-9)
    assert curve.stopped == "time budget used"
    assert len(curve.validation) == 1
    assert steps == 1


def test_non_finite_loss_names_the_step_and_keeps_good_weights() -> None:
    module = network()
    calls = 0

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        nonlocal calls
        calls += 1
        losses: Tensor = (module(batch[0]) - batch[1]).square().sum(-1)
        return losses * math.nan if calls > 50 else losses

    with pytest.raises(TrainingError, match=r"training loss became nan in epoch 3.*epoch 2"):
        train(module, loss, rows(), batch_size=32, epochs=5)
    assert all(bool(torch.isfinite(w).all()) for w in weights(module))


def test_progress_reports_every_epoch() -> None:
    reports: list[Progress] = []
    curve = fit(network(), progress=reports.append)
    ends = {r.epoch: r for r in reports if r.validation in curve.validation}
    assert sorted(ends) == [1, 2, 3, 4, 5]
    assert ends[5].seconds_left == 0
    assert ends[2].seconds_left > 0
    assert ends[5].epochs == 5


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.full((600,), -1.0), "mean -1; expected a positive one"),
        (torch.full((600,), math.nan), "600 of 600 weights are NaN"),
        (torch.ones(3), r"expected \(600,\)"),
    ],
)
def test_bad_weights_are_refused(weight: Tensor, message: str) -> None:
    module = network()
    with pytest.raises(DataError, match=message):
        train(module, lambda b: module(b[0])[:, 0], rows(), weight=weight)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(TrainingError, match="epochs = 0"):
        fit(network(), epochs=0)


def test_too_few_rows_are_refused() -> None:
    module = network()
    with pytest.raises(DataError, match="1 rows"):
        train(module, lambda b: module(b[0])[:, 0], Table(torch.ones(1, 2)))


def test_columns_of_one_length() -> None:
    with pytest.raises(DataError, match=r"\[2, 3\]"):
        Table(torch.ones(2), torch.ones(3))


def test_one_cycle_rises_then_falls() -> None:
    rates = [one_cycle(i / 1000, 1.0) for i in range(1001)]
    top = rates.index(max(rates))
    assert top == 150
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(1e-4)


@pytest.mark.parametrize("slope", [2.0, 0.0])
def test_the_untrained_weights_may_be_the_best(slope: float) -> None:
    """Of a line that starts at the truth, and of one that does not."""
    x = torch.linspace(-1, 1, 200)[:, None]
    line = nn.Linear(1, 1)
    with torch.no_grad():
        line.weight.fill_(slope)
        line.bias.zero_()
    curve = train(
        line, lambda b: (line(b[0]) - 2 * b[0]).square().sum(-1), Table(x),
        batch_size=20, epochs=20, max_learning_rate=0.1, untrained=True, patience=None,
    )  # fmt: skip
    assert len(curve.validation) == 21
    assert (curve.best_epoch == 0) == (slope == 2.0)
    assert line.weight.item() == pytest.approx(2.0, abs=0.0 if slope else 0.05)
