"""Functions that onnxruntime has in single precision only, in double by those that it has.

A graph in double precision may hold them all the same: its author writes torch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """From torch's operators to what makes nodes of them, for :func:`torch.onnx.export`."""
    return {
        torch.ops.aten.asinh.default: _asinh,
        torch.ops.aten.softplus.default: _softplus,
    }


def _asinh(x: Any) -> Any:
    """asinh x = sgn x · ln(|x| + √(x² + 1)), whose rounding near 0 is 10⁻¹⁶, if not relative."""
    from onnxscript import opset18 as op

    if not _double(x):
        return op.Asinh(x)
    one = op.CastLike(1.0, x)
    return op.Mul(op.Sign(x), op.Log(op.Add(op.Abs(x), op.Sqrt(op.Add(op.Mul(x, x), one)))))


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:  # noqa: ARG001
    """ln(1 + exp βx)/β = max(x, 0) + ln(1 + exp −|βx|)/β, which overflows nowhere."""
    from onnxscript import opset18 as op

    slope = op.CastLike(beta, x)
    scaled = op.Mul(x, slope)
    if not _double(x):
        return op.Div(op.Softplus(scaled), slope)
    one = op.CastLike(1.0, x)
    correction = op.Log(op.Add(op.Exp(op.Neg(op.Abs(scaled))), one))
    return op.Add(op.Relu(x), op.Div(correction, slope))


def _double(x: Any) -> bool:
    from onnx_ir import DataType

    return bool(x.dtype == DataType.DOUBLE)
