"""What all stages that are Pythia have in common."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import awkward as ak
import torch
from torch import Tensor

from hepgen.simulators.pythia.generator import LARGEST_SEED, Generator, at_work
from hepgen.simulators.pythia.settings import refuse_taken
from hepgen.simulators.stage import Failure, Stage, State
from hepgen.simulators.unknown import columns, given

#: The variations of the parton shower, each relative to the event's weight.
PS_WEIGHT = "PSWeight"

log = logging.getLogger(__name__)


class PythiaStage(Stage):
    """Events of Pythia 8 in the place of built-in stages; its density is not known.

    Each parameter point starts a Pythia of its own, which takes 0.2 s, with a seed from the
    stage's random stream. Pythia's weight is the event's ``weight``; where the settings ask for
    variations (``UncertaintyBands:doVariations``), ``PSWeight`` has them relative to it, and
    :meth:`notes` their names.

    Arguments:
        settings: By Pythia's names.

    Raises:
        WorkflowError: A setting that a parameter sets, or the seed.
    """

    name = "pythia"
    has_density = False
    worth_a_worker = 20_000
    #: The setting that each parameter is.
    meaning: ClassVar[Mapping[str, str]] = {}
    #: The columns that :meth:`read` makes.
    columns: ClassVar[tuple[str, ...]] = ()
    #: Whether the settings may load code.
    allow_code = False

    def __init__(self, settings: Mapping[str, Any]) -> None:
        refuse_taken(settings, self.meaning)
        self.settings: dict[str, Any] = dict(settings)
        self._failures: list[Failure] = []
        self._notes: dict[str, Any] = {}
        if self.settings.get("UncertaintyBands:doVariations") in (True, "on", "true", "yes"):
            self.outputs = {PS_WEIGHT: ("", "weight of a shower variation")}
        self.provides = (*self.columns, "weight", *self.outputs)

    @abstractmethod
    def read(self, events: ak.Array) -> dict[str, Any]:
        """The columns of a batch of Pythia's event records."""

    def state(self, drawn: State) -> State:
        """The stage's columns, from those that were read."""
        return drawn

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Generate every event of the block."""
        groups, n = shape = state["event"].shape
        theta = {p.name: parameters[p.name].expand(groups, 1)[:, 0] for p in self.parameters}
        seeds = torch.randint(1, LARGEST_SEED, (groups,)).tolist()
        parts = [
            self.events({name: float(v[g]) for name, v in theta.items()}, n, seed, g * n)
            for g, seed in enumerate(seeds)
        ]
        drawn = columns({c: ak.concatenate([p[c] for p in parts]) for c in parts[0]}, shape)
        given(self.name, drawn)
        return state | self.state(drawn)

    def generator(self, parameters: Mapping[str, float], seed: int) -> Generator:
        """A Pythia at one parameter point."""
        theory = {setting: parameters[name] for name, setting in self.meaning.items()}
        return Generator({**self.settings, **theory}, seed, self.allow_code)

    def events(
        self, parameters: Mapping[str, float], n: int, seed: int, first: int = 0
    ) -> dict[str, ak.Array]:
        """``n`` events at one parameter point, by column; ``first`` is the index of the first."""
        generator = self.generator(parameters, seed)
        parts = [self._columns(batch) for batch in generator.batches(n)]
        self._keep_ledger(generator, n, first)
        return {c: ak.concatenate([part[c] for part in parts]) for c in parts[0]}

    def _columns(self, events: ak.Array) -> dict[str, Any]:
        with at_work("give events that can be read"):
            return self.read(events) | self._weights(events)

    def _weights(self, events: ak.Array) -> dict[str, Any]:
        weights = ak.to_numpy(ak.to_regular(events["info"]["weights"]))
        nominal = weights[:, :1]
        found = {"weight": weights[:, 0]}
        if PS_WEIGHT in self.outputs:
            found[PS_WEIGHT] = weights[:, 1:] / (nominal + (nominal == 0))
        return found

    def _keep_ledger(self, generator: Generator, n: int, first: int) -> None:
        if generator.failed:
            log.info("Pythia gave up %d events beside %d", len(generator.failed), n)
        self._failures += [Failure(self.name, first + i, why) for i, why in generator.failed]
        self._notes["cross_section_pb"] = generator.cross_section
        if PS_WEIGHT in self.outputs:
            self._notes[PS_WEIGHT] = generator.weight_names

    def failures(self) -> list[Failure]:
        """The events that Pythia gave up since the last call, in its own words."""
        failures, self._failures = self._failures, []
        return failures

    def notes(self) -> dict[str, Any]:
        """σ as Pythia measured it, at the last parameter point, and the names of the weights."""
        notes, self._notes = self._notes, {}
        return notes
