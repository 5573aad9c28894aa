"""Likelihoods of data that a test gives: one that draws others from them is wrong."""

from __future__ import annotations

from torch import Tensor

from hepgen.inference.likelihood import DataSets, Likelihood


class GivenData(Likelihood):
    """Whose pseudo-data nobody asks for."""

    def generate(self, theta: Tensor, seed: int) -> DataSets:
        raise AssertionError(f"pseudo-data of seed {seed} at {theta.tolist()} in a test of none")

    def asimov(self, theta: Tensor) -> DataSets:
        raise AssertionError(f"Asimov data at {theta.tolist()} in a test of none")
