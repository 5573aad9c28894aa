"""Rounds: where one data set is all that matters, events are simulated where its posterior is.

1. Simulate over the prior, train, and sample the posterior of the data.
2. Truncate the prior to the region that holds all but 10⁻⁴ of it: see
   :mod:`hepgen.inference.truncation`. Pseudo-data at draws of the posterior, and of the prior of
   the round, say how wrong the estimator is, by their pulls: the region is so much wider.
3. Simulate there, and train anew on these and on all earlier simulations inside; go to 2.

Each round has a folder in that of the run, with the simulations and the estimator of the round,
whose keys hold its region: what is there is not made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.files import parse_json, write_atomically
from hepgen.inference.posterior import PosteriorSample
from hepgen.inference.sampler import FromChain
from hepgen.inference.truncation import OUTSIDE, Region, at_edges, region_of, widening
from hepgen.parameters import Uniform
from hepgen.pipeline.estimators import estimator
from hepgen.pipeline.posteriors import posterior_samples
from hepgen.pipeline.session import Session
from hepgen.pipeline.train import training_key
from hepgen.pipeline.validate import draw_all, posterior_of
from hepgen.pipeline.validity import data_checks
from hepgen.results import Check, to_json
from hepgen.simulators.chain import stream
from hepgen.store import digest

METHODS = ("nle", "npe", "fmpe", "npse", "nre")
"""Those that learn from simulations over the prior alone."""

_SETS = 20
_SET_EVENTS = 10_000
"""Pseudo-data sets of either kind that say how wrong a posterior is, and the most events of one."""

_EDGE = 0.01
"""The share of draws next to a cut above which the region is taken to cut the posterior."""


@dataclass(frozen=True)
class Rounds:
    """What led to the last estimator.

    Arguments:
        method: The estimator.
        regions: Where the events of each round were simulated; nothing for the whole prior.
        generated: How many events in each.
        shrunk: By how much each truncated parameter's range is narrower than its prior.
    """

    method: str
    regions: tuple[Region, ...]
    generated: tuple[int, ...]
    shrunk: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The part of ``result.json``."""
        steps = [
            {"round": r, "events": n, "region": {k: list(v) for k, v in region.items()}}
            for r, (n, region) in enumerate(zip(self.generated, self.regions, strict=True), start=1)
        ]
        return {"method": self.method, "outside": OUTSIDE, "rounds": steps}

    def in_words(self) -> str:
        """For the report."""
        ranges = ", ".join(
            f"{name} from {low:.6g} to {high:.6g} ({self.shrunk[name]:.3g} of its prior)"
            for name, (low, high) in self.regions[-1].items()
        )
        return (
            f"{self.method.upper()} is of {len(self.regions)} rounds, {sum(self.generated)} events "
            f"generated in all, and good for these data alone: the last were simulated with "
            f"{ranges}, which holds all but {OUTSIDE:g} of the posterior before."
        )


def in_rounds(
    session: Session, x: Tensor, weight: Tensor | None, headline: str
) -> tuple[Session, Rounds | None]:
    """The session of the last round for one data set, and what led there.

    Raises:
        WorkflowError: Rounds make no sense with what else is asked for.
    """
    number = session.workflow.inference.rounds
    if number == 1:
        return session, None
    refuse(session, headline)
    sessions = [session]
    for r in range(1, number):
        session.monitor.say(f"round {r} of {number}: {_ranges(sessions[-1].region)}")
        sessions.append(sessions[-1].narrowed(_region(sessions[-1], x, weight, headline)))
    last = sessions[-1]
    session.monitor.say(f"round {number} of {number}: {_ranges(last.region)}")
    priors = {p.name: p.prior for p in session.parameters.free}
    shrunk = {
        name: (high - low) / (prior.high - prior.low)
        for name, (low, high) in last.region.items()
        if (prior := priors[name]) is not None
    }
    generated = tuple(campaign.events for campaign in estimator(headline).campaigns(last))
    return last, Rounds(headline, tuple(one.region for one in sessions), generated, shrunk)


def _region(session: Session, x: Tensor, weight: Tensor | None, method: str) -> Region:
    """That of the next round, from its file where it is known for these data."""
    data = sha256(x.numpy().tobytes())
    data.update(b"" if weight is None else weight.numpy().tobytes())
    entry = session.workflow.inference.model_dump(exclude={"rounds"})
    key = digest(training_key(session, method), data.hexdigest(), entry, OUTSIDE)
    path = session.folder / "region.json"
    if not session.folder.is_current("region", key):
        data_checks(session, x, weight, [method], method)
        found = posterior_samples(session, x, weight, method, [method])[method]
        wider = _widening(session, method, found.theta, len(x))
        region = region_of(session.parameters, found.theta, wider)
        with session.folder.renewed("region", key, [path.name], {}):
            write_atomically(path, to_json(region).encode())
    return {name: (low, high) for name, (low, high) in parse_json(path.read_text()).items()}


def _widening(session: Session, method: str, theta: Tensor, observed: int) -> Tensor:
    """How wrong the posteriors of a round are, shape ``(D,)``.

    By pseudo-data at draws of that of the data, and of the prior of the round: where an estimator
    is wrong, its posterior may be at a place where it is less so.
    """
    seed = stream(session.workflow.inference.seed, "rounds", session.round)
    near = theta[torch.linspace(0, len(theta) - 1, _SETS).long()].double()
    anywhere = session.parameters.prior().sample((_SETS,), torch.Generator().manual_seed(seed))
    points, events = torch.cat([near, anywhere]), min(observed, _SET_EVENTS)
    sampler = FromChain(session.chain, session.parameters, session.feature_names)
    x = sampler.draw(torch.full((len(points),), events), session.parameters.values(points), seed)
    sets, title = torch.split(x, events), f"test round {session.round} on pseudo-data"
    drawn = draw_all(session, posterior_of(session, method), sets, points.numpy(), title)
    draws = torch.stack([torch.from_numpy(one) for one in drawn.draws])
    pulls = (draws.mean(1) - points) / draws.std(1).clamp(min=1e-300)
    both = [widening(part, events, observed) for part in torch.split(pulls, _SETS)]
    return torch.maximum(*both)


def round_checks(
    session: Session, rounds: Rounds | None, sample: PosteriorSample
) -> tuple[Check, ...]:
    """Does the last region hold the posterior, of which an early one may have been wrong?"""
    if rounds is None:
        return ()
    shares = at_edges(session.parameters, rounds.regions[-1], sample.theta)
    words = (
        "share of the draws in the outer 5 % of the range that was simulated in the last round; "
        "more, and a posterior of an earlier round was too narrow, or wrong: simulate more, or "
        "make fewer rounds"
    )
    return tuple(
        Check(f"rounds: {name}", share <= _EDGE, share, _EDGE, words)
        for name, share in shares.items()
    )


def refuse(session: Session, headline: str) -> None:
    """Refuse rounds where they make no sense.

    Raises:
        WorkflowError: With the reason.
    """
    workflow, free = session.workflow, session.parameters.free
    statements, reason = workflow.statements, ""
    if headline not in METHODS:
        reason = (
            f"{headline!r} learns at a reference or from joint scores, not over the prior; use one "
            f"of {', '.join(METHODS)}"
        )
    elif workflow.simulation.files:
        reason = "simulation.files are given, and nothing is simulated that could be anywhere else"
    elif workflow.inference.beside:
        reason = (
            f"inference.beside = {workflow.inference.beside}: each estimator learns from "
            "simulations of its own; make rounds of one at a time"
        )
    elif statements.scan is not None or statements.limit is not None:
        reason = (
            "a limit or a scan asks for data without a signal, which may be outside of the region; "
            "use one round"
        )
    elif "neyman" in statements.intervals:
        reason = (
            "Neyman's construction makes toys, whose best fits may be outside of the region; use "
            "--interval profile, or one round"
        )
    elif workflow.exchange.formats:
        reason = "others use an exported analysis over the whole prior; export it from one round"
    elif not any(isinstance(p.prior, Uniform) for p in free):
        reason = (
            "every free parameter has a Gaussian prior, which is a constraint and is not "
            "truncated; give one a uniform prior, or use one round"
        )
    if reason:
        raise WorkflowError(f"inference.rounds = {workflow.inference.rounds}: {reason}")


def _ranges(region: Region) -> str:
    if not region:
        return "the whole prior"
    return ", ".join(f"{name} in [{a:.6g}, {b:.6g}]" for name, (a, b) in region.items())
