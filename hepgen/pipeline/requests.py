"""Requests: from the words of a command line to the objects of the pipeline."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hepgen.errors import InputError, ParameterError
from hepgen.pipeline.session import Session
from hepgen.simulators.campaign import Campaign, held


def simulation_campaign(
    session: Session,
    *,
    events: str,
    theta: Sequence[str],
    seed: int | None = None,
    points: int | None = None,
    latents: bool = False,
    keep_all: bool = False,
    augment: bool = False,
) -> Campaign:
    """The campaign that ``hepgen simulate`` runs.

    Arguments:
        session: The workflow.
        events: How many to generate, e.g. ``1e6``.
        theta: ``prior``, ``default``, or ``name=value`` entries: with ``prior`` among them the
            others are drawn, else they stay at their defaults.
        seed: By default the workflow's.
        points: Events at each parameter point.
        latents, keep_all: See :class:`~hepgen.simulators.campaign.Campaign`.
        augment: Keep the joint scores and log-ratios that the workflow's ``[augment]`` names.
    """
    words = [part.strip() for text in theta for part in text.split(",") if part.strip()]
    _refuse_contradictions(words)
    fixed = dict(_assignment(session, w) for w in words if w not in ("prior", "default"))
    constant = held(session.parameters, fixed, "prior" in words)
    entry = session.workflow.simulation
    return Campaign(
        session.chain, session.parameters, count(events),
        entry.seed if seed is None else seed, fixed=fixed, prior="prior" in words,
        points=entry.events_per_point if points is None else points, block_size=entry.block_size,
        latents=latents, keep_all=keep_all,
        scores=session.augmented(constant) if augment else (),
        ratios=session.other_points(constant) if augment else {},
    )  # fmt: skip


def count(text: str) -> int:
    """A number of events: a whole number, also as 1e6.

    >>> count("1e6"), count("250_000")
    (1000000, 250000)
    """
    try:
        number = float(text.replace("_", ""))
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 1 and number.is_integer()):
        raise InputError(f"-n {text!r}: expected a whole number of events, e.g. 100000 or 1e6")
    return int(number)


def _refuse_contradictions(words: Sequence[str]) -> None:
    if {"prior", "default"} <= set(words):
        raise InputError("--theta prior and default contradict each other; expected one of them")
    names = [word.partition("=")[0].strip() for word in words]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--theta: {name!r} is there more than once; expected it once")


def _assignment(session: Session, text: str) -> tuple[str, float]:
    name, separator, value = text.partition("=")
    if not separator:
        raise InputError(f"--theta {text!r}: expected prior, default, or name=value")
    parameter = session.parameters[name.strip()]
    try:
        number = float(value)
    except ValueError:
        raise ParameterError(f"--theta {text!r}: {value!r} is not a number") from None
    parameter.check_prior(number)
    return parameter.name, number
