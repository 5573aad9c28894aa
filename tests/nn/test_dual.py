"""Dual numbers against autograd's Jacobian."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hepgen.errors import SurrogateError
from hepgen.nn.dual import Dual, divergence
from hepgen.nn.mlp import mlp


def everything(network: nn.Module, x: Any) -> Any:
    """A field that uses every operation there is a rule for."""
    t = torch.full((7, 1), 0.3, dtype=torch.float64)
    first = network(torch.cat([t, x, torch.sin(x[:, :1] * 2)], dim=-1))
    x = torch.clamp(x, -1.2, 0.9)
    waves = torch.cos(x) * torch.tanh(0.5 * x) - torch.relu(x) + torch.exp(-x / 3)
    scale = torch.linspace(1, 2, 3, dtype=torch.float64)
    return scale * first - (1 - torch.sigmoid(x)) + torch.cat([waves, x], 1)[:, :3] - scale


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return mlp(5, 3, (8, 8)).double()


def test_value_and_trace_are_those_of_autograd(network: nn.Module) -> None:
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def summed(x: Tensor) -> Tensor:
        total: Tensor = everything(network, x).sum(0)
        return total

    value, trace = divergence(lambda x: everything(network, x), x)
    torch.testing.assert_close(value, everything(network, x))
    jacobian = torch.autograd.functional.jacobian(summed, x)  # type: ignore[no-untyped-call]
    expected = torch.stack([jacobian[i, :, i] for i in range(3)]).sum(0)
    torch.testing.assert_close(trace[:, 0], expected)


def test_an_operation_without_a_rule_is_named() -> None:
    with pytest.raises(SurrogateError, match=r"no derivative of 'erf'.*known: linear"):
        torch.erf(Dual(torch.zeros(1, 1), torch.zeros(1, 1, 1)))  # type: ignore[arg-type]
