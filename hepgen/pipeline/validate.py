"""Validate: how the trained estimators do on pseudo-data whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.compute import one_thread
from hepgen.diagnostics.calibration import (
    calibration,
    calibration_checks,
    resolved,
    uniformity_p_values,
)
from hepgen.diagnostics.expected_coverage import hpd_levels
from hepgen.diagnostics.multiple_testing import PValue, corrected
from hepgen.errors import SimulationError, WorkflowError
from hepgen.events import Events
from hepgen.files import parse_json, write_atomically
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.npe import NPE
from hepgen.inference.posterior import Posterior
from hepgen.inference.posterior_ensemble import PosteriorEnsemble
from hepgen.pipeline.estimators import beside
from hepgen.pipeline.interest import interest
from hepgen.pipeline.ratios import ratio_p_values, ratio_tests
from hepgen.pipeline.session import Session
from hepgen.pipeline.spread import spread
from hepgen.pipeline.train import trained, training_key
from hepgen.pipeline.training_data import simulated
from hepgen.results import Calibration, Check, to_json
from hepgen.simulators.campaign import Campaign
from hepgen.store import digest

DRAWS = 1000
"""Posterior draws for each pseudo-data set."""
MOST_SETS = 1000
"""Pseudo-data sets that a small threshold on p-values may ask for."""
RECORDED = ("rank", "hpd", "tarp", "drawn", "effective draws")
"""What a calibration keeps of each data set: a file that has less is made again."""
GROUP = 20
"""Data sets drawn at once: progress is shown in between."""


def pseudo_data(session: Session) -> tuple[list[Tensor], NDArray[np.float64]]:
    """M data sets of n selected events, each of shape ``(n, d)``, and their θ, ``(M, D)``."""
    entry, number = session.workflow.calibration, _number_of_sets(session)
    sets: list[Tensor] = []
    truth: list[NDArray[np.float64]] = []
    for events in simulated(
        session, _pseudo_campaign(session), "pseudo-data", "simulate pseudo-data"
    ):
        theta = events.theta(session.parameters.free_names)
        for x, point in zip(_sets(session, events), theta, strict=True):
            if len(x) >= entry.events and len(sets) < number:
                sets.append(x[: entry.events])
                truth.append(point)
    if len(sets) < number:
        raise SimulationError(
            f"only {len(sets)} of {number} pseudo-data sets have {entry.events} selected "
            "events: too few events pass the selection; loosen it, or ask for smaller sets"
        )
    return sets, np.stack(truth)


def _number_of_sets(session: Session) -> int:
    """Those of the calibration, and enough for a p-value of support to fall below its threshold.

    There is a test of each feature, of all jointly, and of the whole set. In the correction for
    all tests of a result these together can have half of the level.
    """
    features = len(session.feature_names)
    tests = features + (features > 1) + 1
    smallest = math.ceil(2 * tests / session.workflow.checks.p_value)
    return max(session.workflow.calibration.sets, min(smallest, MOST_SETS))


def _pseudo_campaign(session: Session) -> Campaign:
    entry = session.workflow.calibration
    # Enough generated events for each set even where one in sixteen is selected.
    per_set = 1 << (16 * entry.events - 1).bit_length()
    return Campaign(
        session.chain,
        session.parameters,
        per_set * (_number_of_sets(session) + 4),
        entry.seed,
        points=per_set,
        block_size=max(per_set, session.workflow.simulation.block_size),
        columns=session.feature_names,
        as_sets=True,
    )


def _sets(session: Session, events: Events) -> Iterator[Tensor]:
    columns = [events[name] for name in session.feature_names]
    for row in range(len(events)):
        arrays = [np.asarray(ak.to_numpy(column[row]), dtype=np.float64) for column in columns]
        yield torch.from_numpy(np.stack(arrays, axis=-1))


def posterior_of(session: Session, method: str) -> Posterior:
    """The posterior that a trained estimator stands for."""
    model = trained(session, method)
    if isinstance(model, NPE | PosteriorEnsemble):
        return model.posterior()
    assert isinstance(model, SetLikelihood)
    chains = session.workflow.inference.chains
    return LikelihoodPosterior(model, method="importance", chains=chains)


@one_thread()
def calibrated(session: Session, method: str) -> Calibration:
    """The calibration of one estimator, done first where it is missing or out of date."""
    entry = session.workflow.calibration
    key = digest(training_key(session, method), entry.model_dump(), RECORDED)
    step, name = f"calibrate {method}", f"calibration-{method}.json"
    if not session.folder.is_current(step, key):
        posterior = posterior_of(session, method)
        sets, truth = pseudo_data(session)
        sets, truth = sets[: entry.sets], truth[: entry.sets]
        title = f"calibrate {method.upper()} on {len(sets)} pseudo-data sets"
        drawn = draw_all(session, posterior, sets, truth, title)
        kept = np.flatnonzero(resolved(drawn.effective))
        if len(kept) < len(sets):
            session.monitor.say(
                f"{len(sets) - len(kept)} of {len(sets)} data sets are left out of the calibration "
                f"of {method.upper()}: their posterior draws are worth {drawn.effective.min():.0f} "
                "independent ones at least, too few for a rank"
            )
        result = calibration(
            [drawn.draws[k] for k in kept], truth[kept], parameters=session.parameters.free_names,
            method=method, source="pseudo-data", events=[len(sets[k]) for k in kept],
            hpd=drawn.hpd[kept], seed=entry.seed,
        )  # fmt: skip
        with session.folder.renewed(step, key, [name], {}):
            write_atomically(session.folder / name, to_json(result, indent=None).encode())
    return Calibration.from_dict(parse_json((session.folder / name).read_text()))


class Drawn(NamedTuple):
    """Posterior draws for each of M data sets.

    Arguments:
        draws: Shape ``(S, D)`` each.
        hpd: The share of them with a higher density than the truth, shape ``(M,)``.
        effective: How many independent ones they are worth, shape ``(M,)``, of the parameter with
            the fewest.
    """

    draws: list[NDArray[np.float64]]
    hpd: NDArray[np.float64]
    effective: NDArray[np.float64]


def draw_all(
    session: Session,
    posterior: Posterior,
    sets: Sequence[Tensor],
    truth: NDArray[np.float64],
    title: str,
) -> Drawn:
    """Posterior draws for each data set, and what of the truth among them a calibration needs."""
    groups = [
        (start, sets[start : start + GROUP], truth[start : start + GROUP])
        for start in range(0, len(sets), GROUP)
    ]
    parts: list[Drawn] = []
    call = _DrawGroup(posterior, session.workflow.calibration.seed)
    with session.monitor.task(title, len(sets), "sets") as update, spread(session) as over:
        for part in over(call, groups):
            parts.append(part)
            update(sum(len(one.draws) for one in parts))
    return Drawn(
        [draws for part in parts for draws in part.draws],
        np.concatenate([part.hpd for part in parts]),
        np.concatenate([part.effective for part in parts]),
    )


@dataclass(frozen=True)
class _DrawGroup:
    """The call for the data sets from a number on, and their truth."""

    posterior: Posterior
    seed: int

    def __call__(self, group: tuple[int, Sequence[Tensor], NDArray[np.float64]]) -> Drawn:
        start, sets, truth = group
        samples = self.posterior.draw_batched(DRAWS, sets, seed=self.seed + start)
        theta = torch.stack([sample.theta for sample in samples])
        both = torch.cat([torch.from_numpy(truth)[:, None], theta], dim=1)
        height = log_densities(self.posterior, sets, both).numpy()
        effective = np.array([min(sample.effective_samples) for sample in samples])
        return Drawn(list(theta.numpy()), hpd_levels(height[:, 0], height[:, 1:]), effective)


@torch.no_grad()
def log_densities(posterior: Posterior, sets: Sequence[Tensor], theta: Tensor) -> Tensor:
    """log p(θ | x) up to a constant of each data set, shape ``(S, K)``, for θ ``(S, K, D)``."""
    if isinstance(posterior, LikelihoodPosterior):
        encoded = posterior.likelihood.encode(sets, [None] * len(sets))
        return posterior.likelihood.log_likelihoods(encoded, theta) + posterior.prior.log_prob(
            theta
        )
    return torch.stack([posterior.log_prob(t, x) for t, x in zip(theta, sets, strict=True)])


def validate(
    session: Session, methods: Sequence[str] | None = None
) -> tuple[list[Calibration], list[Check]]:
    """Calibrate estimators, and check them, with a test of those that are ratios.

    Arguments:
        session: The workflow.
        methods: Which; by default the workflow's method, and those beside it.

    Raises:
        WorkflowError: The workflow has rounds: its estimator is good for one data set.
    """
    rounds = session.workflow.inference.rounds
    if rounds > 1 and not session.earlier:
        raise WorkflowError(
            f"inference.rounds = {rounds}: the estimator of the last round is good for one data "
            "set, and is not calibrated over the whole prior; `hepgen infer` calibrates it inside "
            "of its region, or use --set inference.rounds=1"
        )
    chosen = beside(session) if methods is None else methods
    results = [calibrated(session, method) for method in chosen]
    tests = calibration_p_values(session, results)
    tests += ratio_p_values(ratio_tests(session, chosen))
    return results, [
        *threshold_checks(session, results),
        *corrected(tests, session.workflow.checks.p_value),
    ]


def threshold_checks(session: Session, results: Sequence[Calibration]) -> list[Check]:
    """Coverage and pulls of the parameters of interest, of each calibration."""
    limits = session.workflow.checks
    return [
        check
        for result in results
        for name in interest(session)
        for check in calibration_checks(
            result, name, coverage=limits.coverage, pull_mean=limits.pull_mean,
            pull_width=limits.pull_width,
        )
    ]  # fmt: skip


def calibration_p_values(session: Session, results: Sequence[Calibration]) -> list[PValue]:
    """Ranks, coverage and TARP of each calibration, not corrected."""
    names = interest(session)
    return [p for result in results for p in uniformity_p_values(result, names)]
