"""What a training keeps to go on later: weights, the moments of its optimiser, where it stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from hepgen.errors import FileError
from hepgen.nn.tensor_files import read_tensors, write_tensors

Weights = dict[str, Tensor]
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def fingerprint(
    settings: Mapping[str, Any], rows: int, module: nn.Module, sample: Iterable[Tensor]
) -> str:
    """What tells whether a checkpoint is of the same training.

    Arguments:
        settings: Plain values.
        rows: How many there are.
        module: Its weights' names and shapes count, their values do not.
        sample: Some of the data.
    """
    shapes = {name: list(t.shape) for name, t in module.state_dict().items()}
    text = json.dumps([settings, rows, shapes], sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for tensor in sample:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_checkpoint(
    path: Path,
    fingerprint: str,
    module: nn.Module,
    best: Weights,
    optimizer: Optimizer,
    state: Mapping[str, Any],
) -> None:
    """Save a training, atomically.

    Arguments:
        path: Of the file.
        fingerprint: Of the training.
        module: With its weights now.
        best: Its best weights so far.
        optimizer: Of its parameters.
        state: Where the training stands, as plain values.
    """
    tensors = dict(_tensors(module, best, optimizer))
    write_tensors(path, tensors, {"fingerprint": fingerprint, "state": dict(state)})


def read_checkpoint(path: Path, fingerprint: str) -> tuple[Weights, dict[str, Any]]:
    """The tensors of a checkpoint, for :func:`restore`, and the state.

    Raises:
        FileError: It cannot be read, or is of another training.
    """
    tensors, metadata = read_tensors(path)
    if metadata.get("fingerprint") != fingerprint:
        raise FileError("it belongs to other data or settings")
    state = metadata.get("state")
    if not isinstance(state, dict):
        raise FileError("it does not say where the training stands")
    return tensors, state


def restore(tensors: Weights, module: nn.Module, best: Weights, optimizer: Optimizer) -> Weights:
    """Put weights and moments back in place; the best weights, where those of ``best`` are.

    Raises:
        FileError: They do not fit; nothing was put anywhere.
    """
    kept = _part(tensors, "best/")
    _check("module/", _part(tensors, "module/"), module.state_dict())
    _check("best/", kept, best)
    _check_moments(tensors, module)
    module.load_state_dict(_part(tensors, "module/"))
    kept = {name: tensor.to(best[name].device) for name, tensor in kept.items()}
    for name, parameter in module.named_parameters():
        moments = {
            key: tensors[f"optimizer/{key}/{name}"]
            for key in _MOMENTS
            if f"optimizer/{key}/{name}" in tensors
        }
        if moments:
            optimizer.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device)
                for key, value in moments.items()
            }
    return kept


def _check(what: str, found: Weights, expected: Weights) -> None:
    """Refuse weights of another architecture."""
    shapes = [{n: (tuple(t.shape), t.dtype) for n, t in w.items()} for w in (found, expected)]
    for name in sorted(shapes[0].keys() | shapes[1].keys()):
        one, other = shapes[0].get(name, "missing"), shapes[1].get(name, "nothing")
        if one != other:
            raise FileError(f"{what}{name} is {one}; expected {other}")


def _check_moments(tensors: Weights, module: nn.Module) -> None:
    """Refuse moments that are not those of the parameters: all of each, or none."""
    for name, parameter in module.named_parameters():
        found = {key: tensors.get(f"optimizer/{key}/{name}") for key in _MOMENTS}
        there = {key: moment for key, moment in found.items() if moment is not None}
        shapes = {key: () if key == "step" else tuple(parameter.shape) for key in _MOMENTS}
        if there and {key: tuple(t.shape) for key, t in there.items()} != shapes:
            raise FileError(f"optimizer/…/{name} does not fit the parameter")


def _tensors(
    module: nn.Module, best: Weights, optimizer: Optimizer
) -> Iterator[tuple[str, Tensor]]:
    for prefix, weights in (("module", module.state_dict()), ("best", best)):
        yield from ((f"{prefix}/{name}", tensor) for name, tensor in weights.items())
    for name, parameter in module.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            yield f"optimizer/{key}/{name}", value


def _part(tensors: Weights, prefix: str) -> Weights:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
