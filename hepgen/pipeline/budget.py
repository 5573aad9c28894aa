"""The error budget: statistics, nuisance parameters, and the finite simulation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hepgen.inference.ensemble import Ensemble
from hepgen.inference.finite_simulation import FiniteSimulation
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.posterior import PosteriorSample
from hepgen.pipeline.interest import interest
from hepgen.pipeline.likelihoods import first_likelihood
from hepgen.pipeline.posteriors import data_posterior
from hepgen.pipeline.session import Session
from hepgen.pipeline.train import trained
from hepgen.results import Check
from hepgen.statements import ErrorBudget


def error_budget(
    session: Session,
    x: Tensor,
    weight: Tensor | None,
    samples: Mapping[str, PosteriorSample],
    headline: str,
) -> tuple[tuple[ErrorBudget, ...], list[Check]]:
    """That of each parameter of interest, by the curvature of the posterior at its mode.

    None where no estimator has a likelihood. What the finite simulation adds is known from the
    members of an ensemble only (``members`` of an estimator).
    """
    method = first_likelihood(session, samples, headline)
    if method is None:
        return (), []
    posterior = data_posterior(session, method, x)
    if not isinstance(posterior, LikelihoodPosterior):
        return (), []
    _, covariance = posterior.gaussian(posterior.likelihood.encode([x], [weight]))
    model: Any = trained(session, method)
    spread: FiniteSimulation | None = None
    if isinstance(model, Ensemble):
        spread = model.finite_simulation(x, weight, posterior)
    names = interest(session)
    budgets = tuple(_budget(session, names, name, method, covariance, spread) for name in names)
    limit = session.workflow.checks.simulation
    return budgets, [] if spread is None else [spread.check(name, limit) for name in names]


def _budget(
    session: Session, names: Sequence[str], name: str, method: str, covariance: Tensor,
    spread: FiniteSimulation | None,
) -> ErrorBudget:  # fmt: skip
    parameters = session.parameters
    i = parameters.free_names.index(name)
    own = [parameters.free_names.index(n) for n in names]
    # With the nuisance parameters held, the covariance is the inverse of a part of the precision.
    held = torch.linalg.inv(torch.linalg.inv(covariance)[own][:, own])
    statistical = float(held[own.index(i), own.index(i)])
    simulation, error, trainings = math.nan, math.nan, 1
    if spread is not None:
        simulation, error = float(spread.simulation[i]), float(spread.simulation_error[i])
        trainings = spread.trainings
    return ErrorBudget(
        name, method, math.sqrt(statistical),
        math.sqrt(max(float(covariance[i, i]) - statistical, 0.0)), simulation, error, trainings,
        unit=parameters[name].unit, label=parameters[name].label or "",
    )  # fmt: skip
