"""Frequentist statements on a likelihood: fits, profiles, tests, limits, toys, coverage."""
