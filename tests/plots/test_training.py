from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hepgen.errors import DataError
from hepgen.plots import plot_training, svg
from hepgen.results import TrainingCurve


def test_the_best_epoch_is_marked_counting_from_one(curve: TrainingCurve) -> None:
    figure = plot_training(replace(curve, best_epoch=7), name="NLE")
    axes: Any = figure.axes
    main, rate = axes
    (best,) = [line for line in main.lines if line.get_marker() == "o"]
    assert list(best.get_xdata()) == [8]
    assert list(best.get_ydata()) == [curve.validation[7]]
    assert main.get_ylabel() == "Loss [nats]"
    assert rate.get_xlabel() == "Epoch"
    assert "epoch 8" in str(figure.get_label())


def test_a_wild_first_epoch_does_not_hide_the_end(curve: TrainingCurve) -> None:
    losses = (1e6, *curve.train[1:])
    low, high = plot_training(replace(curve, train=losses)).axes[0].get_ylim()
    assert low < min(curve.train)
    assert high < 10


def test_losses_that_are_not_finite_are_left_out(curve: TrainingCurve) -> None:
    losses = (float("nan"), float("inf"), *curve.train[2:])
    assert svg(plot_training(replace(curve, train=losses)))


@pytest.mark.parametrize("rates", [np.zeros(20), np.full(20, 1e-3), np.r_[0.0, np.full(19, 0.1)]])
def test_any_learning_rate_can_be_drawn(curve: TrainingCurve, rates: np.ndarray) -> None:
    assert svg(plot_training(replace(curve, learning_rate=tuple(rates))))


def test_one_epoch_can_be_drawn() -> None:
    assert svg(plot_training(TrainingCurve((1.0,), (1.0,), (1e-3,), 0, 1.0, "done")))


def test_a_training_without_a_best_epoch_is_refused(curve: TrainingCurve) -> None:
    with pytest.raises(DataError, match="20 epochs whose best is -1"):
        plot_training(replace(curve, best_epoch=-1))
