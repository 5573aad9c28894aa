"""The error budget: statistics, nuisance parameters, and the finite simulation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hepgen.inference.ensemble import Ensemble
from hepgen.inference.finite_simulation import FiniteSimulation
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.posterior import PosteriorSample
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
    budgets = tuple(
        _budget(session, name, method, covariance, spread) for name in session.parameters.interest
    )
    limit = session.workflow.checks.simulation
    names = session.parameters.interest if spread is not None else ()
    return budgets, [spread.check(name, limit) for name in names if spread is not None]


def _budget(
    session: Session, name: str, method: str, covariance: Tensor, spread: FiniteSimulation | None
) -> ErrorBudget:
    parameters = session.parameters
    i = parameters.free_names.index(name)
    own = [parameters.free_names.index(n) for n in parameters.interest]
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
