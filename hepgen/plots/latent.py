"""What the latents of an auto-encoder mean: sheets of images, traversals, interpolations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hepgen.errors import DataError
from hepgen.plots.style import PALETTE, StyledFigure, finish, headroom, new_figure, style, text

Decode = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Latents, shape ``(N, Z)``, to what they decode to, shape ``(N, d)``."""


def traversal(
    decode: Decode, start: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each latent in turn moved to each of V values, the others at ``start``: ``(Z, V, d)``.

    >>> traversal(lambda z: z, np.zeros(2), np.array([-1.0, 1.0]))[0]
    array([[-1.,  0.],
           [ 1.,  0.]])
    """
    size = len(start)
    z = np.tile(start, (size, len(values), 1))
    for i in range(size):
        z[i, :, i] = values
    return decode(z.reshape(-1, size)).reshape(size, len(values), -1)


def interpolation(
    decode: Decode, first: NDArray[np.float64], last: NDArray[np.float64], steps: int = 9
) -> NDArray[np.float64]:
    """Along straight lines between R pairs of latents, shape ``(R, Z)`` each: ``(R, steps, d)``."""
    part = np.linspace(0, 1, steps)[None, :, None]
    z = (1 - part) * first[:, None] + part * last[:, None]
    return decode(z.reshape(-1, z.shape[-1])).reshape(len(first), steps, -1)


def plot_sheet(
    images: NDArray[np.float64],
    *,
    shape: tuple[int, int],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
) -> StyledFigure:
    """A sheet of small images, one scale of grey for all.

    Arguments:
        images: Shape ``(R, K, d)``, R rows of K, d = height times width.
        shape: (height, width) of one.
        rows, columns: Labels.
        title: What it shows.
    """
    if images.ndim != 3 or images.shape[-1] != shape[0] * shape[1]:
        raise DataError(
            f"images of shape {images.shape}; expected (rows, columns, {shape[0] * shape[1]}) for "
            f"{shape[0]} × {shape[1]} pixels"
        )
    high, wide = images.shape[:2]
    pixels = images.reshape(high, wide, *shape)
    sheet = np.full((high, shape[0] + 1, wide, shape[1] + 1), np.nan)
    sheet[:, :-1, :, :-1] = pixels.transpose(0, 2, 1, 3)
    flat = sheet.reshape(high * (shape[0] + 1), -1)[:-1, :-1]
    with style():
        figure = new_figure(6.0, 6.0 * flat.shape[0] / flat.shape[1] + 0.8)
        axes = figure.add_subplot()
        axes.imshow(flat, cmap="gray_r", interpolation="nearest")
        _label(axes.set_xticks, columns, wide, shape[1])
        _label(axes.set_yticks, rows, high, shape[0])
        axes.tick_params(which="both", length=0)
        axes.minorticks_off()
        axes.set_title(text(title), loc="left")
        finish(figure, f"{title or 'Images'}: {high} rows of {wide}.")
    return figure


def plot_traversal(
    decoded: NDArray[np.float64],
    values: NDArray[np.float64],
    *,
    labels: Sequence[str],
    title: str = "",
) -> StyledFigure:
    """How each feature follows each latent, for events that are not images.

    Arguments:
        decoded: Of :func:`traversal`, shape ``(Z, V, d)``.
        values: Of the latent that moves, shape ``(V,)``.
        labels: Of the d features, with units.
        title: What it shows.
    """
    size, _, features = decoded.shape
    if len(labels) != features or decoded.shape[1] != len(values):
        raise DataError(
            f"decoded of shape {decoded.shape} with {len(values)} values and {len(labels)} labels; "
            "expected (latents, values, labels)"
        )
    with style():
        figure = new_figure(6.0, 1.6 + 2.0 * features)
        panels = figure.subplots(features, 1, sharex=True, squeeze=False)[:, 0]
        for number, (axes, label) in enumerate(zip(panels, labels, strict=True)):
            for i in range(size):
                look = {"color": PALETTE[i % 6], "linestyle": ("-", "--", ":", "-.")[i % 4]}
                axes.plot(values, decoded[i, :, number], label=f"$z_{{{i + 1}}}$", **look)
            axes.set_ylabel(text(label), fontsize=12)
        headroom(panels[0], 0.25)
        panels[0].legend(ncols=min(size, 6), loc="upper left")
        panels[0].set_title(text(title), loc="left")
        panels[-1].set_xlabel("Latent, the others at zero")
        finish(figure, f"{title or 'Traversal'}: {features} features along {size} latents.")
    return figure


def _label(set_ticks: Callable[..., object], labels: Sequence[str], number: int, size: int) -> None:
    if not labels:
        set_ticks([])
        return
    if len(labels) != number:
        raise DataError(f"{len(labels)} labels for {number} rows or columns; expected one for each")
    set_ticks((size - 1) / 2 + (size + 1) * np.arange(number), [text(label) for label in labels])
