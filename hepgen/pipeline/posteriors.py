"""Posteriors of one data set, by each estimator, and the checks of their draws on one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.grid import compare_with_grid, grid_marginals
from hepgen.inference.likelihood import DataSets
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.posterior import Posterior, PosteriorSample
from hepgen.pipeline.analysis import Analysis
from hepgen.pipeline.estimators import estimator
from hepgen.pipeline.interest import interest
from hepgen.pipeline.likelihoods import (
    condensed,
    condensing_space,
    density_of,
    likelihood_of,
)
from hepgen.pipeline.session import Session
from hepgen.pipeline.validate import posterior_of
from hepgen.results import Check

GRID_PARAMETERS = 2
"""The grid cross-check is done for at most this many parameters of interest."""


def posterior_samples(
    session: Session, x: Tensor, weight: Tensor | None, headline: str, methods: Sequence[str]
) -> dict[str, PosteriorSample]:
    """Draws by NUTS from each learned likelihood, and by each posterior made for such data."""
    samples: dict[str, PosteriorSample] = {}
    with session.monitor.task("sample the posterior", len(methods)) as update:
        for done, method in enumerate(methods, start=1):
            if estimator(method).amortised:
                samples |= _amortised_samples(session, method, x, weight, headline)
            else:
                samples[method] = _nuts_sample(session, method, x, weight)
            update(done)
    return samples


def sample_checks(
    session: Session,
    x: Tensor,
    weight: Tensor | None,
    samples: Mapping[str, PosteriorSample],
) -> list[Check]:
    """Have the Markov chains converged, do they agree with a grid, and with one another?"""
    checks: list[Check] = []
    chains = [method for method in samples if not estimator(method).amortised]
    for method in chains:
        of = f" of {method.upper()}" if len(chains) > 1 else ""
        checks += sampler_checks(session, samples[method], of)
        checks += grid_checks(session, method, x, weight, samples[method], of)
    return checks + agreement_checks(session, samples)


def data_posterior(session: Session, method: str, x: Tensor) -> Posterior:
    """The posterior of a data set ``(N, d)``: of its events, and of their number if that counts."""
    alone = session.workflow.inference.luminosity is None and not session.workflow.variations
    few = condensing_space(session, x) is None or density_of(session, method) is None
    if alone and few:
        return posterior_of(session, method)
    likelihood = condensed(session, likelihood_of(session, len(x), method), x)
    return LikelihoodPosterior(likelihood, chains=session.workflow.inference.chains)


def _nuts_sample(
    session: Session, method: str, x: Tensor, weight: Tensor | None
) -> PosteriorSample:
    entry, posterior = session.workflow.inference, data_posterior(session, method, x)
    if isinstance(posterior, LikelihoodPosterior):
        posterior.method = "nuts"
    return posterior.draw(entry.chains * entry.draws, x, weight=weight, seed=entry.seed)


def _amortised_samples(
    session: Session, method: str, x: Tensor, weight: Tensor | None, headline: str
) -> dict[str, PosteriorSample]:
    """Draws by NPE, say; none where it refuses the data and is not the headline."""
    entry = session.workflow.inference
    try:
        if entry.luminosity is not None:
            raise DataError(
                f"{method.upper()} learns from sets of any size, whose number says nothing; use "
                "--method nle where inference.luminosity is set"
            )
        if session.workflow.variations:
            raise DataError(
                f"{method.upper()} learns from the chain, which knows nothing of [[variations]]; "
                "use --method nle"
            )
        posterior, draws = posterior_of(session, method), entry.chains * entry.draws
        return {method: posterior.draw(draws, x, weight=weight, seed=entry.seed)}
    except DataError as error:
        if headline == method:
            raise
        session.monitor.say(f"without {method.upper()}: {error}")
        return {}


def sampler_checks(session: Analysis, sample: PosteriorSample, of: str = "") -> list[Check]:
    """Have the Markov chains converged? ``of`` names them in the checks."""
    limits = session.workflow.checks
    r_hat = max(sample.r_hat or (1.0,))
    effective = min(sample.effective_samples)
    divergent = sample.divergences / max(len(sample), 1)
    return [
        Check(f"sampler{of}: R-hat", r_hat <= limits.r_hat, r_hat, limits.r_hat,
              "largest ratio of the variance between chains to that within; 1 if converged"),
        Check(f"sampler{of}: effective samples", effective >= limits.effective_samples, effective,
              limits.effective_samples, "independent draws that the chains are worth, at least"),
        Check(f"sampler{of}: divergences", divergent <= limits.divergences, divergent,
              limits.divergences, "share of the sampler's transitions whose integration failed"),
    ]  # fmt: skip


def grid_checks(
    session: Session,
    method: str,
    x: Tensor,
    weight: Tensor | None,
    sample: PosteriorSample,
    of: str = "",
) -> list[Check]:
    """The Markov chains against a grid, where there are few parameters of interest."""
    posterior = data_posterior(session, method, x)
    if not isinstance(posterior, LikelihoodPosterior):
        return []
    sets = posterior.likelihood.encode([x], [weight])
    return posterior_grid_checks(session, posterior, sets, sample, of)


def posterior_grid_checks(
    session: Analysis,
    posterior: LikelihoodPosterior,
    sets: DataSets,
    sample: PosteriorSample,
    of: str = "",
) -> list[Check]:
    """As :func:`grid_checks`, of any likelihood and one data set as it keeps them."""
    names = interest(session)
    if not 1 <= len(names) <= GRID_PARAMETERS:
        return []
    limit = session.workflow.checks.grid
    marginals = grid_marginals(posterior, sets=sets, names=names)
    return [
        Check(f"grid{of}: {one.name}", abs(one.mean_shift) <= limit, abs(one.mean_shift), limit,
              "difference of the means of the Markov chains and of a grid over which nuisances "
              "are integrated, in standard deviations")
        for one in compare_with_grid(sample, marginals)
    ]  # fmt: skip


def agreement_checks(session: Session, samples: Mapping[str, PosteriorSample]) -> list[Check]:
    """Every two estimators against one another."""
    limit = session.workflow.checks.agreement
    checks = []
    for first, second in combinations(samples, 2):
        for name in interest(session):
            one, other = samples[first].column(name), samples[second].column(name)
            shift = abs(float(one.mean() - other.mean())) / float(one.std())
            checks.append(
                Check(f"{first.upper()} against {second.upper()}: {name}", shift <= limit, shift,
                      limit, "difference of the posterior means of two independent estimators, "
                      "in standard deviations")
            )  # fmt: skip
    return checks
