r"""The Fisher information of an event: from joint scores, from an estimator, profiled, constrained.

For one event of the density p(x | θ) of selected events, and with the number of events, which is
Poisson with the mean 𝓛σε,

.. math:: I_{ij} = E[s_i s_j], \quad s = \nabla\log p(x | \theta), \qquad
          I^{rate}_{ij} = \partial_i\log(\sigma\varepsilon)\,\partial_j\log(\sigma\varepsilon),

both for each event that is expected. The joint score t of a history has the mean s at fixed x, so
that a function ŝ(x), however it was found, gives on events it has not seen

.. math:: E[\hat s t^T] + E[t \hat s^T] - E[\hat s \hat s^T]
          = I - E[(\hat s - s)(\hat s - s)^T] \;\le\; I \;\le\; E[t t^T],

the information that ŝ is known to carry, that of x, and that of the whole history (Brehmer,
Cranmer, Kling, Plehn, arXiv:1612.05261; Brehmer, Louppe, Pavez, Cranmer, arXiv:1805.12244). The
left side tells what features are worth: train on them, and compare. All scores of selected events
are taken about their mean, ∇ log ε.

Nuisance parameters ν that are fitted along leave the parameters of interest θ the Schur complement

.. math:: I^{prof} = I_{\theta\theta} - I_{\theta\nu} I_{\nu\nu}^{-1} I_{\nu\theta},

and a constraint adds 1/σ² to the diagonal, once for a data set (Edwards and Cahill;
Alsing and Wandelt, arXiv:1903.01473, for the use in inference). Errors are those of a jackknife
over batches of events, so that every derived number has one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError, ParameterError, nearest
from hepgen.features import Feature
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.event_sets import SetLikelihood, event_weights
from hepgen.inference.nle import check_columns
from hepgen.inference.sally import SALLY
from hepgen.inference.training_options import TrainingOptions
from hepgen.parameters import Normal, ParameterSet

_BATCHES = 40
_CHUNK = 4096
Array = NDArray[np.float64]


@dataclass(frozen=True)
class FisherInformation:
    """I of one event or of a data set, with what its error is made of.

    Arguments:
        names: The D parameters.
        matrix: Shape ``(D, D)``, in inverse units of the parameters.
        replicas: The same from all events but one batch, for each batch, shape ``(B, D, D)``.

    >>> one = FisherInformation(("a", "b"), np.array([[4.0, 1.0], [1.0, 1.0]]), np.zeros((0, 2, 2)))
    >>> one.profiled(["a"]).matrix
    array([[3.]])
    >>> {name: round(sigma, 4) for name, sigma in one.sigmas(events=100).items()}
    {'a': 0.0577, 'b': 0.1155}
    """

    names: tuple[str, ...]
    matrix: Array
    replicas: Array

    @property
    def error(self) -> Array:
        """The standard error of each entry, shape ``(D, D)``; zero where nothing is random."""
        return self._jackknife(lambda matrix: matrix)

    def value(self, name: str) -> tuple[float, float]:
        """The diagonal entry of one parameter, and its error."""
        i = self._columns([name])[0]
        return float(self.matrix[i, i]), float(self.error[i, i])

    def data_set(self, events: float) -> FisherInformation:
        """Of so many expected events."""
        return self._map(lambda matrix: events * matrix)

    def with_rate(self, gradient: Tensor | Sequence[float]) -> FisherInformation:
        """With the number of events.

        Arguments:
            gradient: ∇ log(σε), shape ``(D,)``, e.g. the mean joint score of the selected events
                (∇ log ε) and the derivative of the cross-section.
        """
        g = np.asarray(gradient, dtype=np.float64)
        if g.shape != (len(self.names),):
            raise DataError(f"a gradient of shape {g.shape}; expected ({len(self.names)},)")
        return self._map(lambda matrix: matrix + np.outer(g, g))

    def constrained(self, parameters: ParameterSet) -> FisherInformation:
        """With 1/σ² for each parameter whose prior is normal; for a whole data set."""
        priors = {p.name: p.prior for p in parameters}
        added = np.zeros(len(self.names))
        for i, name in enumerate(self.names):
            prior = priors.get(name)
            if isinstance(prior, Normal):
                added[i] = prior.std**-2
        return self._map(lambda matrix: matrix + np.diag(added))

    def of(self, names: Sequence[str]) -> FisherInformation:
        """Of some parameters, the others known."""
        keep = self._columns(names)
        part = self._map(lambda matrix: matrix[np.ix_(keep, keep)])
        return dataclasses.replace(part, names=tuple(names))

    def profiled(self, names: Sequence[str]) -> FisherInformation:
        """Of some parameters, the others fitted along: the Schur complement.

        Raises:
            DataError: The others are not determined, with the direction.
        """
        keep = self._columns(names)
        rest = [i for i in range(len(self.names)) if i not in keep]
        if rest:
            self._refuse_flat(rest)

        def complement(matrix: Array) -> Array:
            cross = matrix[np.ix_(keep, rest)]
            inner = np.linalg.solve(matrix[np.ix_(rest, rest)], cross.T)
            return np.asarray(matrix[np.ix_(keep, keep)] - cross @ inner)

        return dataclasses.replace(self._map(complement), names=tuple(names))

    def sigmas(self, events: float = 1.0) -> dict[str, float]:
        """√(I⁻¹) of each parameter, all others fitted along (Cramér and Rao)."""
        self._refuse_flat(list(range(len(self.names))))
        variance = np.diag(np.linalg.inv(events * self.matrix))
        return dict(zip(self.names, np.sqrt(variance).tolist(), strict=True))

    def _columns(self, names: Sequence[str]) -> list[int]:
        for name in names:
            if name not in self.names:
                raise ParameterError(f"no parameter {name!r}; {nearest(name, self.names)}")
        return [self.names.index(name) for name in names]

    def _refuse_flat(self, columns: Sequence[int]) -> None:
        """Name a direction in which nothing is known."""
        block = self.matrix[np.ix_(columns, columns)]
        size = np.sqrt(np.abs(np.diag(block)))
        size = np.where(size > 0, size, 1.0)
        values, vectors = np.linalg.eigh(block / np.outer(size, size))
        if values[0] > 1e-9:
            return
        parts = vectors[:, 0] / size
        order = np.argsort(-np.abs(vectors[:, 0]))[:3]
        words = " ".join(f"{parts[i]:+.3g}·{self.names[columns[i]]}" for i in order)
        raise DataError(
            f"no information on the direction {words}: expected a positive one; add a constraint "
            "(a normal prior), fix a parameter, or add features or channels that know it"
        )

    def _map(self, function: Callable[[Array], Array]) -> FisherInformation:
        matrix = function(self.matrix)
        each = [function(one) for one in self.replicas]
        replicas = np.stack(each) if each else np.zeros((0, *matrix.shape))
        return FisherInformation(self.names, matrix, replicas)

    def _jackknife(self, function: Callable[[Array], Array]) -> Array:
        size = len(self.replicas)
        if size < 2:
            return np.zeros_like(self.matrix)
        each = np.stack([function(one) for one in self.replicas])
        return np.asarray(np.sqrt((size - 1) * np.mean((each - each.mean(0)) ** 2, axis=0)))


def joint_information(
    score: Tensor, names: Sequence[str], weight: Tensor | None = None
) -> FisherInformation:
    """Of the whole history of selected events at one θ: an upper limit for any x.

    Arguments:
        score: t, shape ``(N, D)``.
        names: Of the D parameters.
        weight: Signed event weights, shape ``(N,)``.

    >>> joint_information(torch.tensor([[1.0], [-1.0], [2.0], [-2.0]]), ["a"]).matrix
    array([[2.5]])
    """
    return _from_products(score, score, names, weight, mixed=False)


def estimator_information(
    likelihood: SetLikelihood, x: Tensor, theta: Tensor, weight: Tensor | None = None
) -> FisherInformation:
    """E[ŝŝᵀ] of the score of a likelihood over events of one θ, shape ``(D,)``.

    An estimator's noise counts as information: see :func:`regression_information`.
    """
    score = event_scores(likelihood, x, theta.expand(len(x), -1))
    return _from_products(score, score, likelihood.parameters.free_names, weight, mixed=False)


def regression_information(
    found: Tensor, joint: Tensor, names: Sequence[str], weight: Tensor | None = None
) -> FisherInformation:
    """What ŝ is known to carry, from events that it was not trained on: a lower limit.

    Arguments:
        found: ŝ, e.g. of SALLY, or of an estimator by :func:`event_scores`, shape ``(N, D)``.
        joint: t of the same events, shape ``(N, D)``.
        names: Of the D parameters.
        weight: Signed event weights, shape ``(N,)``.
    """
    return _from_products(found, joint, names, weight, mixed=True)


def event_scores(likelihood: SetLikelihood, x: Tensor, theta: Tensor) -> Tensor:
    """∇ log p(xᵢ | θᵢ) of an estimator by autograd, shape ``(N, D)``, for θ ``(N, D)``."""
    check_columns(theta, likelihood.parameters)
    parts = []
    for rows in torch.split(torch.arange(len(x)), _CHUNK):
        sets = likelihood.encode(list(x[rows][:, None]), [None] * len(rows))
        with torch.enable_grad():
            at = theta[rows][:, None].double().detach().requires_grad_(True)
            total = likelihood.log_likelihoods(sets, at).sum()
            (slope,) = torch.autograd.grad(total, at)
        parts.append(slope[:, 0])
    return torch.cat(parts)


def feature_information(
    events: AugmentedEvents,
    features: Sequence[Feature],
    parameters: ParameterSet,
    subsets: Mapping[str, Sequence[str]],
    **options: Unpack[TrainingOptions],
) -> dict[str, FisherInformation]:
    """The information that each set of features carries, by a regression of the score on it.

    One half of the events trains, the other measures: a lower limit each, with an error.

    Arguments:
        events: Selected events of one θ with joint scores.
        features: What the columns of x are.
        parameters: What the columns of the scores are.
        subsets: Names of features, by the name of the set.
        options: Of the trainings.

    Raises:
        DataError: A feature that is not there, or too few events.
    """
    own, names = events.own, [feature.name for feature in features]
    half = len(own) // 2
    found = {}
    for label, wanted in subsets.items():
        missing = [one for one in wanted if one not in names]
        if missing or not wanted:
            raise DataError(
                f"set {label!r}: no feature {missing[0] if missing else '(none given)'!r}; "
                f"{nearest(missing[0] if missing else '', names)}"
            )
        columns = [names.index(one) for one in wanted]
        part = dataclasses.replace(own, x=own.x[:, columns])
        chosen = [features[i] for i in columns]
        sally = SALLY.fit(part[:half], features=chosen, parameters=parameters, **options)
        rest = part[half:]
        found[label] = regression_information(
            sally.score(rest.x), rest.score, parameters.free_names, rest.weight
        )
    return found


def _from_products(
    found: Tensor, joint: Tensor, names: Sequence[str], weight: Tensor | None, *, mixed: bool
) -> FisherInformation:
    """Centred second moments of all events, and of all but each batch of them."""
    if found.shape != joint.shape or found.dim() != 2 or found.shape[1] != len(names):
        raise DataError(
            f"scores of shape {tuple(found.shape)} and {tuple(joint.shape)} for "
            f"{', '.join(names)}; expected one column for each, (N, {len(names)})"
        )
    if len(found) < 2:
        raise DataError(f"the scores of {len(found)} events; expected a sample")
    w = event_weights(weight, len(found)).numpy()
    a, b = found.double().numpy(), joint.double().numpy()
    both = np.concatenate([a, b], axis=1)
    size = min(_BATCHES, len(a))
    # Neighbours share a parameter point or a block: batches are runs of them.
    batch = np.arange(len(a)) * size // len(a)
    zeroth = np.bincount(batch, w, size)
    first = np.stack([np.bincount(batch, w * c, size) for c in both.T], axis=1)
    second = np.stack(
        [(both[batch == k].T * w[batch == k]) @ both[batch == k] for k in range(size)]
    )
    moments = zeroth, first, second

    def information(keep: Array) -> Array:
        total, mean, square = (np.tensordot(keep, m, axes=1) for m in moments)
        mean = mean / total
        covariance = square / total - np.outer(mean, mean)
        d = len(names)
        own, cross = covariance[:d, :d], covariance[:d, d:]
        return np.asarray(cross + cross.T - own if mixed else own)

    everything = np.ones(size)
    replicas = [information(everything - np.eye(size)[k]) for k in range(size)] if size > 1 else []
    return FisherInformation(tuple(names), information(everything), np.stack(replicas))
