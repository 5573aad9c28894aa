"""Diffusion: noise is added to events step by step, and a network learns to take it away.

Everything is a function of one number, the negative log signal-to-noise ratio γ, and of one
vector, the velocity v; see :mod:`~hepgen.surrogates.diffusion.log_snr` and
:mod:`~hepgen.surrogates.diffusion.prediction`.
"""
