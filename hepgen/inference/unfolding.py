r"""Unfolding: the spectrum of a latent, from what was measured.

In J bins of truth the selected events follow a mixture, :math:`p(x) = \sum_j \pi_j L_j(x)`, with
:math:`L_j(x) = p(x | j, \text{selected})`. Both methods iterate the prior to the data,

.. math:: \pi_j \leftarrow \frac1N \sum_n q(j | x_n), \qquad
          q(j | x_n) = \frac{\pi_j L_j(x_n)}{\sum_l \pi_l L_l(x_n)},

which is expectation maximisation: every step raises the likelihood, and keeps the number of
events. They differ in what x is.

* Binned (:func:`binned_smearing`): x is a bin, L the response matrix. This is the iterative
  Bayesian unfolding of D'Agostini (Nucl. Instrum. Meth. A362 (1995) 487; as deconvolution by
  Richardson and by Lucy, as emission tomography by Shepp and Vardi).
* By event (:func:`event_smearing`): x is all that was measured of an event, and
  :math:`L_j(x_n) \propto q_0(j | x_n)/\pi_j^0`, with q₀ the posterior under the prior of the
  simulation: amortised, of which :math:`\pi_{k+1}(z) = \langle q_k(z | x)\rangle` is all that is
  asked; or weighted with the density of the chain (:func:`density_weights`), and then exact but
  for the number of draws.

Few iterations keep what the prior believed (bias), many fit the noise (variance). The covariance
is that of the events alone, propagated through all iterations (Adye, arXiv:1105.1160, Sec. 5; the
original formula leaves out that π depends on the data after the first). The statistics of the
simulation, and what a learned q₀ has wrong, are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.simulators.chain import Chain
from hepgen.surrogates.surrogate import Surrogate

_ROWS = 2**17
"""How many events are replayed at once."""
_SMALLEST = 1e-9
"""The smallest eigenvalue of a covariance, relative to the largest, in which χ² is taken."""


@dataclass(frozen=True)
class TrueBins:
    """Bins of the truth, and what the simulation says of them.

    Arguments:
        edges: Increasing, shape ``(J + 1,)``.
        share: π⁰, the share of each bin in the selected events, shape ``(J,)``.
        efficiency: The probability that an event of the bin is selected, shape ``(J,)``.
    """

    edges: Tensor
    share: Tensor
    efficiency: Tensor

    @classmethod
    def of(cls, true: Tensor, selected: Tensor, edges: Tensor) -> TrueBins:
        """From N simulated events: the truth, and whether they are selected, shape ``(N,)``.

        Raises:
            DataError: A truth outside the bins, or a bin without a selected event.
        """
        made = torch.bincount(bin_numbers(true, edges), minlength=len(edges) - 1).double()
        kept = torch.bincount(bin_numbers(true[selected], edges), minlength=len(edges) - 1).double()
        if bool((kept == 0).any()):
            j = int((kept == 0).nonzero()[0])
            raise DataError(
                f"no event of the true bin {edges[j]:g} to {edges[j + 1]:g} is selected, so that "
                "its content cannot be known: merge it with its neighbour, or simulate more"
            )
        return cls(edges.double(), kept / kept.sum(), kept / made)


@dataclass(frozen=True)
class Smearing:
    """How likely each of I observations is in each true bin.

    Arguments:
        bins: Of the truth.
        likelihood: L, up to a factor for each observation; shape ``(I, J)``.
    """

    bins: TrueBins
    likelihood: Tensor

    def __post_init__(self) -> None:
        shape, expected = self.likelihood.shape, len(self.bins.share)
        bad = ~(self.likelihood.isfinite() & (self.likelihood >= 0))
        if len(shape) != 2 or shape[1] != expected or bool(bad.any()):
            raise DataError(
                f"a likelihood of shape {tuple(shape)} with {int(bad.sum())} values that are "
                f"negative or not finite; expected (I, {expected}), probabilities"
            )


@dataclass(frozen=True)
class Unfolded:
    """A spectrum at truth, before any selection.

    Arguments:
        edges: Of its bins, shape ``(J + 1,)``.
        values: Events in each, shape ``(J,)``.
        covariance: Of the data's statistics, shape ``(J, J)``.
    """

    edges: Tensor
    values: Tensor
    covariance: Tensor

    @property
    def errors(self) -> Tensor:
        """Standard deviations, shape ``(J,)``."""
        return self.covariance.diagonal().clamp(min=0).sqrt()

    def merged(self, edges: Tensor) -> Unfolded:
        """In wider bins, or in fewer: whatever lies outside ``edges`` is left out.

        Raises:
            DataError: An edge that is not one of those here.
        """
        away = (edges[:, None].double() - self.edges).abs().amin(-1)
        if bool((away > 1e-9 * self.edges.abs().max()).any()):
            raise DataError(f"edges {edges.tolist()}: expected some of {self.edges.tolist()}")
        middle = 0.5 * (self.edges[1:] + self.edges[:-1])
        inside = (middle > edges[:-1, None]) & (middle < edges[1:, None])
        sums = inside.to(self.values)
        return Unfolded(edges.double(), sums @ self.values, sums @ self.covariance @ sums.T)

    def chi2(self, expected: Tensor) -> tuple[float, int]:
        """χ² to a spectrum of shape ``(J,)``, and in how many directions it is taken.

        A regularised covariance has directions without variance, which are left out.
        """
        values, vectors = torch.linalg.eigh(self.covariance)
        some = values > _SMALLEST * values.max()
        along = (self.values - expected) @ vectors
        return float((along[some].square() / values[some]).sum()), int(some.sum())


def binned_smearing(
    true: Tensor, reco: Tensor, selected: Tensor, true_edges: Tensor, reco_edges: Tensor
) -> Smearing:
    """The response matrix of N simulated events, shape ``(N,)`` each.

    Events outside ``reco_edges`` count as not selected.
    """
    selected = selected & (reco >= reco_edges[0]) & (reco < reco_edges[-1])
    bins = TrueBins.of(true, selected, true_edges)
    j, i = bin_numbers(true[selected], true_edges), bin_numbers(reco[selected], reco_edges)
    rows, columns = len(reco_edges) - 1, len(true_edges) - 1
    joint = torch.bincount(i * columns + j, minlength=rows * columns).reshape(rows, columns)
    return Smearing(bins, joint.double() / joint.sum(0))


def event_smearing(
    draws: Tensor,
    bins: TrueBins,
    weights: Tensor | None = None,
    simulated: Tensor | None = None,
) -> Smearing:
    """L of N events from draws of their posteriors under the prior of the simulation.

    Arguments:
        draws: Of the latent, shape ``(S, N)``.
        bins: Of the truth, under the same prior.
        weights: Of the draws, of sum 1 in each event, see :func:`density_weights`; shape
            ``(S, N)``. By default all are equal.
        simulated: Draws of the posteriors of selected events of the simulation, shape
            ``(S', M)``. Their average is the prior that a learned posterior believes in; without
            them it is taken to be that of ``bins``.
    """
    q = _shares(draws, bins.edges, weights)
    prior = bins.share if simulated is None else _shares(simulated, bins.edges).mean(0)
    return Smearing(bins, q / prior.clamp(min=1e-300))


def _shares(draws: Tensor, edges: Tensor, weights: Tensor | None = None) -> Tensor:
    """The probability of each bin in each event, shape ``(N, J)``."""
    if weights is None:
        weights = torch.full(draws.shape, 1 / len(draws), dtype=torch.float64)
    inside = (draws >= edges[0]) & (draws <= edges[-1])
    number = bin_numbers(draws.clamp(edges[0], edges[-1]), edges)
    q = torch.zeros(draws.shape[1], len(edges) - 1, dtype=torch.float64)
    return q.scatter_add_(1, number.T, torch.where(inside, weights, 0.0).double().T)


def density_weights(
    posterior: Surrogate,
    context: Tensor,
    chain: Chain,
    observed: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    *,
    draws: int = 64,
    inner: int = 16,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    r"""Draws of a learned posterior, weighted so that they follow that of the chain.

    .. math:: w \propto \frac{1}{q(z | x)} \frac1K \sum_k p(x, z | z'_k), \qquad z'_k \sim
              p(z' | z),

    where x are the sites that were measured, z the latent and z' all others. The weights are
    unbiased up to their sum, whatever K is, so that as S grows the draws tend to the exact
    posterior.

    Arguments:
        posterior: q(z | x) of one site of the chain, see
            :func:`~hepgen.surrogates.latent_posterior.learn_latent_posterior`.
        context: What q is given, shape ``(N, C)``.
        chain: The simulator.
        observed: The sites that were measured, shape ``(N,)`` or ``(N, K)``.
        parameters: θ, shape ``()`` each: the prior under which q was learned.
        draws: S.
        inner: K.
        seed: Of all draws.

    Returns:
        Draws and weights, shape ``(S, N)`` each; the weights of an event have the sum 1.

    Raises:
        DataError: A posterior of several latents, or an event that no draw could have made.
    """
    if len(posterior.features) != 1:
        raise DataError(f"{posterior}: expected the posterior of one latent")
    z, log_q = posterior.sample_and_log_prob(draws, context, seed)
    z = z[..., 0].double()
    given = {n: v.repeat(draws, *[1] * (v.dim() - 1)) for n, v in observed.items()}
    given |= {posterior.features.names[0]: z.flatten()}
    log_w = _log_joint(chain, given, parameters, inner, seed).reshape(z.shape) - log_q.value
    if bool(torch.isneginf(log_w).all(0).any()):
        raise DataError(
            f"{int(torch.isneginf(log_w).all(0).sum())} of {z.shape[1]} events could have been "
            f"made by none of their {draws} draws: take more, or train the posterior longer"
        )
    return z, log_w.softmax(0)


def _log_joint(
    chain: Chain, given: Mapping[str, Tensor], parameters: Mapping[str, Tensor], n: int, seed: int
) -> Tensor:
    """ln of the mean density of some sites over n draws of all others, shape ``(B,)``."""
    parts, rows = [], max(1, _ROWS // n)
    events = len(next(iter(given.values())))
    for block, i in enumerate(torch.split(torch.arange(events), rows)):
        held = {name: v[i].repeat_interleave(n, 0)[None] for name, v in given.items()}
        trace = chain.simulate(parameters, n * len(i), seed, block, observed=held)
        with torch.no_grad():
            terms = chain.log_prob_terms(trace, parameters)
        log_p = torch.stack([terms[name] for name in given]).sum(0).reshape(len(i), n)
        parts.append(log_p.logsumexp(-1) - math.log(n))
    return torch.cat(parts)


def unfold(smearing: Smearing, counts: Tensor | None = None, iterations: int = 4) -> Unfolded:
    """The spectrum after some iterations, with its covariance.

    Arguments:
        smearing: Of the bins, or of the events.
        counts: How often each was observed, Poisson numbers of shape ``(I,)``; by default once,
            as events are.
        iterations: How often the prior is replaced.

    Raises:
        DataError: Counts that do not fit, or an observation that no true bin can make.

    >>> one = torch.ones(2, dtype=torch.float64)
    >>> bins = TrueBins(torch.arange(3.0).double(), one / 2, one)
    >>> unfold(Smearing(bins, torch.eye(2).double()), torch.tensor([3.0, 5.0]).double()).errors ** 2
    tensor([3.0000, 5.0000], dtype=torch.float64)
    """
    n = _checked(smearing, counts, iterations)

    def spectrum(n: Tensor) -> Tensor:
        return iterated(smearing, n, iterations) / smearing.bins.efficiency

    jacobian = torch.func.jacrev(spectrum)(n)
    return Unfolded(smearing.bins.edges, spectrum(n), (jacobian * n) @ jacobian.T)


def iterated(smearing: Smearing, counts: Tensor, iterations: int) -> Tensor:
    """Selected events in each true bin, shape ``(*, J)``, for counts of shape ``(*, I)``."""
    likelihood, selected = smearing.likelihood, smearing.bins.share
    for _ in range(iterations):
        expected = selected @ likelihood.T
        ratio = torch.where(counts > 0, counts / expected.clamp(min=1e-300), 0.0)
        selected = selected * (ratio @ likelihood)
    return selected


def bootstrap(
    smearing: Smearing,
    counts: Tensor | None = None,
    iterations: int = 4,
    *,
    replicas: int = 200,
    seed: int = 0,
) -> Tensor:
    """Spectra of Poisson replicas of the data, shape ``(R, J)``; arguments as :func:`unfold`."""
    n = _checked(smearing, counts, iterations)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.poisson(n.expand(replicas, -1), generator=generator)
    return iterated(smearing, drawn, iterations) / smearing.bins.efficiency


def bin_numbers(x: Tensor, edges: Tensor) -> Tensor:
    """Which bin each value is in; the last holds its upper edge.

    Raises:
        DataError: Edges that do not increase, or a value outside.
    """
    if edges.dim() != 1 or len(edges) < 2 or not bool((edges.diff() > 0).all()):
        raise DataError(f"edges {edges.tolist()}: expected two at least, increasing")
    outside = ~((x >= edges[0]) & (x <= edges[-1]))
    if bool(outside.any()):
        raise DataError(
            f"{x[outside][0].item():g} ({int(outside.sum())} of {x.numel()} values): outside the "
            f"bins, {edges[0]:g} to {edges[-1]:g}; widen them, so that every event is in one"
        )
    number: Tensor = torch.searchsorted(edges.to(x), x.contiguous(), right=True) - 1
    return number.clamp(max=len(edges) - 2)


def _checked(smearing: Smearing, counts: Tensor | None, iterations: int) -> Tensor:
    rows = len(smearing.likelihood)
    n = torch.ones(rows, dtype=torch.float64) if counts is None else counts.double()
    if n.shape != (rows,) or not bool((n.isfinite() & (n >= 0)).all()) or iterations < 1:
        raise DataError(
            f"counts of shape {tuple(n.shape)} and {iterations} iterations; expected ({rows},) "
            "numbers that are not negative, and one iteration at least"
        )
    lost = (n > 0) & (smearing.likelihood @ smearing.bins.share == 0)
    if bool(lost.any()):
        raise DataError(
            f"observation {int(lost.nonzero()[0])} ({int(lost.sum())} of {rows}) can be made by no "
            "true bin: simulate more, take wider bins, or draw more of each posterior"
        )
    return n
