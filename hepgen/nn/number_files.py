"""Fitted numbers on disk: a model without a network, in the same two files as one with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hepgen.errors import FileError
from hepgen.nn.model_files import load_weights, read_model, write_model


def write_numbers(
    folder: Path, kind: str, description: Mapping[str, Any], numbers: Mapping[str, Tensor]
) -> None:
    """Write named tensors; the arguments as of :func:`hepgen.nn.model_files.write_model`."""
    shapes = {name: list(tensor.shape) for name, tensor in numbers.items()}
    write_model(folder, kind, {**description, "shapes": shapes}, _Numbers(numbers))


def read_numbers(folder: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors that :func:`write_numbers` wrote, in float64.

    Raises:
        FileError: The files are missing, truncated, edited, or from a newer version.
    """
    entry = read_model(folder, kind)
    try:
        shapes = {str(name): tuple(map(int, shape)) for name, shape in entry["shapes"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{folder}/model.json has no shapes of numbers: {error!r}") from error
    module = _Numbers({n: torch.empty(s, dtype=torch.float64) for n, s in shapes.items()})
    load_weights(folder, module)
    return entry, {name: module.get_buffer(name) for name in shapes}


class _Numbers(nn.Module):
    def __init__(self, numbers: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in numbers.items():
            self.register_buffer(name, tensor)
