"""Neural likelihood estimation: a conditional density p(x | θ) of one event.

A set of independent events has log p({xᵢ} | θ) = Σ wᵢ log p(xᵢ | θ) (Papamakarios, Sterratt
and Murray, arXiv:1805.07226). The density is learned on standardised features in ℝᵈ, with the
Jacobian of the bijection included in every number that comes out. The condition is θ in units
of its spread over the training sample, and not its unbounded u(θ): the density is a smooth
function of θ up to the edge of a prior, while u runs to infinity there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from hepgen.errors import DataError, FileError, ParameterError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature, as_continuous
from hepgen.inference.event_sets import EventSets, pad
from hepgen.nn.columns import Derived
from hepgen.nn.density_weights import check_density_weights
from hepgen.nn.device import choose, trained_on
from hepgen.nn.mixture import LogisticMixture
from hepgen.nn.model_files import curve_from_dict, load_weights, read_model, write_model
from hepgen.nn.rows import Table, standardised
from hepgen.nn.train import Progress, train
from hepgen.parameters import ParameterSet
from hepgen.results import TrainingCurve

_PAIRS = 2**15
"""How many (event, θ) pairs are evaluated at once: what fits a processor's cache."""


class NLE:
    """log p(x | θ) per event, in physical variables; made by :meth:`fit` or :meth:`load`."""

    def __init__(
        self,
        estimator: Any,
        features: FeatureSpace,
        parameters: ParameterSet,
        *,
        location: Tensor,
        scale: Tensor,
        architecture: dict[str, Any],
        curve: TrainingCurve,
    ) -> None:
        self.estimator = estimator
        self.features = features
        self.parameters = parameters
        self.curve = curve
        self._location, self._scale = location, scale
        self._architecture = architecture

    @classmethod
    def fit(
        cls,
        x: Tensor,
        theta: Tensor,
        *,
        features: Sequence[Feature],
        parameters: ParameterSet,
        weight: Tensor | None = None,
        negative_weights: bool = False,
        components: int = 8,
        hidden: Sequence[int] = (64, 64, 64),
        validation_fraction: float = 0.05,
        batch_size: int = 4096,
        epochs: int = 12,
        max_learning_rate: float = 6e-3,
        patience: int | None = None,
        seed: int = 0,
        checkpoint: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
        time_budget: float | None = None,
        device: str = "auto",
    ) -> NLE:
        """Learn p(x | θ) from simulated events, each with its own θ.

        Arguments:
            x: Events, shape ``(N, d)``, in physical variables.
            theta: The parameters that made them, shape ``(N, D)``.
            features: What the d columns are, with their bounds.
            parameters: What the D columns of θ are.
            weight: Event weights, shape ``(N,)``.
            negative_weights: Take them though a density must be positive: the events are then worth
                (Σw)²/Σw² of one weight, and the result may be far too small where they cancel; see
                :func:`hepgen.nn.density_weights.check_density_weights`.
            components: Logistics a feature; see :class:`hepgen.nn.mixture.LogisticMixture`.
            hidden: The widths of the networks.
            validation_fraction, batch_size, epochs, max_learning_rate, patience: See
                :func:`hepgen.nn.train.train`.
            seed, checkpoint, progress, time_budget: See there, too.
            device: Where to train, see :func:`hepgen.nn.device.choose`.

        Raises:
            DataError: Events that cannot be used, or negative weights that were not asked for.
            ParameterError: A θ outside its prior.
        """
        check_density_weights(weight, negative_weights)
        space = FeatureSpace.from_sample(as_continuous(features), x)
        check_theta(theta, parameters, len(x))
        location, scale = theta.double().mean(0), theta.double().std(0)
        architecture = {"components": components, "hidden": list(hidden)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            estimator = build_estimator(len(space), len(parameters.free), architecture)
        c = Derived(lambda one: (one.double() - location) / scale, theta)
        rows = Table(*standardised(Derived(space.forward, x), c))
        with trained_on(estimator, choose(device)):
            curve = train(
                estimator,
                lambda batch: estimator.loss(*batch),
                rows,
                weight=weight,
                validation_fraction=validation_fraction,
                batch_size=batch_size,
                epochs=epochs,
                max_learning_rate=max_learning_rate,
                patience=patience,
                seed=seed,
                checkpoint=checkpoint,
                progress=progress,
                time_budget=time_budget,
            )
        return cls(
            estimator, space, parameters,
            location=location, scale=scale, architecture=architecture, curve=curve,
        )  # fmt: skip

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """log p(xᵢ | θₖ), shape ``(N, K)``, float64.

        Arguments:
            x: Shape ``(N, d)``.
            theta: Shape ``(K, D)``.
        """
        self.features.check(x)
        events, constant = self.features.forward(x).to(self._dtype), self.features.log_jacobian(x)
        distribution = self._distribution(theta)
        rows = max(1, _PAIRS // len(theta))
        parts = [distribution.log_prob(part[:, None, :]) for part in torch.split(events, rows)]
        return torch.cat(parts).double() + constant[:, None]

    def log_likelihood(self, x: Tensor, theta: Tensor, weight: Tensor | None = None) -> Tensor:
        """Σᵢ wᵢ log p(xᵢ | θₖ), shape ``(K,)``, float64, differentiable in θ.

        Memory does not grow with N × K: the sum runs over chunks, which are computed again
        for a gradient.

        Arguments:
            x: Shape ``(N, d)``.
            theta: Shape ``(K, D)``.
            weight: Event weights, shape ``(N,)``.
        """
        return self.log_likelihoods(self.encode([x], [weight]), theta[None])[0]

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        """Data sets, each of shape ``(N, d)``, checked, in the space of the network."""
        for one in x:
            self.features.check(one)
        events = [self.features.forward(one).to(self._dtype) for one in x]
        return pad(events, weight, [self.features.log_jacobian(one) for one in x])

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """Log-likelihoods of S data sets at K points each, shape ``(S, K)``, float64.

        Arguments:
            sets: From :meth:`encode`.
            theta: Shape ``(S, K, D)``.
        """
        points = max(1, _PAIRS // 16)
        if theta.shape[1] > points:
            parts = [self.log_likelihoods(sets, part) for part in torch.split(theta, points, dim=1)]
            return torch.cat(parts, dim=1)
        group = max(1, _PAIRS // (sets.events.shape[1] * theta.shape[1]))
        totals = [
            self._sum(sets[s : s + group], theta[s : s + group]) for s in range(0, len(sets), group)
        ]
        return torch.cat(totals) if len(totals) > 1 else totals[0]

    def prepare(self, x: Tensor) -> Tensor:
        """Events ``(N, d)``, checked, in the space of the network, with log |du/dx| as the last
        column: shape ``(N, d + 1)``, float64."""
        self.features.check(x)
        return torch.cat([self.features.forward(x), self.features.log_jacobian(x)[:, None]], -1)

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """log p of events from :meth:`prepare`, ``(S, n, d + 1)``, at θ ``(S, K, D)``.

        Returns:
            Shape ``(S, n, K)``, float64, all at once.
        """
        events, constant = prepared[..., :-1].to(self._dtype), prepared[..., -1:]
        found: Tensor = self._distribution(theta[:, None]).log_prob(events[:, :, None, :])
        return found.double() + constant

    def sample(self, n: int, theta: Tensor, seed: int = 0) -> Tensor:
        """n events at each θ, shape ``(n, *, d)`` for θ of shape ``(*, D)``."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            events: Tensor = self._distribution(theta).sample((n,))
        return self.features.inverse(events)

    def double(self) -> NLE:
        """The same density in double precision: smooth enough for fits to end at a gradient of 0.

        In single precision the log-likelihood of a thousand events has a noise of about 10⁻⁴.
        """
        return NLE(
            deepcopy(self.estimator).double(), self.features, self.parameters,
            location=self._location, scale=self._scale, architecture=self._architecture,
            curve=self.curve,
        )  # fmt: skip

    @property
    def standardisation(self) -> tuple[Tensor, Tensor]:
        """Location and scale of θ in training, shape ``(D,)`` each, float64."""
        return self._location, self._scale

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = next(self.estimator.parameters()).dtype
        return dtype

    def save(self, folder: Path | str) -> None:
        """Write ``model.json`` and ``weights.safetensors`` into ``folder``."""
        description = {
            "architecture": self._architecture,
            "features": self.features.to_dict(),
            "parameters": self.parameters.to_dict(),
            "theta": {"location": self._location.tolist(), "scale": self._scale.tolist()},
            "training": self.curve,
        }
        write_model(Path(folder), "nle", description, self.estimator)

    @classmethod
    def load(cls, folder: Path | str) -> NLE:
        """Read what :meth:`save` wrote; nothing from the files is executed.

        Raises:
            FileError: The files are missing, truncated, edited, or from a newer version.
        """
        entry = read_model(Path(folder), "nle")
        try:
            parameters = ParameterSet.from_dict(entry["parameters"])
            features = FeatureSpace.from_dict(entry["features"])
            curve, architecture = curve_from_dict(entry["training"]), entry["architecture"]
            location, scale = (
                torch.tensor(entry["theta"][key], dtype=torch.float64)
                for key in ("location", "scale")
            )
            with torch.device("meta"):
                estimator = build_estimator(len(features), len(parameters.free), architecture)
        except (KeyError, TypeError, ValueError, DataError, ParameterError) as error:
            raise FileError(f"{folder}/model.json does not describe an NLE: {error!r}") from error
        load_weights(Path(folder), estimator)
        return cls(
            estimator, features, parameters,
            location=location, scale=scale, architecture=architecture, curve=curve,
        )  # fmt: skip

    def __repr__(self) -> str:
        names = ", ".join(self.features.names)
        return f"NLE(p({names} | {', '.join(self.parameters.free_names)}))"

    def _distribution(self, theta: Tensor) -> Any:
        check_columns(theta, self.parameters)
        return self.estimator.net(((theta - self._location) / self._scale).to(self._dtype))

    def _sum(self, sets: EventSets, theta: Tensor) -> Tensor:
        """The log-likelihoods of a group of sets, over chunks of their events."""
        distribution = self._distribution(theta[:, None])
        rows = max(1, _PAIRS // (len(sets) * theta.shape[1]))
        chunks = list(
            zip(
                torch.split(sets.events, rows, dim=1),
                torch.split(sets.weight, rows, dim=1),
                strict=True,
            )
        )
        total = sets.constant[:, None]
        for events, weight in chunks:
            if len(chunks) > 1 and torch.is_grad_enabled() and theta.requires_grad:
                part = recompute(_weighted, distribution, events, weight, use_reentrant=False)
            else:
                part = _weighted(distribution, events, weight)
            total = total + part
        return total


def _weighted(distribution: Any, events: Tensor, weight: Tensor) -> Tensor:
    """Σ w log p over a chunk: events ``(S, n, d)`` and weights ``(S, n)`` to ``(S, K)``."""
    log_prob: Tensor = distribution.log_prob(events[:, :, None, :])
    return torch.einsum("snk,sn->sk", log_prob.double(), weight)


def build_estimator(features: int, parameters: int, architecture: dict[str, Any]) -> Any:
    """The untrained network of p(x | θ), which has ``components`` and ``hidden``."""
    from sbi.neural_nets.estimators import ZukoFlow  # takes seconds to import

    components, hidden = int(architecture["components"]), tuple(map(int, architecture["hidden"]))
    return ZukoFlow(
        LogisticMixture(features, parameters, components, hidden),
        torch.nn.Identity(),
        input_shape=torch.Size([features]),
        condition_shape=torch.Size([parameters]),
    )


def check_columns(theta: Tensor, parameters: ParameterSet) -> None:
    """Refuse θ whose last dimension is not that of the free parameters."""
    if theta.shape[-1] != len(parameters.free):
        raise ParameterError(
            f"θ of shape {tuple(theta.shape)}; expected {len(parameters.free)} columns: "
            f"{', '.join(parameters.free_names)}"
        )


def check_theta(theta: Tensor, parameters: ParameterSet, rows: int) -> None:
    """Refuse training parameters that are not ``rows`` points inside the prior."""
    check_columns(theta, parameters)
    if theta.ndim != 2 or len(theta) != rows:
        raise DataError(f"θ of shape {tuple(theta.shape)} for {rows} rows; expected one θ a row")
    for parameter, column in zip(parameters.free, theta.double().unbind(-1), strict=True):
        prior = parameter.prior
        if prior is None or bool(((column >= prior.low) & (column <= prior.high)).all()):
            continue
        bad = column[~((column >= prior.low) & (column <= prior.high))]
        raise ParameterError(
            f"parameter {parameter.name!r}: {len(bad)} of {rows} training values, e.g. "
            f"{bad[0].item():g}, are outside its prior [{prior.low:g}, {prior.high:g}]"
        )
