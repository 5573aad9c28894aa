"""Models on disk: a folder with ``model.json`` and ``weights.safetensors``, never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

import hepgen
from hepgen.errors import FileError
from hepgen.files import parse_json, write_atomically
from hepgen.nn.tensor_files import read_tensors
from hepgen.results import TrainingCurve, to_json

SCHEMA = 2
"""The newest that is read. A kind of model whose files change their meaning writes the next one."""
_DESCRIPTION = "model.json"
_WEIGHTS = "weights.safetensors"


def write_model(
    folder: Path,
    kind: str,
    description: Mapping[str, Any],
    module: nn.Module,
    *,
    schema: int = 1,
) -> None:
    """Write a model: what describes it, and the weights of ``module``.

    Arguments:
        folder: Made if need be; other files in it stay.
        kind: e.g. ``nle``.
        description: Values that JSON can hold.
        module: Whose weights are written.
        schema: Of this kind of model; what a reader below it would misread has a higher one.
    """
    state = module.state_dict().items()
    weights = save({name: t.detach().cpu().contiguous().clone() for name, t in state})
    entries = {
        "schema": schema,
        "kind": kind,
        "versions": {"hepgen": hepgen.__version__, "torch": str(torch.__version__)},
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        **description,
    }
    write_atomically(folder / _WEIGHTS, weights)
    signed = {**entries, "sha256": _digest(entries)}
    write_atomically(folder / _DESCRIPTION, to_json(signed).encode())


def model_kind(folder: Path) -> str:
    """The kind of the model in a folder, e.g. ``nle``."""
    return str(_read_description(folder)["kind"])


def read_model(folder: Path, kind: str) -> dict[str, Any]:
    """The description of a model of the given kind, checked; see :func:`load_weights`.

    Raises:
        FileError: A file is missing, truncated, edited, of another kind, or from a newer
            version of hepgen.
    """
    entries = _read_description(folder)
    if entries["kind"] != kind:
        raise FileError(
            f"{folder} holds a model of kind {entries['kind']!r}; expected {kind!r}: "
            "load it with the class of its kind"
        )
    path = folder / _WEIGHTS
    if not path.is_file():
        raise FileError(f"no file {path}; a model is {_DESCRIPTION} and {_WEIGHTS} together")
    if hashlib.sha256(path.read_bytes()).hexdigest() != entries.get("weights_sha256"):
        raise FileError(
            f"{path} is not the file that {_DESCRIPTION} describes: truncated, edited, or from "
            "another model; train again or copy both files"
        )
    return entries


def load_weights(folder: Path, module: nn.Module) -> None:
    """Put the weights into ``module``, made on any device (``meta`` costs no memory).

    Raises:
        FileError: Names or shapes differ from those of ``module``.
    """
    tensors, _ = read_tensors(folder / _WEIGHTS)
    expected = {name: (tuple(t.shape), t.dtype) for name, t in module.state_dict().items()}
    found = {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()}
    if expected != found:
        wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
        raise FileError(
            f"{folder / _WEIGHTS} does not fit the architecture in {_DESCRIPTION}: "
            f"{wrong[0]} is {found.get(wrong[0], 'missing')}, expected "
            f"{expected.get(wrong[0], 'nothing')} ({len(wrong)} differ)"
        )
    module.load_state_dict(tensors, assign=True)
    module.eval()


def curve_from_dict(entry: Mapping[str, Any]) -> TrainingCurve:
    """A training curve as :func:`hepgen.results.to_json` wrote it."""
    series = {key: tuple(entry[key]) for key in ("train", "validation", "learning_rate")}
    return TrainingCurve(**{**entry, **series})


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / _DESCRIPTION
    if not path.is_file():
        raise FileError(f"no file {path}; expected the folder of a trained model")
    try:
        entries = parse_json(path.read_text("utf-8"))
    except ValueError as error:
        raise FileError(f"{path} is not JSON ({error}); it is truncated or edited") from error
    if not isinstance(entries, dict) or not {"schema", "kind"} <= entries.keys():
        raise FileError(f"{path} does not describe a model; expected the keys schema and kind")
    schema = entries["schema"]
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise FileError(
            f"{path} has schema {schema!r}; this version of hepgen reads 1 to {SCHEMA}: "
            "update hepgen"
        )
    digest = entries.pop("sha256", None)
    if digest != _digest(entries):
        raise FileError(f"{path} was edited after it was written; train again or restore it")
    return entries


def _digest(entries: Mapping[str, Any]) -> str:
    # Through the text and back, so that what is hashed is what a reader will see.
    plain = json.loads(to_json(entries))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
