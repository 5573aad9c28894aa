r"""Chain: stages in a row, p(x, z | θ) = p(z_p | θ) p(z_s | z_p, θ) … that can be sampled
and whose joint density is known."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor

from hepgen.errors import SimulationError, nearest
from hepgen.events import Events
from hepgen.parameters import Parameter, ParameterSet
from hepgen.simulators.distributions import Padded
from hepgen.simulators.running import reconstruct
from hepgen.simulators.running import run as run_stage
from hepgen.simulators.stage import Failure, Stage, State
from hepgen.simulators.wiring import check_wiring


@dataclass(frozen=True)
class Trace:
    """One simulated block: every site's value and the final state.

    Arguments:
        sites: The latents z and what was measured, by site name, shape ``(G, E[, K])``.
        state: The columns after the last stage.
        masks: Which entries exist, for the sites that are jagged.
        failures: The ledger of events that a stage could not make.
        parameters: θ, at which it was drawn.
        notes: What the stages noted of the events.
    """

    sites: Mapping[str, Tensor]
    state: State
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> torch.Size:
        """(G, E): parameter points, events for each."""
        return next(iter(self.state.values())).shape[:2]


class Chain:
    """Stages in a row, as one sampler with a joint log-density.

    Arguments:
        stages: In order; each finds its columns among those provided before it.
        observables: The columns that a detector would record, each with (unit, label).
        name: Of the process.
        options: What it was made with, as plain values, for provenance.
        image: The shape of the images that the columns ``Cell_*`` are of, if they are.
        import_path: A folder in which worker processes find the modules of its stages.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        observables: Mapping[str, tuple[str, str]] | None = None,
        name: str = "chain",
        options: Mapping[str, Any] | None = None,
        image: tuple[int, int, int] | None = None,
        import_path: str | None = None,
    ) -> None:
        self.stages = tuple(stages)
        self.observables = dict(observables or {})
        self.name = name
        self.options = dict(options or {})
        self.image = image
        self.import_path = import_path
        check_wiring(self.stages)

    @property
    def parameters(self) -> ParameterSet:
        """The parameters of all stages."""
        unique: dict[str, Parameter] = {}
        for stage in self.stages:
            unique |= {p.name: p for p in stage.parameters}
        return ParameterSet(list(unique.values()))

    @property
    def measured(self) -> tuple[str, ...]:
        """The columns from which :meth:`reconstruct` makes the observables of measured events."""
        return tuple(dict.fromkeys(c for stage in self.stages for c in stage.measured))

    @property
    def without_density(self) -> tuple[str, ...]:
        """The stages whose density is not known."""
        return tuple(stage.name for stage in self.stages if not stage.has_density)

    @property
    def available(self) -> int | None:
        """How many events there are, where they come from a file; ``None``: any number."""
        known = [stage.available for stage in self.stages if stage.available is not None]
        return min(known, default=None)

    def simulate(
        self,
        parameters: Mapping[str, Tensor],
        n: int,
        seed: int,
        block: int = 0,
        first: int | None = None,
        observed: Mapping[str, Tensor] | None = None,
    ) -> Trace:
        """Draw ``n`` events for each of G parameter points.

        Each stage has its own random stream, derived from (seed, stage, block): another
        detector sees the same partons. The global generators of torch, NumPy and Python are seeded
        for it, and left as they were.

        Arguments:
            parameters: By name, shape ``(G, 1)`` or ``()``.
            n: Events for each parameter point.
            seed: Of the whole simulation.
            block: Which block of it.
            first: The number of the first event in the whole simulation, where events are
                taken from a file; by default all blocks are of this one's size.
            observed: Values of sites that are held, shape ``(G, n[, K])``, instead of drawn; what
                comes after them is drawn given them.

        Raises:
            ParameterError: A parameter outside the range in which the model is valid.
            SimulationError: A parameter without a value, or with another shape; a stage that
                drew a value that is not finite, or did not return what it provides; an observed
                site that does not exist.
        """
        for stage in self.stages:
            stage.failures()
            stage.notes()
        held = poutine.condition(data=dict(observed or {}))
        points = max((len(value) for value in (observed or {}).values()), default=1)
        with torch.no_grad(), _generators_kept(), poutine.trace() as recorder, held:
            state = self._model(
                parameters, n, lambda name: stream(seed, name, block), points, block, first
            )
        nodes = {name: node for name, node in recorder.trace.nodes.items() if _is_site(node)}
        for name in set(observed or {}) - set(nodes):
            raise SimulationError(f"no site {name!r} to observe; {nearest(name, nodes)}")
        for name, node in nodes.items():
            _refuse_shape(name, node, next(iter(state.values())).shape[:2])
            if not (isinstance(node["fn"], Padded) and node["fn"].known_finite):
                _refuse_non_finite(node["value"], f"drew {name!r} =", node)
        return Trace(
            sites={name: node["value"] for name, node in nodes.items()},
            state=state,
            masks={
                n: node["fn"].mask for n, node in nodes.items() if isinstance(node["fn"], Padded)
            },
            failures=tuple(failure for stage in self.stages for failure in stage.failures()),
            parameters=dict(parameters),
            notes={name: v for stage in self.stages for name, v in stage.notes().items()},
        )

    def reconstruct(self, events: Events) -> Events:
        """Measured events with what the deterministic stages add to them."""
        for stage in self.stages:
            events = reconstruct(stage, events)
        return events

    def log_prob(self, trace: Trace, parameters: Mapping[str, Tensor]) -> Tensor:
        """log p(x, z | θ) of each event, shape ``(G, E)``; differentiable in θ.

        It is −∞ where θ cannot make the event.

        Raises:
            SimulationError: A stage's density is NaN or +∞.
        """
        return torch.stack(list(self.log_prob_terms(trace, parameters).values())).sum(0)

    def log_prob_terms(self, trace: Trace, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The term of each site in log p(x, z | θ), shape ``(G, E)`` each."""
        self._check_parameters(parameters)
        state: State = {}
        terms: dict[str, Tensor] = {}
        impossible = torch.zeros(trace.shape, dtype=torch.bool)
        for stage in self.stages:
            own, state = self.replay(stage, state, trace, parameters, impossible)
            terms |= own
        return terms

    def replay(
        self,
        stage: Stage,
        state: State,
        trace: Trace,
        parameters: Mapping[str, Tensor],
        impossible: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], State]:
        """One stage with its sites fixed: their terms in log p(x, z | θ), and the state after it.

        Arguments:
            stage: One of the chain's.
            state: The columns that it requires.
            trace: Has the values of its sites.
            parameters: θ.
            impossible: Events of density zero so far, shape ``(G, E)``; those of this stage are
                added. What follows them has no meaning, and may be NaN.
        """
        if not stage.has_density:
            raise SimulationError(
                f"the density of stage {stage.name!r} is not known: its events can only be "
                "sampled; use the built-in stages, or an estimator that needs samples only"
            )
        replayed = poutine.trace(poutine.condition(run_stage, data=dict(trace.sites)))
        start: State = {"event": torch.zeros(trace.shape), **state}
        with _generators_kept(), _plates(*trace.shape):
            nodes = replayed.get_trace(stage, start, parameters).nodes
        terms = {}
        lost = torch.zeros(trace.shape, dtype=torch.bool) if impossible is None else impossible
        for name, node in nodes.items():
            if _is_site(node):
                term = node["fn"].log_prob(node["value"]).expand(trace.shape)
                if bool(lost.any()):
                    term = torch.where(lost, -torch.inf, term)
                _refuse_non_finite(term, f"has log p({name}) =", node, minus_infinity=True)
                lost |= torch.isneginf(term.detach())
                terms[name] = term
        return terms, nodes["_RETURN"]["value"]

    def _model(
        self,
        parameters: Mapping[str, Tensor],
        n: int,
        seed_of: Callable[[str], int],
        points: int = 1,
        block: int = 0,
        first: int | None = None,
    ) -> State:
        self._check_parameters(parameters)
        groups = max([points, *(p.shape[0] for p in parameters.values() if p.dim() > 0)])
        numbers = torch.arange(groups * n, dtype=torch.float64).reshape(groups, n)
        state: State = {"event": numbers + (block * groups * n if first is None else first)}
        with _plates(groups, n):
            for stage in self.stages:
                _seed_generators(seed_of(stage.name))
                state = run_stage(stage, state, parameters)
        del state["event"]
        return state

    def _check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        missing = [name for name in self.parameters.names if name not in parameters]
        if missing:
            raise SimulationError(
                f"no value for the parameters {missing} of chain {self.name!r}; "
                "chain.parameters.values() has the defaults"
            )
        for name, value in parameters.items():
            if value.dim() != 0 and value.shape[1:] != (1,):
                raise SimulationError(
                    f"parameter {name!r} has the shape {tuple(value.shape)}; expected () or "
                    "(G, 1), a value for each of G parameter points"
                )
        for parameter in self.parameters:
            for value in (parameters[parameter.name].min(), parameters[parameter.name].max()):
                parameter.check(float(value.detach()))


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Leave the global generators as they were."""
    numpy, python = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(numpy)
        random.setstate(python)


def _seed_generators(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def _plates(groups: int, n: int) -> Iterator[None]:
    with pyro.plate("points", groups, dim=-2), pyro.plate("events", n, dim=-1):
        yield


def _is_site(node: Mapping[str, Any]) -> bool:
    is_plate = type(node.get("fn")).__name__ == "_Subsample"
    return node["type"] == "sample" and not is_plate


def _refuse_shape(name: str, node: Mapping[str, Any], shape: torch.Size) -> None:
    found = node["value"].shape
    if found[:2] != shape or len(found) > 3:
        raise SimulationError(
            f"stage {node['infer'].get('stage', '?')!r} drew {name!r} with the shape "
            f"{tuple(found)}; expected (G, E) or (G, E, K) with G = {shape[0]} parameter points "
            f"and E = {shape[1]} events: K objects are one event of the distribution, "
            ".to_event(1)"
        )


def _refuse_non_finite(
    value: Tensor, what: str, node: Mapping[str, Any], minus_infinity: bool = False
) -> None:
    """Name the stage, the event and the value where one is NaN or infinite."""
    # A sum is finite where all are, and cheaper to look at.
    if bool(value.sum().isfinite()):
        return
    wrong = value.isnan() | (value == torch.inf)
    if not minus_infinity:
        wrong = wrong | (value == -torch.inf)
    if not bool(wrong.any()):
        return
    first = wrong.nonzero()[0].tolist()
    raise SimulationError(
        f"stage {node['infer'].get('stage', '?')!r} {what} {value[tuple(first)].item()} for event "
        f"{first[1] if len(first) > 1 else first[0]} of parameter point {first[0]} "
        f"({int(wrong.sum())} of {value.numel()} values); expected finite ones: check the stage, "
        "and the parameters it is run with"
    )


def stream(seed: int, stage: str, block: int) -> int:
    """A 63-bit seed for one stage of one block."""
    digest = hashlib.blake2b(f"{seed}/{stage}/{block}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
