"""Events that another program made, from a file, in the place of the first stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from hepgen.errors import SimulationError
from hepgen.simulators.stage import Stage, State
from hepgen.simulators.unknown import columns


@runtime_checkable
class EventSource(Protocol):
    """A file of events, as :func:`hepgen.io.event_files.open_events` opens it."""

    @property
    def prefix(self) -> str:
        """``Parton`` or ``Particle``: what the columns of its particles begin with."""
        ...

    @property
    def weights(self) -> Mapping[str, list[str]]:
        """Columns of weights beside the nominal one, each with the names of its entries."""
        ...

    def __len__(self) -> int:
        """How many events it has."""
        ...

    def read(self, start: int, stop: int) -> Mapping[str, Any]:
        """Events by number, by column: flat and jagged arrays."""
        ...

    def cross_section(self) -> float | None:
        """σ in pb as the file gives it, at the events that were read last."""
        ...


class FileEvents(Stage):
    """Events of a file, each once, in their order: block k takes its own part of it.

    The columns are ``Parton_*`` or ``Particle_*`` (px, py, pz, e in GeV, and id, the PDG
    number), shape ``(G, E, K)``, with their counter; ``hard_flavour``, the absolute PDG number
    of the first outgoing quark (0 where there is none); and ``weight``. A block that reaches
    over the end of the file is filled up with events of weight 0, which a campaign cuts away.

    Arguments:
        source: The file.
    """

    name = "events"
    has_density = False

    def __init__(self, source: EventSource) -> None:
        self.source = source
        self.available = len(source)
        p = source.prefix
        self.outputs = dict.fromkeys(source.weights, ("", "event weight"))
        self.provides = (
            f"{p}_px", f"{p}_py", f"{p}_pz", f"{p}_e", f"{p}_id", f"n{p}",
            "hard_flavour", "weight", *source.weights,
        )  # fmt: skip

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Take the events of the block."""
        shape = state["event"].shape
        first, n = int(state["event"][0, 0]), shape.numel()
        missing = max(first + n - len(self.source), 0)
        if missing >= n:
            raise SimulationError(
                f"events from number {first} on are asked for, of a file that has "
                f"{len(self.source)}; each is used once"
            )
        found = self.source.read(first, first + n - missing)
        # Numbers of events are filled up with repetitions, which have no weight.
        index = np.arange(n) % (n - missing)
        new = columns({name: column[index] for name, column in found.items()}, shape)
        real = torch.arange(n).reshape(shape) < n - missing
        return state | new | {"weight": new["weight"] * real}

    def notes(self) -> dict[str, Any]:
        """σ as the file gives it, and the names of the weights."""
        sigma = self.source.cross_section()
        known = {} if sigma is None else {"cross_section_pb": sigma}
        return known | {name: list(names) for name, names in self.source.weights.items()}


class TrueMuons(Stage):
    """The hardest μ⁻ and μ⁺ among an event's particles, as a muon detector expects them.

    A muon that is not there has pT = 0. Deterministic.

    Arguments:
        prefix: Of the particles' columns: ``Parton`` or ``Particle``.
    """

    name = "true_muons"
    provides = ("muon_pt", "muon_eta", "muon_phi")

    def __init__(self, prefix: str = "Particle") -> None:
        self.prefix = prefix
        self.requires = tuple(f"{prefix}_{c}" for c in ("px", "py", "pz", "id"))

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Add pT, η and φ of both, shape ``(G, E, 2)``, the μ⁻ first."""
        px, py, pz, identity = (state[name] for name in self.requires)
        pt = torch.hypot(px, py)
        eta = torch.asinh(pz / pt.clamp_min(1e-12))
        phi = torch.atan2(py, px)
        muons = []
        for wanted in (13, -13):
            best, index = torch.where(identity == wanted, pt, 0.0).max(-1, keepdim=True)
            there = best > 0
            muons.append([best] + [torch.where(there, c.gather(-1, index), 0) for c in (eta, phi)])
        return state | {
            name: torch.cat([muon[i] for muon in muons], -1) for i, name in enumerate(self.provides)
        }
