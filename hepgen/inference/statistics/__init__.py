"""Frequentist statements from a likelihood: fits, intervals, limits, coverage."""
