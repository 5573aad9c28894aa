"""Named tensors and plain metadata in one safetensors file, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hepgen.errors import FileError
from hepgen.files import parse_json, write_atomically

_KEY = "hepgen"
_CHECKSUM = "sha256"


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write tensors by name, and metadata that JSON can hold, replacing ``path`` at once."""
    # Cloned, because tensors in a file may not share memory, and those of a module may.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    entries = dict(metadata or {})
    signed = {_CHECKSUM: _checksum(plain, entries), **entries}
    write_atomically(path, save(plain, {_KEY: json.dumps(signed)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata of a file; nothing in it is executed.

    Raises:
        FileError: The file is missing, truncated, changed, or not a safetensors file.
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
    noted = metadata.pop(_CHECKSUM, None)  # files of earlier versions have none
    if noted is not None and noted != _checksum(tensors, metadata):
        raise FileError(f"{path} was changed after it was written; make it again")
    return tensors, metadata


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """The SHA-256 of everything in a file."""
    # Through the text and back, so that what is hashed is what a reader will see.
    plain = json.dumps(json.loads(json.dumps(dict(metadata))), sort_keys=True)
    digest = hashlib.sha256(plain.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        # As bytes: numpy does not know every type of number that torch does.
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
