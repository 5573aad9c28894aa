r"""SALLY: the score at one parameter point, a regression of the joint score.

Near a reference θ_ref the density is an exponential family whose sufficient statistics are the
components of its score, t(x) = ∇ log p(x | θ) at θ_ref: as many observables as there are
parameters, and optimal ones (Brehmer, Louppe, Pavez, Cranmer, arXiv:1805.12244, eq. 17). Since t is
the mean of the joint score at fixed x,

.. math:: \ell = \sum_j \frac{(\hat t_j(x) - t_j)^2}{2 V_j}

over events of θ_ref has it as its minimum, V the variance of the joint score. Over selected events
the mean of the joint score is ∇ log ε(θ_ref), which is taken off.

The likelihood of a data set has three forms: :class:`LocalLikelihood` here, without any further
simulation, close to θ_ref; and of the observables at any θ, from events made there,
:class:`hepgen.inference.score_likelihood.ScoreMean` and
:class:`hepgen.inference.score_likelihood.ScoreHistogram`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor, nn

from hepgen.errors import DataError, FileError, ParameterError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature, as_continuous
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.event_sets import EventSets, pad
from hepgen.inference.nle import check_columns
from hepgen.inference.scores import check_scores, score_variance
from hepgen.inference.training_options import TrainingOptions, fit_network, seeded
from hepgen.nn.columns import Derived
from hepgen.nn.mlp import mlp
from hepgen.nn.model_files import curve_from_dict, load_weights, read_model, write_model
from hepgen.nn.rows import Table, standardised
from hepgen.parameters import ParameterSet
from hepgen.results import TrainingCurve

_CHUNK = 2**15
_DEFAULTS: TrainingOptions = {
    "validation_fraction": 0.05, "batch_size": 1024, "epochs": 12, "max_learning_rate": 4e-3,
    "patience": None,
}  # fmt: skip


class SALLY:
    """t̂(x), the score at a reference, in inverse units of the parameters."""

    def __init__(
        self,
        network: nn.Module,
        features: FeatureSpace,
        parameters: ParameterSet,
        *,
        reference: Tensor,
        scale: Tensor,
        hidden: Sequence[int],
        curve: TrainingCurve,
    ) -> None:
        self.network = network
        self.features = features
        self.parameters = parameters
        self.reference = reference
        self.curve = curve
        self._scale, self._hidden = scale, tuple(hidden)

    @classmethod
    def fit(
        cls,
        events: AugmentedEvents,
        *,
        features: Sequence[Feature],
        parameters: ParameterSet,
        hidden: Sequence[int] = (64, 64),
        **options: Unpack[TrainingOptions],
    ) -> SALLY:
        """Learn the score at the one θ that all events are of.

        Arguments:
            events: Selected events, with their joint scores.
            features: What the d columns of x are, with their bounds.
            parameters: What the D columns of θ and of the score are.
            hidden: The widths of the network.
            options: Of the training.

        Raises:
            DataError: Events of several θ, or scores that cannot be used.
        """
        own = events.own
        check_scores(own.score, parameters)
        reference = _one(own.theta, parameters)
        space = FeatureSpace.from_sample(as_continuous(features), own.x)
        score = own.selected_score(own.efficiency(degree=1))
        scale = score_variance(score, own.weight).sqrt()
        network = seeded(lambda: _network(len(space), len(scale), hidden), options)
        target = Derived(lambda t: t / scale, score)
        rows = Table(*standardised(Derived(space.forward, own.x), target))
        curve = fit_network(
            network,
            lambda batch: 0.5 * (network(torch.asinh(batch[0])) - batch[1]).square().sum(-1),
            rows, own.weight, _DEFAULTS, options,
        )  # fmt: skip
        return cls(
            network, space, parameters,
            reference=reference, scale=scale, hidden=hidden, curve=curve,
        )  # fmt: skip

    @torch.no_grad()
    def score(self, x: Tensor) -> Tensor:
        """t̂(x), shape ``(N, D)`` in float64, for x of shape ``(N, d)``."""
        self.features.check(x)
        u = (torch.asinh(self.features.forward(part).float()) for part in torch.split(x, _CHUNK))
        return torch.cat([self.network(part) for part in u]).double() * self._scale

    @property
    def observables(self) -> tuple[Feature, ...]:
        """The components of t̂ as features, e.g. for the density of an NLE."""
        return tuple(Feature(f"optimal_{name}") for name in self.parameters.free_names)

    def local(self, information: Tensor) -> LocalLikelihood:
        """The likelihood near the reference.

        Arguments:
            information: I of one event, shape ``(D, D)``, from events that the network has not
                seen: :func:`hepgen.inference.fisher.regression_information`.
        """
        return LocalLikelihood(self, information)

    def save(self, folder: Path | str) -> None:
        """Write ``model.json`` and ``weights.safetensors`` into ``folder``."""
        description = {
            "hidden": list(self._hidden),
            "features": self.features.to_dict(),
            "parameters": self.parameters.to_dict(),
            "reference": self.reference.tolist(),
            "scale": self._scale.tolist(),
            "training": self.curve,
        }
        write_model(Path(folder), "sally", description, self.network)

    @classmethod
    def load(cls, folder: Path | str) -> SALLY:
        """Read what :meth:`save` wrote; nothing from the files is executed.

        Raises:
            FileError: The files are missing, truncated, edited, or from a newer version.
        """
        entry = read_model(Path(folder), "sally")
        try:
            parameters = ParameterSet.from_dict(entry["parameters"])
            features = FeatureSpace.from_dict(entry["features"])
            hidden, curve = tuple(map(int, entry["hidden"])), curve_from_dict(entry["training"])
            reference, scale = (
                torch.tensor(entry[key], dtype=torch.float64) for key in ("reference", "scale")
            )
            with torch.device("meta"):
                network = _network(len(features), len(scale), hidden)
        except (KeyError, TypeError, ValueError, DataError, ParameterError) as error:
            raise FileError(f"{folder}/model.json does not describe a SALLY: {error!r}") from error
        load_weights(Path(folder), network)
        return cls(
            network, features, parameters,
            reference=reference, scale=scale, hidden=hidden, curve=curve,
        )  # fmt: skip

    def __repr__(self) -> str:
        names = ", ".join(self.features.names)
        return f"SALLY({names} | {', '.join(self.parameters.free_names)})"


class LocalLikelihood:
    r"""The likelihood of event sets to second order around the reference.

    .. math:: \log L(\theta) = \delta^T \sum_i w_i \hat t(x_i)
              - \tfrac12 \sum_i w_i\, \delta^T I \delta, \qquad \delta = \theta - \theta_{ref}

    It is right as long as the score is linear over the width of the posterior.
    """

    def __init__(self, sally: SALLY, information: Tensor) -> None:
        size = len(sally.parameters.free)
        information = torch.as_tensor(information, dtype=torch.float64)
        if information.shape != (size, size):
            raise DataError(
                f"an information of shape {tuple(information.shape)}; expected ({size}, {size})"
            )
        lowest = float(torch.linalg.eigvalsh(information).min())
        if not lowest > 0:
            raise DataError(
                f"the information has the eigenvalue {lowest:g}; expected positive ones: the "
                "events say nothing of one direction, or too few measured it"
            )
        self.sally, self.parameters, self.information = sally, sally.parameters, information

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        """Data sets, each of shape ``(N, d)``, as their observables."""
        return encode_scores(self.sally, x, weight)

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """Of S data sets at K points each, shape ``(S, K)``, float64, for θ ``(S, K, D)``."""
        check_columns(theta, self.parameters)
        total = torch.einsum("snd,sn->sd", sets.events, sets.weight)
        delta = theta.double() - self.sally.reference
        curved = torch.einsum("skd,de,ske->sk", delta, self.information, delta)
        slope = torch.einsum("skd,sd->sk", delta, total)
        return slope - 0.5 * sets.weight.sum(-1, keepdim=True) * curved


def encode_scores(sally: SALLY, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
    """Data sets, each of shape ``(N, d)``, as t̂ of their events."""
    zeros = [torch.zeros(len(one), dtype=torch.float64) for one in x]
    return pad([sally.score(one) for one in x], weight, zeros)


def _one(theta: Tensor, parameters: ParameterSet) -> Tensor:
    check_columns(theta, parameters)
    reference = theta[0].double()
    for name, column in zip(parameters.free_names, theta.unbind(-1), strict=True):
        if bool((column != column[0]).any()):
            raise DataError(
                f"events of several values of {name!r}, from {column.min().item():g} to "
                f"{column.max().item():g}; SALLY is of one: simulate with --theta default"
            )
    return reference


def _network(features: int, parameters: int, hidden: Sequence[int]) -> nn.Module:
    return mlp(features, parameters, tuple(hidden))
