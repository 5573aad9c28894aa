"""What a chain tells the contract tests of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hepgen.simulators.chain import Chain


@dataclass(frozen=True)
class Case:
    """One chain of the table.

    Arguments:
        chain: The chain.
        point: Values of its parameters away from every edge, where all densities vary with all
            of them.
        moved: For each parameter that has a score, another value, a little away.
        column: A continuous column of the state, drawn by the first stage.
        observed: A column that is compared between runs with many and with one parameter point.
        varied: Three values of some parameters, which move the median of ``observed``.
        scored: Whether the laws of the joint score and ratio are tested: the costly ones.
        events: For those laws.
        sample: Events for the laws that hold event by event.
        kinks: The largest share of events in which the density has a kink within a step of the
            finite difference.
        rate_only: Parameters of the cross-section alone: no event depends on them.
        laws: The parameters for which those laws are tested; all that have a score by default.
    """

    chain: Chain
    point: Mapping[str, float]
    moved: Mapping[str, float]
    column: str
    observed: str
    varied: Mapping[str, Sequence[float]]
    scored: bool = True
    events: int = 100_000
    sample: int = 2_000
    kinks: float = 1e-3
    rate_only: Sequence[str] = ()
    laws: Sequence[str] = ()


def dimuon_case(
    chain: Chain,
    point: Mapping[str, float],
    moved: Mapping[str, float],
    varied: Mapping[str, Sequence[float]],
    scored: bool,
) -> Case:
    """A chain of muon pairs, with those of the values that are of its parameters."""
    own = {name: point[name] for name in chain.parameters.names}
    return Case(
        chain, own, {n: moved[n] for n in own}, "mass",
        "Dimuon_mass" if "Dimuon_mass" in chain.observables else "mass",
        {n: v for n, v in varied.items() if n in own}, scored,
    )  # fmt: skip
