"""Modules of torch as ONNX graphs: made, run by onnxruntime, and signed with their manifest."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Distribution

import hepgen
from hepgen.errors import FileError, SurrogateError
from hepgen.results import to_json
from hepgen.surrogates.onnx_kernels import translations

_TALKATIVE = ("torch.onnx", "torch.onnx._internal.exporter._registration", "onnxscript")


class NotAGraphError(SurrogateError):
    """What a family computes is not a graph of tensor operations."""


def to_onnx(
    graph: nn.Module,
    inputs: Sequence[Tensor],
    names: Sequence[str],
    outputs: Sequence[str],
    method: str,
) -> Any:
    """The ONNX model of a module, with a batch of any size.

    Arguments:
        graph: Of tensor operations.
        inputs: An example, two rows at least.
        names, outputs: What inputs and outputs are called.
        method: The family, for what is said where it fails.

    Raises:
        NotAGraphError: It cannot be exported.
    """
    # Two rows: a batch of one would be taken for a constant.
    example = tuple(tensor[:2] for tensor in inputs)
    batch = torch.export.Dim("batch")
    try:
        with _quiet(), _unvalidated():
            program = torch.onnx.export(
                graph.eval(), example, dynamo=True, input_names=names[: len(inputs)],
                output_names=list(outputs), dynamic_shapes=tuple({0: batch} for _ in inputs),
                external_data=False, verbose=False, custom_translation_table=translations(),
            )  # fmt: skip
    except Exception as error:  # whatever torch's compiler stumbles over
        raise NotAGraphError(
            f"the {type(graph).__name__.removesuffix('Graph').lower()} of {method} "
            f"cannot be exported ({_reason(error)}); export a flow (--method coupling or flow), or "
            "the sampler alone (--sampler-only) where only the density fails"
        ) from error
    assert program is not None
    proto = program.model_proto
    fixed = [v.name for v in proto.graph.input if not v.type.tensor_type.shape.dim[0].dim_param]
    if fixed or len(proto.graph.input) != len(inputs):
        raise NotAGraphError(
            f"{method} cannot be exported: in its graph the number of events became a "
            f"constant ({', '.join(fixed) or 'an input is not used'}); its code must take it from "
            "tensor.shape[0], never from len(tensor)"
        )
    _forget_sources(proto.graph)
    return proto


def run(proto: Any, arrays: Sequence[NDArray[Any]], batches: Sequence[int]) -> NDArray[np.float64]:
    """What onnxruntime makes of arrays of as many rows as the batches have in all, in one piece.

    Of a graph with several outputs, the first.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [entry.name for entry in session.get_inputs()]
    edges = np.cumsum(batches)[:-1]
    parts = zip(*(np.split(array, edges) for array in arrays), strict=True)
    return np.concatenate([session.run(None, dict(zip(names, p, strict=True)))[0] for p in parts])


def described(value: Any) -> dict[str, Any]:
    """Name, type and shape of an input or output, for a manifest."""
    from onnx import TensorProto

    kind = value.type.tensor_type
    shape = [axis.dim_param or axis.dim_value for axis in kind.shape.dim]
    names = {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64", TensorProto.BOOL: "bool"}
    dtype = names[kind.elem_type]
    return {"name": value.name, "dtype": dtype, "shape": shape}


def signed(proto: Any, manifest: dict[str, Any]) -> bytes:
    """The bytes of a graph that carries the manifest."""
    proto.producer_name, proto.producer_version = "hepgen", hepgen.__version__
    entry = proto.metadata_props.add()
    entry.key, entry.value = "hepgen", json.dumps(json.loads(to_json(manifest)))
    content: bytes = proto.SerializeToString()
    return content


def need_packages() -> None:
    """Raise a SurrogateError that names what is not installed."""
    missing = [n for n in ("onnx", "onnxscript", "onnxruntime") if util.find_spec(n) is None]
    if missing:
        raise SurrogateError(
            f"export needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed; pip install 'hepgen[onnx]'"
        )


def refuse_existing(folder: Path, files: Sequence[str], overwrite: bool) -> None:
    """Raise a FileError where one of the files is in the folder already, unless it may go."""
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder} is a file; expected the name of a folder for the export")
    there = [name for name in files if (folder / name).exists()]
    if there and not overwrite:
        raise FileError(
            f"{folder} has {there[0]} already; choose another folder, or give --force to replace "
            "the export"
        )


def _forget_sources(graph: Any) -> None:
    """Take out what torch notes of each node: most of a file, and the paths of this machine."""
    for node in graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _forget_sources(attribute.g)
    for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
        value.ClearField("metadata_props")


def _reason(error: BaseException) -> str:
    """The first line of what went wrong, not of where it was noticed."""
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines() or [repr(cause)]
    return f"{type(cause).__name__}: {lines[0]}"


@contextmanager
def _unvalidated() -> Iterator[None]:
    """Without the checks of distributions, which branch on values; Pyro turns them on."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of packages that are not there, and of its own past."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
