"""Surrogates: conditional densities that stand in for a part of a chain."""
