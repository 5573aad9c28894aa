"""Fixtures of the tests of statistics."""

from __future__ import annotations

import pytest

from tests.inference.statistics.models import Line


@pytest.fixture(scope="session")
def line() -> Line:
    return Line()


@pytest.fixture(scope="session")
def bounded_line() -> Line:
    """μ ≥ 0."""
    return Line(low=0.0)
