"""The named chains."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from hepgen.errors import WorkflowError, nearest
from hepgen.simulators.chain import Chain
from hepgen.simulators.detector import MuonDetector
from hepgen.simulators.parton import DrellYan
from hepgen.simulators.reconstruction import DIMUON_COLUMNS, MUON_COLUMNS, DimuonReconstruction
from hepgen.simulators.shower import FinalStateRadiation, InitialStateRecoil


def zmumu(
    sqrt_s: float = 7000.0,
    generated_mass: tuple[float, float] = (50.0, 150.0),
    running_width: bool = True,
    photon_x_min: float = 1e-5,
    charge_flip: float = 1e-4,
    pt_min: float = 20.0,
    eta_max: float = 2.1,
    mass: tuple[float, float] = (60.0, 120.0),
) -> Chain:
    """p p → γ*/Z → μ⁺μ⁻ through recoil, photon radiation and a muon detector.

    Arguments:
        sqrt_s: GeV.
        generated_mass: Range of the mass before radiation, GeV.
        running_width: m_Z as the world average defines it, with a width that runs with s.
        photon_x_min: The smallest photon energy fraction.
        charge_flip: Probability to mistake a charge.
        pt_min: GeV, of both muons.
        eta_max: |η| of both muons.
        mass: Selected range of the pair's mass, GeV.
    """
    stages = [
        DrellYan(sqrt_s, generated_mass, running_width),
        InitialStateRecoil(),
        FinalStateRadiation(photon_x_min),
        MuonDetector(charge_flip),
        DimuonReconstruction(pt_min, eta_max, mass),
    ]
    return Chain(stages, observables=(*MUON_COLUMNS, *DIMUON_COLUMNS), name="zmumu")


PROCESSES: dict[str, Callable[..., Chain]] = {"zmumu": zmumu}


def process(name: str, **options: Any) -> Chain:
    """The chain called ``name``.

    >>> process("zmumu").parameters.names[:3]
    ('m_z', 'gamma_z', 'sin2_theta_w')
    """
    if name not in PROCESSES:
        raise WorkflowError(f"no process {name!r}; {nearest(name, PROCESSES)}")
    known = inspect.signature(PROCESSES[name]).parameters
    for option, value in options.items():
        if option not in known:
            raise WorkflowError(f"process {name!r}: no option {option!r}; {nearest(option, known)}")
        if expected := _fault(value, known[option].default):
            raise WorkflowError(f"process {name!r}: {option} = {value!r}; expected {expected}")
    chain = PROCESSES[name](**{option: _plain(value) for option, value in options.items()})
    chain.options = options
    return chain


def _fault(value: Any, default: Any) -> str:
    """What was expected, where a value is not of the kind of the default; else nothing."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, tuple):
        pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_number, value))
        return "" if pair and value[0] < value[1] else "two numbers, the smaller first"
    return "" if _number(value) else "a number"


def _plain(value: Any) -> Any:
    """As annotated: a file has lists for tuples, and whole numbers where any will do."""
    if isinstance(value, (list, tuple)):
        return tuple(map(float, value))
    return value if isinstance(value, bool) else float(value)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
