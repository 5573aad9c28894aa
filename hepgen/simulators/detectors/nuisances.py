"""The nuisance parameters of detector and reconstruction, each where its stage is valid.

The muon's are those of :mod:`hepgen.simulators.detector`. A scale is relative: the measured
mean is the true value times 1 + scale. A resolution, an efficiency or a rate is a factor on the
card's.
"""

from __future__ import annotations

from hepgen.parameters import Parameter


def _scale(name: str, label: str) -> Parameter:
    return Parameter(name, 0.0, role="nuisance", label=label, low=-0.2, high=0.2)


def _factor(name: str, label: str, low: float, high: float) -> Parameter:
    return Parameter(name, 1.0, role="nuisance", label=label, low=low, high=high)


#: Of charged hadrons and electrons; a probability saturates at 1.
TRACK_EFFICIENCY = _factor("track_efficiency", r"$r_\mathrm{track\ efficiency}$", 0.0, 1.05)
TRACK_RESOLUTION = _factor("track_resolution", r"$r_\mathrm{track\ resolution}$", 0.05, 20.0)
ECAL_SCALE = _scale("ecal_scale", r"$\delta_\mathrm{ECAL}$")
ECAL_RESOLUTION = _factor("ecal_resolution", r"$r_\mathrm{ECAL}$", 0.05, 5.0)
HCAL_SCALE = _scale("hcal_scale", r"$\delta_\mathrm{HCAL}$")
HCAL_RESOLUTION = _factor("hcal_resolution", r"$r_\mathrm{HCAL}$", 0.05, 5.0)
JET_ENERGY_SCALE = _scale("jet_energy_scale", r"$\delta_\mathrm{JES}$")
#: The relative width that is added to what tracks and towers already have.
JET_ENERGY_RESOLUTION = Parameter(
    "jet_energy_resolution", 0.05, role="nuisance", label=r"$r_\mathrm{JER}$", low=0.005, high=0.5
)
#: Of b and c jets together; of light jets.
BTAG_EFFICIENCY = _factor("btag_efficiency", r"$r_b$", 0.05, 1.3)
MISTAG_RATE = _factor("mistag_rate", r"$r_\mathrm{mistag}$", 0.05, 10.0)
#: A factor on every expected number of events. It is in no event's density, so no stage reads
#: it and it has no score; a rate does: L·σ·ε·luminosity.
LUMINOSITY = _factor("luminosity", r"$r_\mathcal{L}$", 0.5, 1.5)
