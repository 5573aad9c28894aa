"""Pythia 8 as a stage: p p → γ*/Z → μ⁺μ⁻ with its own parton densities and radiation.

It shares no code with the built-in stages, so it is what they are compared with. It stands
where :class:`~hepgen.simulators.parton.DrellYan`,
:class:`~hepgen.simulators.shower.InitialStateRecoil` and
:class:`~hepgen.simulators.shower.FinalStateRadiation` stand. Its events can be sampled; their
density is not known.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from hepgen.errors import SimulationError, WorkflowError, nearest
from hepgen.simulators.parton import M_Z, SIN2_THETA_W
from hepgen.simulators.stage import Stage, State

Setting = bool | int | float | str

#: Leading order with both radiations: no multiple interactions, no hadrons.
DEFAULTS: dict[str, Setting] = {
    "WeakSingleBoson:ffbar2gmZ": True,
    "23:onMode": False,
    "23:onIfAny": 13,
    "PartonLevel:MPI": False,
    "HadronLevel:all": False,
}
#: What is read from each event, in this order.
COLUMNS = (
    "mass", "y", "pt", "bare_mass",
    "pt_negative", "eta_negative", "phi_negative", "pt_positive", "eta_positive", "phi_positive",
)  # fmt: skip
#: Pythia refuses larger seeds.
LARGEST_SEED = 900_000_000
#: Failures in a row after which Pythia is given up.
PATIENCE = 100

BOSON, MUON = 23, 13

log = logging.getLogger(__name__)


class Generator:
    """One configured Pythia, whose events are read as muon pairs.

    Arguments:
        settings: By Pythia's names, e.g. ``{"Beams:eCM": 7000.0, "PartonLevel:FSR": False}``;
            see the XML manual of Pythia 8.
        seed: 1 to 900,000,000.

    Raises:
        SimulationError: Pythia is not installed, or cannot start with these settings.
        WorkflowError: A setting that Pythia does not know, or a value it does not take.
    """

    def __init__(self, settings: Mapping[str, Setting], seed: int) -> None:
        self.pythia = _module().Pythia("", False)
        #: Events that Pythia gave up, and that were tried again.
        self.failed = 0
        self._read({"Print:quiet": True})
        self._read(settings)
        self._read({"Random:setSeed": True, "Random:seed": seed})
        if not self.pythia.init():
            raise SimulationError(
                f"Pythia cannot start with the settings {dict(settings)}; "
                "its own message is in the standard output"
            )

    def _read(self, settings: Mapping[str, Setting]) -> None:
        for name, value in settings.items():
            if not self.pythia.readString(f"{name} = {_text(value)}", False):
                raise WorkflowError(self._complaint(name, value))

    def _complaint(self, name: str, value: Setting) -> str:
        settings = self.pythia.settings
        maps = (settings.getFlagMap, settings.getModeMap, settings.getParmMap, settings.getWordMap)
        known = [entry.name for get in maps for entry in get("").values()]
        if name.lower() in map(str.lower, known):
            return f"Pythia setting {name!r} does not take the value {value!r}"
        return f"Pythia has no setting {name!r} (or not with the value {value!r}); " + nearest(
            name, known
        )

    def draw(self, n: int) -> NDArray[np.float64]:
        """The next ``n`` events, shape ``(n, len(COLUMNS))``."""
        return np.array([self._next() for _ in range(n)]).reshape(n, len(COLUMNS))

    @property
    def cross_section(self) -> float:
        """Pythia's estimate of σ in pb, from the events so far."""
        return float(self.pythia.infoPython().sigmaGen()) * 1e9

    def _next(self) -> tuple[float, ...]:
        for _ in range(PATIENCE):
            if self.pythia.next():
                return _pair(self.pythia.event)
            self.failed += 1
        raise SimulationError(
            f"Pythia failed {PATIENCE} events in a row; "
            "its own message is in the standard output: check the settings"
        )


def _pair(event: Any) -> tuple[float, ...]:
    """The columns of one event: the boson, and its muons after radiation."""
    first = next(i for i in range(event.size()) if event[i].id() == BOSON)
    boson = event[event[first].iBotCopyId()]
    muons = {event[i].id(): event[event[i].iBotCopyId()] for i in boson.daughterList()}
    negative, positive = muons[MUON], muons[-MUON]
    bare = (negative.p() + positive.p()).mCalc()
    return (
        boson.m(), boson.y(), boson.pT(), bare,
        negative.pT(), negative.eta(), negative.phi(),
        positive.pT(), positive.eta(), positive.phi(),
    )  # fmt: skip


def _text(value: Setting) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return repr(value) if isinstance(value, float) else str(value)


def _module() -> Any:
    try:
        import pythia8mc
    except ImportError as error:
        raise SimulationError(
            "Pythia 8 is not installed; install it with: pip install 'hepgen[pythia]'"
        ) from error
    return pythia8mc


class PythiaDimuons(Stage):
    """Muon pairs from Pythia 8, in the place of parton level and both radiations.

    ``m_z`` is Pythia's ``23:m0``, ``sin2_theta_w`` its ``StandardModel:sin2thetaW``; Γ_Z
    follows from them, 2.504 GeV at the defaults. Pythia's propagator has a width that runs with
    s, s − m_Z² + i sΓ_Z/m_Z, as the world average of m_Z has; in that of the helicity
    amplitudes, where the width is fixed, the same line is at a mass smaller by Γ_Z²/(2m_Z) =
    34 MeV.

    One site, ``pythia``, shape ``(G, E, 10)`` in the order of :data:`COLUMNS`; it has no
    ``log_prob``. Each parameter point starts a Pythia of its own.

    Arguments:
        sqrt_s: GeV.
        window: Range of the generated mass, GeV.
        settings: More settings, by Pythia's names; they win over :data:`DEFAULTS`.
    """

    name = "pythia"
    parameters = (M_Z, SIN2_THETA_W)
    provides = ("mass", "y", "pt", "bare_mass", "muon_pt", "muon_eta", "muon_phi")

    def __init__(
        self,
        sqrt_s: float = 7000.0,
        window: tuple[float, float] = (50.0, 150.0),
        settings: Mapping[str, Setting] | None = None,
    ) -> None:
        beams = {
            "Beams:eCM": sqrt_s,
            "PhaseSpace:mHatMin": window[0],
            "PhaseSpace:mHatMax": window[1],
        }
        self.settings: dict[str, Setting] = {**DEFAULTS, **beams, **(settings or {})}
        #: Events that Pythia gave up, and that were tried again, since the stage was made.
        self.failed = 0

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Generate every event of the block."""
        shape = state["event"].shape
        drawn = pyro.sample("pythia", PythiaPairs(self, shape, parameters))
        columns = dict(zip(COLUMNS, drawn.unbind(-1), strict=True))
        muons = {
            f"muon_{c}": torch.stack(
                [columns.pop(f"{c}_{q}") for q in ("negative", "positive")], -1
            )
            for c in ("pt", "eta", "phi")
        }
        return state | columns | muons

    def generator(self, parameters: Mapping[str, float], seed: int) -> Generator:
        """A Pythia at one parameter point."""
        theory: dict[str, Setting] = {
            "23:m0": parameters["m_z"],
            "StandardModel:sin2thetaW": parameters["sin2_theta_w"],
        }
        return Generator({**self.settings, **theory}, seed)

    def draw(self, parameters: Mapping[str, float], n: int, seed: int) -> NDArray[np.float64]:
        """``n`` events at one parameter point, shape ``(n, len(COLUMNS))``."""
        generator = self.generator(parameters, seed)
        events = generator.draw(n)
        if generator.failed:
            log.info("Pythia gave up %d events of %d and tried again", generator.failed, n)
        self.failed += generator.failed
        return events


class PythiaPairs(TorchDistribution):  # type: ignore[misc]
    """The events of a :class:`PythiaDimuons`: they can be drawn, their density is not known.

    Arguments:
        stage: What to run.
        shape: (G, E): parameter points, events for each.
        parameters: Shape ``(G, 1)`` or ``()``.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own type)
    support = constraints.real_vector

    def __init__(
        self, stage: PythiaDimuons, shape: torch.Size, parameters: Mapping[str, Tensor]
    ) -> None:
        self.stage = stage
        self.theta = {
            p.name: parameters[p.name].expand(shape[0], 1)[:, 0] for p in stage.parameters
        }
        super().__init__(shape, torch.Size([len(COLUMNS)]), validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> PythiaPairs:
        """Itself: it already has the whole batch."""
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(f"events of batch {self.batch_shape} cannot become {batch_shape}")
        return self

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Events of shape ``(G, E, len(COLUMNS))``; each point's seed is drawn from torch."""
        if tuple(sample_shape):
            raise ValueError(f"sample_shape {sample_shape}: events are drawn once a trace")
        groups, n = self.batch_shape
        seeds = torch.randint(1, LARGEST_SEED, (groups,)).tolist()
        blocks = [
            self.stage.draw({name: float(v[g]) for name, v in self.theta.items()}, n, seed)
            for g, seed in enumerate(seeds)
        ]
        return torch.from_numpy(np.stack(blocks))

    def log_prob(self, value: Tensor) -> Tensor:
        """Not known: an error that says so."""
        raise SimulationError(
            f"the density of Pythia's events is not known (site of {len(value)} points): "
            "use the built-in stages, or an estimator that needs samples only"
        )
