"""Sheets of what latents decode to."""

from __future__ import annotations

import numpy as np
import pytest

from hepgen.errors import DataError
from hepgen.plots.latent import interpolation, plot_sheet, plot_traversal, traversal
from hepgen.plots.style import png


def test_a_traversal_moves_one_latent_at_a_time() -> None:
    found = traversal(lambda z: 2 * z, np.array([1.0, -1.0]), np.array([0.0, 3.0]))
    assert found.tolist() == [[[0, -2], [6, -2]], [[2, 0], [2, 6]]]


def test_an_interpolation_begins_and_ends_where_it_should() -> None:
    rng = np.random.default_rng(0)
    first, last = rng.normal(size=(2, 3, 4))
    found = interpolation(lambda z: z, first, last, steps=5)
    np.testing.assert_allclose(found[:, 0], first)
    np.testing.assert_allclose(found[:, 2], (first + last) / 2)
    np.testing.assert_allclose(found[:, -1], last)


def test_a_sheet_has_every_image_where_it_belongs() -> None:
    images = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    figure = plot_sheet(images, shape=(2, 2), rows=["a", "b"], title="Numbers")
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    assert drawn.shape == (5, 8)
    np.testing.assert_array_equal(drawn[3:5, 3:5].ravel(), images[1, 1])
    assert png(figure, dpi=30).startswith(b"\x89PNG")
    assert figure.get_label() == "Numbers: 2 rows of 3."


def test_a_traversal_of_features_has_a_panel_for_each() -> None:
    values = np.linspace(-2, 2, 5)
    decoded = traversal(lambda z: z @ np.ones((2, 3)), np.zeros(2), values)
    figure = plot_traversal(decoded, values, labels=["m [GeV]", "y", "$p_T$ [GeV]"])
    assert len(figure.axes) == 3
    np.testing.assert_allclose(np.asarray(figure.axes[2].lines[1].get_ydata()), values)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(DataError, match="2 × 2 pixels"):
        plot_sheet(np.zeros((2, 3, 5)), shape=(2, 2))
    with pytest.raises(DataError, match="1 labels for 2 rows"):
        plot_sheet(np.zeros((2, 3, 4)), shape=(2, 2), rows=["a"])
    with pytest.raises(DataError, match="latents, values, labels"):
        plot_traversal(np.zeros((2, 3, 4)), np.zeros(3), labels=["a"])
