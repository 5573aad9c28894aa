"""A loop that stays one in an exported graph: its body is there once, however often it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

State = TypeVar("State", bound="tuple[Tensor, ...]")


def repeated(stage: Callable[[State, Tensor], State], state: State, rows: Tensor) -> State:
    """The state after a stage for each row.

    Arguments:
        stage: Of plain tensor operations; what it gives is not what it was given, nor a view of it.
        state: Where it starts; the shapes and dtypes stay.
        rows: Shape ``(N, R)``.
    """
    if torch.compiler.is_compiling():
        return _scanned(stage, state, rows)
    for row in rows:
        state = stage(state, row)
    return state


def _scanned(stage: Callable[[State, Tensor], State], state: State, rows: Tensor) -> State:
    from torch._higher_order_ops.scan import scan  # there is no public name for it

    # It wants something of each row too, and no result that is another's memory.
    end: State = scan(lambda s, row: (stage(s, row), row.sum()), state, rows)[0]
    return end
