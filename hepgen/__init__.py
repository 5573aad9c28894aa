"""Simulation-based inference for particle physics."""

__version__ = "0.1.0"
