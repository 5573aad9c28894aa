"""A sum over chunks of data whose value, gradient and curvature need the memory of one chunk.

Recomputing chunks in a plain backward pass frees the graph of a value, and keeps that of its
gradient where that is to be differentiated again. Here each pass, also the second, runs over the
chunks by itself and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Term = Callable[..., Tensor]
"""f(chunk, *inputs), differentiable twice in the inputs."""


def chunked_sum(term: Term, chunks: Sequence[Any], inputs: Sequence[Tensor]) -> Tensor:
    """Σ f(chunk, *inputs) over the chunks, which can be differentiated twice in the inputs.

    >>> a = torch.tensor(2.0, requires_grad=True)
    >>> total = chunked_sum(lambda chunk, a: chunk * a**3, [1.0, 2.0, 3.0], [a])
    >>> (first,) = torch.autograd.grad(total, a, create_graph=True)
    >>> (second,) = torch.autograd.grad(first, a)
    >>> total.item(), first.item(), second.item()  # 6a³, 18a², 36a
    (48.0, 72.0, 72.0)
    """
    total: Tensor = _Sum.apply(term, chunks, *inputs)  # type: ignore[no-untyped-call]
    return total


class _Sum(Function):
    @staticmethod
    def forward(ctx: Any, term: Term, chunks: Sequence[Any], *inputs: Tensor) -> Tensor:
        ctx.term, ctx.chunks = term, chunks
        ctx.save_for_backward(*inputs)
        return torch.stack([term(chunk, *inputs) for chunk in chunks]).sum(0)

    @staticmethod
    def backward(ctx: Any, *above: Any) -> Any:
        found = _Gradient.apply(ctx.term, ctx.chunks, above[0], *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        return None, None, *found


class _Gradient(Function):
    """(term, chunks, g, *inputs) to Σ g·∂f/∂input of each input."""

    @staticmethod
    def forward(
        ctx: Any, term: Term, chunks: Sequence[Any], above: Tensor, *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.term, ctx.chunks = term, chunks
        ctx.save_for_backward(above, *inputs)
        totals = [torch.zeros_like(one) for one in inputs]
        with torch.enable_grad():
            for chunk in chunks:
                here = [one.detach().requires_grad_(True) for one in inputs]
                value = term(chunk, *here)
                _add(totals, torch.autograd.grad(value, here, above, allow_unused=True))
        return tuple(totals)

    @staticmethod
    def backward(ctx: Any, *along: Any) -> Any:
        tensors = ctx.saved_tensors
        totals = [torch.zeros_like(one) for one in tensors]
        with torch.enable_grad():
            for chunk in ctx.chunks:
                above, *here = (one.detach().requires_grad_(True) for one in tensors)
                value = ctx.term(chunk, *here)
                slopes = torch.autograd.grad(
                    value, here, above, create_graph=True, allow_unused=True
                )
                terms = [(s * v).sum() for s, v in zip(slopes, along, strict=True) if s is not None]
                total = torch.stack(terms).sum()
                _add(totals, torch.autograd.grad(total, (above, *here), allow_unused=True))
        return None, None, *totals


def _add(totals: Sequence[Tensor], parts: Sequence[Tensor | None]) -> None:
    for total, part in zip(totals, parts, strict=True):
        if part is not None:
            total += part
