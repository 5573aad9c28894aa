"""Jets: anti-kT and Durham, by FastJet. The only module that imports it.

Cacciari, Salam, Soyez, Eur. Phys. J. C 72 (2012) 1896; anti-kT: the same, JHEP 04 (2008) 063;
Durham: Catani et al., Phys. Lett. B 269 (1991) 432.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import awkward as ak
import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from hepgen.errors import SimulationError, WorkflowError
from hepgen.files import stdout_to_stderr
from hepgen.simulators.coordinates import momenta
from hepgen.simulators.detectors.species import visible
from hepgen.simulators.jagged import padded
from hepgen.simulators.stage import Stage, State

RAW_JETS = ("RawJet_px", "RawJet_py", "RawJet_pz", "RawJet_e", "nRawJet")


@cache
def library() -> Any:
    """FastJet, after its banner went to stderr.

    Raises:
        SimulationError: It is not installed.
    """
    try:
        import fastjet
    except ImportError as error:
        raise SimulationError(
            "jets are clustered by FastJet, which is not installed; run pip install 'hepgen[jets]'"
        ) from error
    # Its banner is written by C++, past sys.stdout, which is for results.
    with stdout_to_stderr():
        one = ak.Array([[{"px": 1.0, "py": 0.0, "pz": 0.0, "E": 1.0}]], with_name="Momentum4D")
        definition = fastjet.JetDefinition(fastjet.antikt_algorithm, 0.4)
        fastjet.ClusterSequence(one, definition).inclusive_jets()
    return fastjet


def antikt(particles: Any, radius: float, pt_min: float) -> tuple[Any, Any]:
    """anti-kT jets of every event, hardest first, recombined by adding four-momenta.

    Arguments:
        particles: Awkward records px, py, pz, E in GeV, ``n * var``.
        radius: R.
        pt_min: GeV.

    Returns:
        Jets of the same kind, and the positions of their constituents, ``n * var * var``.
    """
    fastjet = library()
    sequence = _sequence(particles, fastjet.JetDefinition(fastjet.antikt_algorithm, radius))
    return _hardest_first(
        sequence.inclusive_jets(min_pt=pt_min), sequence.constituent_index(min_pt=pt_min)
    )


def durham(particles: Any, n_jets: int) -> tuple[Any, Any]:
    """The ``n_jets`` Durham jets of every event; none where there are fewer particles.

    Arguments, returns: As for :func:`antikt`.
    """
    fastjet = library()
    enough = ak.num(particles) >= n_jets
    definition = fastjet.JetDefinition0Param(fastjet.ee_kt_algorithm)
    if not ak.any(enough):
        return particles[:, :0], ak.local_index(particles, axis=1)[:, :0]
    with warnings.catch_warnings():
        # FastJet's interface does not know that Durham is exclusive.
        warnings.filterwarnings("ignore", "dcut and exclusive jets", UserWarning)
        sequence = _sequence(particles[enough], definition)
        jets = sequence.exclusive_jets(n_jets=n_jets)
        index = sequence.exclusive_jets_constituent_index(njets=n_jets)
    jets, index = _hardest_first(jets, index)
    return _restored(jets, enough), _restored(index, enough)


def durham_y(particles: Any, n_jets: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    r"""y_{n,n+1}: the Durham distance at which n + 1 jets become ``n_jets``, shape ``(n,)``.

    .. math:: y_{ij} = 2\min(E_i^2, E_j^2)(1 - \cos\theta_{ij}) / E_\mathrm{vis}^2

    Zero where there are no more than ``n_jets`` particles.
    """
    fastjet = library()
    more = ak.to_numpy(ak.num(particles) > n_jets)
    y = np.zeros(len(particles))
    if more.any():
        definition = fastjet.JetDefinition0Param(fastjet.ee_kt_algorithm)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "dcut and exclusive jets", UserWarning)
            y[more] = _sequence(particles[more], definition).exclusive_ymerge(njets=n_jets)
    return y


def _sequence(particles: Any, definition: Any) -> Any:
    # FastJet reads the buffers from their beginning, whatever a slice says (its issue 400).
    return library().ClusterSequence(ak.to_packed(particles), definition)


def _hardest_first(jets: Any, index: Any) -> tuple[Any, Any]:
    order = ak.argsort(np.hypot(jets.px, jets.py), ascending=False, stable=True)
    return jets[order], index[order]


def _restored(lists: Any, where: Any) -> Any:
    """Lists for every event, empty where there was none."""
    counts = np.zeros(len(where), dtype=np.int64)
    counts[ak.to_numpy(where)] = ak.to_numpy(ak.num(lists))
    return ak.unflatten(ak.flatten(lists, axis=1), counts)


def particles(state: State, prefix: str) -> tuple[Any, Tensor]:
    """A collection as awkward records, one list an event, and which entries it has.

    Arguments:
        state: With the columns ``<prefix>_px, _py, _pz, _e, _id``, shape ``(G, E, K)``.
        prefix: ``Flow``, ``Particle``, ``Parton``; neutrinos and padding are left out.
    """
    mask = visible(state[f"{prefix}_id"])
    flat = [_plain(column[mask]) for column in momenta(state, prefix)]
    records = ak.zip(dict(zip(("px", "py", "pz", "E"), flat, strict=True)), with_name="Momentum4D")
    return ak.unflatten(records, _plain(mask.sum(-1).flatten()).astype(np.int64)), mask


def _plain(column: Tensor) -> Any:
    """A column as an array.

    Raises:
        SimulationError: It carries a derivative, which FastJet would lose.
    """
    carried = forward_ad.unpack_dual(column).tangent  # type: ignore[no-untyped-call]
    if column.requires_grad or carried is not None:
        raise SimulationError(
            "the momenta that FastJet clusters depend on a parameter without a site between: "
            "their derivative would be lost, and the score wrong; draw what the parameter moves "
            "with pyro.sample, or leave it out of the scores (augment.parameters)"
        )
    # Inside torch.func's derivatives torch gives no array of any tensor, but its values.
    return np.array(column.tolist())


class JetFinder(Stage):
    """Jets of particle-flow objects, or of particles or partons. A deterministic stage.

    ``RawJet_*`` are four-momenta in GeV, hardest first; ``<source>_jet`` (int64) says for each
    object which jet has it, −1 for none: the constituents. A lepton or a photon is a
    constituent as any other.

    Arguments:
        algorithm: ``antikt``, all jets above ``pt_min``, or ``durham``, ``n_jets`` of them.
        radius: R of anti-kT (the Delphes CMS card: 0.5).
        pt_min: GeV, of anti-kT jets before any correction.
        n_jets: Of Durham.
        source: The prefix of the objects: ``Flow``, ``Particle`` or ``Parton``.
    """

    name = "jets"

    def __init__(
        self,
        algorithm: str = "antikt",
        radius: float = 0.5,
        pt_min: float = 20.0,
        n_jets: int = 2,
        source: str = "Flow",
    ) -> None:
        if algorithm not in ("antikt", "durham"):
            raise WorkflowError(f"jet algorithm {algorithm!r}; expected 'antikt' or 'durham'")
        if not (radius > 0 and pt_min >= 0 and n_jets > 0):
            raise WorkflowError(
                f"jets: radius {radius}, pt_min {pt_min}, n_jets {n_jets}; expected a radius and "
                "a number of jets above 0, and pt_min of at least 0"
            )
        library()
        self.algorithm, self.radius, self.pt_min = algorithm, radius, pt_min
        self.n_jets, self.source = n_jets, source
        self.requires = tuple(f"{source}_{c}" for c in ("px", "py", "pz", "e", "id"))
        self.provides = (*RAW_JETS, f"{source}_jet")

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Cluster every event."""
        events, mask = particles(state, self.source)
        if self.algorithm == "antikt":
            jets, index = antikt(events, self.radius, self.pt_min)
        else:
            jets, index = durham(events, self.n_jets)
        shape = (mask.shape[0], mask.shape[1])
        assigned = {f"{self.source}_jet": _assigned(events, index, mask)}
        return state | dict(zip(RAW_JETS, _columns(jets, shape), strict=True)) | assigned


def _columns(jets: Any, shape: tuple[int, int]) -> tuple[Tensor, ...]:
    """Jets as padded columns, with their number."""
    counts = torch.from_numpy(ak.to_numpy(ak.num(jets)).astype(np.int64))
    row = torch.repeat_interleave(torch.arange(len(counts)), counts)
    if not len(row):
        flat = [torch.zeros(0, dtype=torch.float64)] * 4
    else:
        flat = [_tensor(ak.flatten(jets[c])) for c in ("px", "py", "pz", "E")]
    return padded(row, shape, *flat)


def _assigned(events: Any, index: Any, mask: Tensor) -> Tensor:
    """The number of the jet that has each object, −1 for none, shape ``(G, E, K)``."""
    jet = torch.full((int(mask.sum()),), -1)
    if ak.count(index):
        counts = ak.to_numpy(ak.num(events))
        first = ak.Array(np.cumsum(counts) - counts)
        place = _tensor(ak.flatten(index + first, axis=None))
        jet[place] = _tensor(
            ak.flatten(ak.broadcast_arrays(ak.local_index(index, axis=1), index)[0], axis=None)
        )
    return torch.full(mask.shape, -1).masked_scatter(mask, jet)


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(ak.to_numpy(array)))
