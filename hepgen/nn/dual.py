"""Derivatives along directions by plain tensor operations, which an exported graph can hold.

A dual number x + Σₖ xₖ εₖ with εᵢεⱼ = 0 carries K derivatives through whatever is computed with
it: f(x + ε v) = f(x) + ε (∂f/∂x) v. torch's own forward mode is faster to write, and no exporter
takes it. A network may use the operations of the table below and no others; in a loop of a graph
it multiplies by 1/y, since torch's compiler takes a dual number over a tensor for the reverse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from hepgen.errors import SurrogateError

Rule = Callable[..., tuple[Tensor, Tensor]]


class Dual:
    """A tensor and its derivatives along K directions.

    Arguments:
        value: Shape ``(B, n)``.
        tangent: Shape ``(K, B, n)``.

    >>> x = Dual(torch.tensor([[2.0]]), torch.ones(1, 1, 1))
    >>> torch.isclose(torch.sin(x * x).tangent, 4 * torch.tensor(4.0).cos()).item()
    True
    """

    def __init__(self, value: Tensor, tangent: Tensor) -> None:
        self.value, self.tangent = value, tangent

    @property
    def shape(self) -> torch.Size:
        """That of the value."""
        return self.value.shape

    @classmethod
    def __torch_function__(
        cls,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        if func not in _RULES:
            name = getattr(func, "__name__", str(func))
            raise SurrogateError(
                f"no derivative of {name!r} that can be exported; known: {', '.join(_NAMED)}"
            )
        return Dual(*_RULES[func](*args, **(kwargs or {})))

    def __add__(self, other: Any) -> Dual:
        return Dual(*_add(self, other))

    def __sub__(self, other: Any) -> Dual:
        return Dual(*_add(self, -other))

    def __rsub__(self, other: Any) -> Dual:
        return Dual(*_add(-self, other))

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.tangent)

    def __mul__(self, other: Any) -> Dual:
        return Dual(*_multiply(self, other))

    def __truediv__(self, other: Any) -> Dual:
        return Dual(*_multiply(self, 1 / other))

    def __getitem__(self, index: Any) -> Dual:
        index = index if isinstance(index, tuple) else (index,)
        return Dual(self.value[index], self.tangent[(slice(None), *index)])

    __radd__, __rmul__ = __add__, __mul__


def divergence(f: Callable[[Any], Any], x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x), shape ``(B, d)``, and tr ∂f/∂x, shape ``(B, 1)``.

    >>> matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> divergence(lambda x: torch.nn.functional.linear(x, matrix), torch.zeros(1, 2))[1]
    tensor([[5.]])
    """
    d = x.shape[-1]
    basis = torch.eye(d, dtype=x.dtype, device=x.device)[:, None].repeat(1, x.shape[0], 1)
    found = f(Dual(x, basis))
    return found.value, found.tangent.diagonal(dim1=0, dim2=2).sum(-1, keepdim=True)


def _parts(x: Any) -> tuple[Any, Any]:
    return (x.value, x.tangent) if isinstance(x, Dual) else (x, None)


def _add(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    (a, da), (b, db) = _parts(x), _parts(y)
    value = a + b
    if da is None or db is None:
        tangent = db if da is None else da
        return value, tangent.expand(tangent.shape[0], *value.shape)
    return value, da + db


def _subtract(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    return _add(x, -y)


def _multiply(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    (a, da), (b, db) = _parts(x), _parts(y)
    left = None if da is None else da * b
    right = None if db is None else a * db
    tangent = right if left is None else left if right is None else left + right
    return a * b, cast("Tensor", tangent)


def _linear(x: Dual, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    value = torch.nn.functional.linear(x.value, weight, bias)
    return value, torch.nn.functional.linear(x.tangent, weight)


def _addmm(shift: Tensor, x: Dual, matrix: Tensor) -> tuple[Tensor, Tensor]:
    return torch.addmm(shift, x.value, matrix), torch.matmul(x.tangent, matrix)


def _cat(parts: Sequence[Any], dim: int = -1) -> tuple[Tensor, Tensor]:
    tangent = next(p.tangent for p in parts if isinstance(p, Dual))
    zeros = [
        p.tangent if isinstance(p, Dual)
        else torch.zeros_like(p).expand(tangent.shape[0], *p.shape) for p in parts
    ]  # fmt: skip
    # A leading axis for the directions: an axis counted from the front is one further.
    return torch.cat([_parts(p)[0] for p in parts], dim), torch.cat(zeros, dim + (dim >= 0))


def _elementwise(f: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor]) -> Rule:
    return lambda x, *_, **__: (f(x.value), slope(x.value) * x.tangent)


def _clamp(x: Dual, low: float, high: float) -> tuple[Tensor, Tensor]:
    inside = (x.value > low) & (x.value < high)
    return torch.clamp(x.value, low, high), torch.where(inside, x.tangent, 0.0)


def _silu_slope(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s))


_NAMED: dict[str, Rule] = {
    "linear": _linear,
    "addmm": _addmm,
    "cat": _cat,
    "clamp": _clamp,
    "add": _add,
    "sub": _subtract,
    "mul": _multiply,
    "silu": _elementwise(torch.nn.functional.silu, _silu_slope),
    "sigmoid": _elementwise(torch.sigmoid, lambda x: torch.sigmoid(x) * torch.sigmoid(-x)),
    "tanh": _elementwise(torch.tanh, lambda x: 1 - torch.tanh(x).square()),
    "relu": _elementwise(torch.relu, lambda x: (x > 0).to(x)),
    "sin": _elementwise(torch.sin, torch.cos),
    "cos": _elementwise(torch.cos, lambda x: -torch.sin(x)),
    "exp": _elementwise(torch.exp, torch.exp),
}

# By what torch calls, which its compiler can look up: it knows no names.
_RULES: dict[Any, Rule] = {
    getattr(place, name): rule
    for name, rule in _NAMED.items()
    for place in (torch, torch.nn.functional, Tensor)
    if hasattr(place, name)
}
