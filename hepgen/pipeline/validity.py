"""Validity: whether a data set, and a fit to it, allow for a statement at all.

What no number could be right for is refused, with the reason. What makes a number doubtful is a
check that fails, with the reason as its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from hepgen.errors import ParameterError, WorkflowError
from hepgen.inference.identification import flat_directions
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.posterior import PosteriorSample
from hepgen.inference.statistics.fit import Fit, fit
from hepgen.inference.validity import check_positive, check_support, effective_events
from hepgen.pipeline.analysis import Analysis
from hepgen.pipeline.bounds import bound_check
from hepgen.pipeline.estimators import estimator
from hepgen.pipeline.interest import interest
from hepgen.pipeline.likelihoods import condensed, first_likelihood, likelihood_of, number_of
from hepgen.pipeline.rates import event_rate, rate_checks
from hepgen.pipeline.session import Session
from hepgen.results import Check


def data_checks(
    session: Session,
    x: Tensor,
    weight: Tensor | None,
    methods: Sequence[str],
    headline: str,
) -> list[Check]:
    """Before anything is inferred from events of shape ``(N, d)``.

    Arguments:
        session: The workflow.
        x, weight: The data.
        methods: The estimators of the result.
        headline: That which comes first.

    Raises:
        DataError: An event is outside of the support of the model.
        WorkflowError: A rate is asked for that the process or the headline does not know.
    """
    if event_rate(session) is not None and estimator(headline).amortised:
        raise WorkflowError(
            f"inference.luminosity: the number of events counts, and {headline!r} knows nothing of "
            "it: use a method with a likelihood, e.g. --method nle, or remove the luminosity"
        )
    if session.workflow.variations and headline == "npe":
        raise WorkflowError(
            "variations: 'npe' learns from the chain, which knows nothing of them: use a method "
            "with a likelihood, e.g. --method nle, or remove them"
        )
    method = first_likelihood(session, methods, headline)
    if method is None:
        return []
    number = number_of(x, weight)
    likelihood = likelihood_of(session, number, method)
    data = likelihood.encode([x], [weight])
    check_support(likelihood, data)
    checks = rate_checks(session, number)
    if weight is not None:
        checks += effective_events(likelihood, data, session.workflow.checks.effective_events)
    return checks


def fit_checks(
    session: Session,
    x: Tensor,
    weight: Tensor | None,
    samples: Mapping[str, PosteriorSample],
    headline: str,
) -> list[Check]:
    """The best fit to the data: does it converge, inside of the bounds, with all directions fixed?

    Raises:
        DataError: The density is not positive at the best fit.
        ParameterError: Nothing fixes a direction, and a statement is asked for that needs it.
    """
    method = first_likelihood(session, samples, headline)
    if method is None:
        return []
    likelihood = likelihood_of(session, number_of(x, weight), method)
    small = condensed(session, likelihood, x)
    data = small.encode([x], [weight])
    start = samples[headline].theta.double().mean(0)
    best = fit(small, data, start=start)
    check_positive(likelihood, likelihood.encode([x], [weight]), best.theta[0])
    return best_fit_checks(session, small, data, best, start, len(x))


def best_fit_checks(
    session: Analysis, likelihood: Likelihood, data: DataSets, best: Fit, start: Tensor, events: int
) -> list[Check]:
    """As :func:`fit_checks`, of any likelihood.

    Arguments:
        session: What is asked for.
        likelihood, data: Of one data set.
        best: Its best fit.
        start: A point inside of the bounds, shape ``(D,)``.
        events: In the data set.
    """
    checks = [_converged(best), bound_check(session, best)]
    # What nothing fixes drifts to a bound, where a curvature says little: look at the inside.
    inside = bool(best.converged[0]) and not bool(best.at_bound[0].any())
    at = best.theta[0] if inside else start
    found = flat_directions(
        likelihood, data, at, seed=session.workflow.inference.seed, events=events
    )
    words = "; ".join(map(str, found)) or "directions that neither data nor a constraint fix"
    # Noise along nuisance parameters alone is to be known; it moves no parameter of interest.
    severe = [
        one
        for one in found
        if one.simulated is None
        or any(abs(one.components[name]) > 0.1 for name in interest(session))
    ]
    if severe and profiles(session):
        raise ParameterError("; ".join(map(str, severe)))
    warning = bool(found and not severe)
    number = float(len(severe))
    return [*checks, Check("fit: directions", not severe, number, 0, words, warning=warning)]


def profiles(session: Analysis) -> bool:
    """Whether statements are asked for that maximise the likelihood."""
    entry = session.workflow.statements
    return (
        entry.intervals != ["posterior"]
        or entry.asimov
        or (entry.limit is not None and entry.scan is None)
    )


def _converged(best: Fit) -> Check:
    status = best.status[0]
    good = status == "converged"
    meaning = "distance of the best fit from the maximum, in log L" if good else status
    return Check("fit: convergence", good, float(best.distance[0]), 0, meaning)
