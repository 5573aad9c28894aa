"""Continuous-time flows: a density carried by an ordinary differential equation."""
