"""A density that is not known: events that were made elsewhere, as sites of a chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import awkward as ak
import numpy as np
import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from hepgen.errors import SimulationError
from hepgen.simulators.distributions import Padded
from hepgen.simulators.stage import State


class Unknown(TorchDistribution):  # type: ignore[misc]
    """The distribution of values that a generator drew: here they are, their density is not known.

    Arguments:
        value: Shape ``(*batch,)``, or ``(*batch, K)`` where an event has K numbers.
        event_dim: 1 where it has.

    >>> Unknown(torch.tensor([1.0, 2.0])).sample()
    tensor([1., 2.])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own type)
    support = constraints.real

    def __init__(self, value: Tensor, event_dim: int = 0) -> None:
        self.value = value
        split = value.dim() - event_dim
        super().__init__(value.shape[:split], value.shape[split:], validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Unknown:
        """Itself: it already has the whole batch."""
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(f"events of batch {self.batch_shape} cannot become {batch_shape}")
        return self

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """The values."""
        if tuple(sample_shape):
            raise ValueError(f"sample_shape {sample_shape}: events are drawn once a trace")
        return self.value

    def log_prob(self, value: Tensor) -> Tensor:
        """Not known: an error that says so."""
        raise SimulationError(
            f"the density of these {len(value)} values is not known: they come from a generator"
        )


def columns(events: Mapping[str, Any], shape: Sequence[int]) -> State:
    """Columns of G·E events as tensors: flat ones ``(G, E)``, jagged ones ``(G, E, K)`` padded.

    A jagged column ``Prefix_name`` comes with its counter ``nPrefix``.

    >>> columns({"Jet_pt": ak.Array([[50.0, 30.0], []])}, (1, 2))["nJet"]
    tensor([[2, 0]])
    """
    state: State = {}
    for name, column in events.items():
        array = ak.Array(column)
        if array.ndim == 1:
            state[name] = torch.from_numpy(np.array(array)).reshape(*shape)
            continue
        count = np.asarray(ak.num(array))
        width = max(int(count.max(initial=0)), 1)
        full = ak.fill_none(ak.pad_none(array, width, clip=True), 0)
        state[name] = torch.from_numpy(np.array(full)).reshape(*shape, width)
        if isinstance(array.type.content, ak.types.ListType):
            state["n" + name.split("_")[0]] = torch.from_numpy(count).reshape(*shape)
    return state


def given(prefix: str, state: State) -> None:
    """Register columns as sites called ``prefix_name``, so that they are kept as latents."""
    for name, value in state.items():
        count = state.get("n" + name.split("_")[0])
        if value.dim() == 2:
            pyro.sample(f"{prefix}_{name}", Unknown(value))
        elif count is None:
            pyro.sample(f"{prefix}_{name}", Unknown(value, event_dim=1))
        else:
            mask = torch.arange(value.shape[-1]) < count[..., None]
            pyro.sample(f"{prefix}_{name}", Padded(Unknown(value[mask]), mask))
