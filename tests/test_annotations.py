"""While tests run, what the package is given is what its annotations say."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from hepgen.features import Feature
from hepgen.nn.streams import ORDER, stream
from hepgen.nn.train import one_cycle
from hepgen.parameters import ParameterSet, Uniform
from tests.annotations import checked


def test_functions_methods_and_dataclasses_refuse_another_type() -> None:
    number: Any = "1"
    with pytest.raises(TypeError, match=r"seed.* violates type hint"):
        stream(number, ORDER)
    with pytest.raises(TypeError, match=r"unit.* violates type hint"):
        Feature("x", 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"shape.* violates type hint"):
        Uniform(0.0, 1.0).sample(number)
    with pytest.raises(TypeError, match=r"parameters.* violates type hint"):
        ParameterSet(number)


def test_what_is_returned_is_checked_and_integers_are_numbers() -> None:
    def wrong(x: int) -> Tensor:
        return x  # type: ignore[return-value]

    assert one_cycle(1, 1) == one_cycle(1.0, 1.0)
    with pytest.raises(TypeError, match=r"return.* violates type hint"):
        checked(wrong)(1)


def test_annotations_stay_as_they_are_written() -> None:
    assert stream.__annotations__["return"] == "torch.Generator"
