"""The data of each channel of a combination, beside what was inferred from all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hepgen.diagnostics.multiple_testing import PValue, corrected
from hepgen.inference.binned import BinnedLikelihood, BinnedSets
from hepgen.pipeline.channels import Combination, Combined, EventChannel
from hepgen.pipeline.p_values import Tests, tests_of
from hepgen.pipeline.predictive import compare, predict
from hepgen.pipeline.validate import calibrated
from hepgen.results import Check, FeatureComparison

REPLICATIONS = 999
"""Of the counts of a workspace, at most: one at a draw of the posterior."""


@dataclass(frozen=True)
class ChannelTests:
    """What was tested, and what it is seen by.

    Arguments:
        checks: Of the p-values of all channels, corrected for their number.
        tests: Of each channel of events, by its name.
        comparisons: The data beside the prediction, by the name of the channel.
    """

    checks: Sequence[Check]
    tests: Mapping[str, Tests]
    comparisons: Mapping[str, Sequence[FeatureComparison]]


def channel_tests(
    combination: Combination,
    read: Mapping[str, EventChannel],
    combined: Combined,
    theta: Tensor,
) -> ChannelTests:
    """Do the data of each channel follow what was inferred from all of them?

    Arguments:
        combination: What is combined.
        read: The data of the channels of events.
        combined: The likelihood of all.
        theta: Draws of the posterior of all parameters, shape ``(S, D)``.
    """
    own = combined.own(theta)
    tests: dict[str, Tests] = {}
    comparisons: dict[str, Sequence[FeatureComparison]] = {}
    p_values: list[PValue] = []
    for name, channel in read.items():
        session, data = channel.session, (channel.x, channel.weight)
        predictive = predict(session, own[name].numpy())
        calibrations = [calibrated(session, channel.method)]
        tests[name] = tests_of(session, calibrations, channel.observed, data, predictive)
        p_values += [replace(p, name=f"{name}: {p.name}") for p in tests[name].p_values]
        comparisons[name] = compare(session, channel.observed, predictive)
    seed = combination.workflow.inference.seed
    for name, (likelihood, sets) in combination.binned.items():
        p_values.append(goodness_of_counts(name, likelihood, sets, own[name], seed))
        comparisons[name] = list(_counts(likelihood, sets, own[name]))
    checks = corrected(p_values, combination.workflow.checks.p_value)
    return ChannelTests(checks, tests, comparisons)


def goodness_of_counts(
    name: str, likelihood: BinnedLikelihood, sets: BinnedSets, theta: Tensor, seed: int
) -> PValue:
    r"""The deviance of counts among that of replications, one at each draw of the posterior.

    .. math:: D(n, \theta) = 2 \sum_b [\lambda_b - n_b + n_b \ln(n_b / \lambda_b)], \qquad
              p = P[D(n^{rep}, \theta) \ge D(n, \theta)]

    (Gelman, Meng and Stern, Statistica Sinica 6 (1996) 733). The posterior has seen the counts: a
    small p is stronger evidence than it says.

    Arguments:
        name: Of the channel.
        likelihood: Of the workspace.
        sets: Its counts.
        theta: Draws of its own parameters, shape ``(S, D)``.
        seed: Of the replications.
    """
    rows = np.linspace(0, len(theta) - 1, min(len(theta), REPLICATIONS)).astype(int)
    at = theta[rows].double()
    expected = likelihood.expected(at).clamp(min=0)
    again = likelihood.generate(at, seed).counts
    further = _deviance(again, expected) >= _deviance(sets.counts, expected)
    return PValue(
        f"{name}: posterior predictive: counts", (1 + int(further.sum())) / (1 + len(at)),
        "p-value that the counts follow what was inferred from all channels", 1 / (1 + len(at)),
    )  # fmt: skip


def _deviance(counts: Tensor, expected: Tensor) -> Tensor:
    """Shape ``(S,)``."""
    log = torch.where(counts > 0, counts * (counts / expected).log(), 0.0)
    return 2 * (expected - counts + log).sum(-1)


def _counts(
    likelihood: BinnedLikelihood, sets: BinnedSets, theta: Tensor
) -> Iterator[FeatureComparison]:
    """The counts of each channel of a workspace, beside what is expected over the posterior."""
    expected, first = likelihood.expected(theta), 0
    for channel in likelihood.channels:
        bins = slice(first, first + channel.bins)
        first += channel.bins
        yield FeatureComparison(
            channel.name, np.arange(channel.bins + 1, dtype=np.float64),
            observed=sets.counts[0, bins].numpy(), predicted=expected[:, bins].mean(0).numpy(),
            uncertainty=expected[:, bins].std(0).numpy(), in_likelihood=True,
            label=f"Bin of {channel.name}",
        )  # fmt: skip
