"""Pythia 8 as stages, which can be sampled, with a density that is not known."""

from __future__ import annotations

from hepgen.simulators.pythia.dimuons import COLUMNS, PythiaDimuons
from hepgen.simulators.pythia.generator import Generator
from hepgen.simulators.pythia.particles import PythiaParticles

__all__ = ["COLUMNS", "Generator", "PythiaDimuons", "PythiaParticles"]
