"""Losses and learning rate of a training, epoch by epoch."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from hepgen.errors import DataError
from hepgen.plots.style import (
    FIRST,
    GREY,
    SECOND,
    SMALL,
    StyledFigure,
    finish,
    style,
    text,
    with_ratio,
)
from hepgen.results import TrainingCurve


def plot_training(curve: TrainingCurve, *, name: str = "") -> StyledFigure:
    """Training and validation loss, the best epoch, and the learning rate under them.

    Arguments:
        curve: The record of a training; ``best_epoch`` counts from 0, the figure from 1.
        name: What was trained.
    """
    if not 0 <= curve.best_epoch < len(curve.validation):
        raise DataError(
            f"a training of {len(curve.validation)} epochs whose best is {curve.best_epoch}; "
            "expected one of its epochs"
        )
    epochs = np.arange(1, len(curve.train) + 1)
    best = curve.best_epoch + 1
    with style():
        figure, main, rate = with_ratio(height=5.2)
        main.plot(epochs, curve.train, color=FIRST, linestyle="--", label="Training")
        main.plot(epochs, curve.validation, color=SECOND, label="Validation")
        _mark_best(main, rate, best, curve)
        main.set_ylim(*_loss_range(np.array([*curve.train, *curve.validation])))
        main.set_ylabel("Loss [nats]")
        main.set_title(text(name), loc="left")
        main.set_title(text(f"{curve.seconds:.0f} s, {curve.stopped}"), loc="right")
        main.legend(loc="upper right")
        _draw_rate(rate, epochs, np.array(curve.learning_rate))
        finish(figure, _words(curve, name))
    return figure


def _mark_best(main: Axes, rate: Axes, best: int, curve: TrainingCurve) -> None:
    for axes in (main, rate):
        axes.axvline(best, color=GREY, linestyle=":", linewidth=1.2)
    value = curve.validation[curve.best_epoch]
    label = f"Best: epoch {best}, {value:.3f}".replace("-", "−")
    main.plot([best], [value], "o", color=SECOND, markersize=7, label=label)


def _draw_rate(axes: Axes, epochs: NDArray[np.int_], rates: NDArray[np.float64]) -> None:
    axes.plot(epochs, rates, color="black", linewidth=1.5)
    if (rates > 0).any():
        axes.set_yscale("log")
        axes.set_ylim(*_decades(rates))
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("Learning\nrate", loc="center", fontsize=SMALL)
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlim(0.5, len(epochs) + 0.5)


def _loss_range(losses: NDArray[np.float64]) -> tuple[float, float]:
    """A range that shows how the training ends, whatever the first epochs were."""
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(np.quantile(finite, 0.9))
    height = (high - low) or 1.0
    return low - 0.08 * height, high + 0.35 * height


def _decades(rates: NDArray[np.float64]) -> tuple[float, float]:
    """Whole decades around the rates, three at most below the largest."""
    top = float(rates.max())
    low = max(float(rates[rates > 0].min(initial=top)), 1e-3 * top)
    return 10.0 ** np.floor(np.log10(low)), 10.0 ** np.floor(np.log10(top) + 1)


def _words(curve: TrainingCurve, name: str) -> str:
    what = f" of {name}" if name else ""
    return (
        f"Training{what}: {len(curve.train)} epochs in {curve.seconds:.0f} s ({curve.stopped}); "
        f"best validation loss {curve.validation[curve.best_epoch]:.3f} nats at epoch "
        f"{curve.best_epoch + 1}."
    )
