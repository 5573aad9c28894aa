"""Named tensors and plain metadata in one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hepgen.errors import FileError
from hepgen.files import parse_json, write_atomically

_KEY = "hepgen"


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write tensors by name, and metadata that JSON can hold, replacing ``path`` at once."""
    # Cloned, because tensors in a file may not share memory, and those of a module may.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, save(plain, {_KEY: json.dumps(dict(metadata or {}))}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata of a file; nothing in it is executed.

    Raises:
        FileError: The file is missing, truncated, or not a safetensors file.
    """
    if not path.is_file():
        raise FileError(f"no file {path}; expected a safetensors file there")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = parse_json((file.metadata() or {}).get(_KEY, "{}"))
    except (SafetensorError, ValueError, OSError) as error:
        raise FileError(
            f"{path} cannot be read as safetensors ({error}); it is truncated, edited, or "
            "another kind of file: make it again"
        ) from error
    if not isinstance(metadata, dict):
        raise FileError(f"{path}: its metadata is not a mapping; the file was edited")
    return tensors, metadata
