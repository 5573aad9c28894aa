"""Neural posterior estimation: p(θ | {x}) for event sets of any size, amortised.

A network f embeds each event, the mean of f over the set and log N condition a density over
the unbounded θ (Papamakarios and Murray, arXiv:1605.06376; for sets of independent
observations Radev et al., arXiv:2003.06281). Training has two parts:

1. *Embedding*: f and a first density, on small random subsets of each set. Which features of
   an event are informative does not depend on N, and a gradient through few events is cheap.
2. *Density*: f is now fixed, so the sum of f over any run of events is the difference of two
   cumulated sums. A new density trains on runs of 100 to all events of a set, hundreds of
   times over, without touching an event again.

The mean of f carries its information about θ in digits below 1/√N. It is whitened over the
training sets, and each kernel of the density has a linear skip from its condition to its
location and log-scale; the width of the posterior then follows 1/√N over the range trained.

The density of the second part is a mixture, or a field as in FMPE and NPSE; see
:mod:`hepgen.inference.posterior_density`. Events may have signed weights: the mean of f is then
Σ wᵢ f(xᵢ)/Σ wᵢ, and N is (Σw)²/Σw².
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hepgen.errors import DataError, FileError, ParameterError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature, as_continuous
from hepgen.inference.event_sets import event_weights
from hepgen.inference.nle import check_theta
from hepgen.inference.posterior import Posterior, PosteriorSample
from hepgen.inference.posterior_density import METHODS, build_density, check_density, training_parts
from hepgen.inference.set_weights import training_weights
from hepgen.inference.unbounded import UnboundedPrior
from hepgen.nn.columns import Column, Derived
from hepgen.nn.device import choose, trained_on
from hepgen.nn.model_files import curve_from_dict, load_weights, read_model, write_model
from hepgen.nn.rows import standardised
from hepgen.nn.sets import (
    BlockRows,
    DeepSet,
    SetRows,
    block_offsets,
    check_offsets,
    segment_sum,
)
from hepgen.nn.train import Loss, Progress, train
from hepgen.parameters import ParameterSet
from hepgen.results import TrainingCurve

_BLOCK = 50
_FLOORS = (1e-3, 1e-6)
"""Of the whitening, in the two parts; the first is about to change what it whitens."""
_SLACK = 1.2
"""How far outside the sizes it was trained on a posterior is still trusted."""
_EMBEDDED_AT_ONCE = 200_000
_DENSITY_SHARE = 0.4
"""How long the second part takes, in units of the first; for the time left only."""


class NPE:
    """p(θ | {x}) for event sets; made by :meth:`fit` or :meth:`load`."""

    def __init__(
        self,
        network: _Network,
        features: FeatureSpace,
        parameters: ParameterSet,
        *,
        sizes: tuple[int, int],
        curve: TrainingCurve,
        embedding_curve: TrainingCurve,
    ) -> None:
        self.network = network
        self.features = features
        self.parameters = parameters
        self.sizes = sizes
        self.curve = curve
        self.embedding_curve = embedding_curve
        self._prior = UnboundedPrior(parameters)

    @classmethod
    def fit(
        cls,
        x: Tensor,
        offsets: Tensor,
        theta: Tensor,
        *,
        features: Sequence[Feature],
        parameters: ParameterSet,
        weight: Tensor | None = None,
        set_weight: Tensor | None = None,
        density: str = "mixture",
        smallest: int = 100,
        subset: int = 300,
        embedding: int = 24,
        event_hidden: Sequence[int] = (48, 48),
        components: int = 4,
        hidden: Sequence[int] = (48, 48, 48),
        width: int = 32,
        blocks: int = 2,
        embedding_epochs: int = 40,
        density_epochs: int = 120,
        validation_fraction: float = 0.1,
        seed: int = 0,
        checkpoint: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
        time_budget: float | None = None,
        device: str = "auto",
    ) -> NPE:
        """Learn p(θ | {x}) from simulated event sets, each with its own θ.

        Arguments:
            x: The events of all sets in order, shape ``(T, d)``, in physical variables.
            offsets: Where each set starts, and the end, shape ``(S + 1,)``.
            theta: The parameters that made each set, shape ``(S, D)``.
            features: What the d columns are, with their bounds.
            parameters: What the D columns of θ are.
            weight: Signed event weights, shape ``(T,)``.
            set_weight: Weights of the sets, e.g. those of a bootstrap, shape ``(S,)``.
            density: ``mixture``, ``flow-matching`` or ``diffusion``.
            smallest: The fewest events of a data set that the posterior will be asked about.
            subset: The most events of a set that a step of the first part looks at.
            embedding: The length of the embedding of an event.
            event_hidden, hidden: The widths of the network of an event, and of the density.
            components: Logistics a parameter; see :class:`hepgen.nn.mixture.LogisticMixture`.
            width, blocks: Of the network of a field.
            embedding_epochs, density_epochs: Passes over the sets in the two parts.
            seed, validation_fraction, progress: See :func:`hepgen.nn.train.train`.
            checkpoint: As there; the second part has a file of its own beside it.
            time_budget: Seconds for both parts.
            device: Where to train, see :func:`hepgen.nn.device.choose`.

        Raises:
            DataError: Events, offsets or weights that cannot be used.
            ParameterError: A θ outside its prior, or no such density.
        """
        check_density(density)
        check_offsets(offsets, len(x))
        check_theta(theta, parameters, len(offsets) - 1)
        space = FeatureSpace.from_sample(as_continuous(features), x)
        weight, worth = training_weights(weight, offsets.diff(), smallest)
        sizes = (min(smallest, int(worth.min())), int(worth.max()))
        architecture = {
            "embedding": embedding,
            "event_hidden": list(event_hidden),
            "components": components,
            "hidden": list(hidden),
        }
        chosen = {**architecture, "density": density, "width": width, "blocks": blocks}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # The first part always has a mixture: its density only serves the embedding.
            first, network = (
                _Network(len(space), len(parameters.free), one)
                for one in (architecture, architecture if density == "mixture" else chosen)
            )
        (events,) = standardised(Derived(space.forward, x))
        target = UnboundedPrior(parameters).unbounded(theta).float()
        subsets = SetRows(events, offsets, target, smallest=smallest, largest=subset, weight=weight)
        first.embedding.whiten(_some_means(first.embedding, subsets, seed), floor=_FLOORS[0])
        share = 1 / (1 + _DENSITY_SHARE)
        with trained_on(first, choose(device)):
            embedding_curve = train(
                first,
                lambda batch: first.density.loss(
                    batch[2], first.embedding(batch[0], batch[1], *batch[3:])
                ),
                subsets,
                weight=set_weight,
                batch_size=_batch(len(target), 40, 64),
                epochs=embedding_epochs,
                max_learning_rate=4e-3,
                patience=None,
                validation_fraction=validation_fraction,
                seed=seed,
                checkpoint=checkpoint and _beside(checkpoint, "embedding"),
                progress=_both_parts(progress),
                time_budget=time_budget and time_budget * share,
            )
        network.embedding.event.load_state_dict(first.embedding.event.state_dict())
        rows = block_rows(network.embedding, events, offsets, target, smallest, weight)
        network.embedding.whiten(rows.full()[0], floor=_FLOORS[1])
        with trained_on(network, choose(device)):
            parts = training_parts(network.density)
            for name, part, loss in parts:
                curve = train(
                    part,
                    _given(network.embedding, loss),
                    rows,
                    weight=set_weight,
                    batch_size=_batch(len(target), 30, 256),
                    epochs=density_epochs,
                    max_learning_rate=3e-3,
                    weight_decay=0.1,
                    patience=None,
                    validation_fraction=validation_fraction,
                    seed=seed,
                    checkpoint=checkpoint and _beside(checkpoint, name),
                    progress=progress and _named(progress, name),
                    time_budget=time_budget and time_budget * (1 - share) / len(parts),
                )
        network.eval()
        return cls(
            network, space, parameters, sizes=sizes, curve=curve, embedding_curve=embedding_curve
        )

    @property
    def method(self) -> str:
        """``npe``, ``fmpe`` or ``npse``."""
        return METHODS[self.network.architecture.get("density", "mixture")]

    def posterior(self) -> NPEPosterior:
        """The posterior, in sbi's shapes."""
        return NPEPosterior(self)

    @torch.no_grad()
    def condition(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> Tensor:
        """Embeddings of data sets, shape ``(S, E + 1)``, each computed by itself.

        Raises:
            DataError: A set has fewer or more events than those trained on.
        """
        return torch.cat([self._embed(*one) for one in zip(x, weight, strict=True)])

    def save(self, folder: Path | str) -> None:
        """Write ``model.json`` and ``weights.safetensors`` into ``folder``."""
        description = {
            "architecture": self.network.architecture,
            "features": self.features.to_dict(),
            "parameters": self.parameters.to_dict(),
            "sizes": list(self.sizes),
            "training": {"embedding": self.embedding_curve, "density": self.curve},
        }
        write_model(Path(folder), "npe", description, self.network)

    @classmethod
    def load(cls, folder: Path | str) -> NPE:
        """Read what :meth:`save` wrote; nothing from the files is executed.

        Raises:
            FileError: The files are missing, truncated, edited, or from a newer version.
        """
        entry = read_model(Path(folder), "npe")
        try:
            parameters = ParameterSet.from_dict(entry["parameters"])
            features = FeatureSpace.from_dict(entry["features"])
            low, high = entry["sizes"]
            curves = [curve_from_dict(entry["training"][part]) for part in ("density", "embedding")]
            # Not on the device meta: what follows from the architecture is in no file.
            with torch.random.fork_rng(devices=[]):
                network = _Network(len(features), len(parameters.free), entry["architecture"])
        except (KeyError, TypeError, ValueError, DataError, ParameterError) as error:
            raise FileError(f"{folder}/model.json does not describe an NPE: {error!r}") from error
        load_weights(Path(folder), network)
        return cls(
            network, features, parameters,
            sizes=(int(low), int(high)), curve=curves[0], embedding_curve=curves[1],
        )  # fmt: skip

    def __repr__(self) -> str:
        names = ", ".join(self.features.names)
        name = self.method.upper()
        return f"{name}(p({', '.join(self.parameters.free_names)} | {{{names}}}))"

    def _embed(self, x: Tensor, weight: Tensor | None) -> Tensor:
        self.features.check(x)
        weights = event_weights(weight, len(x))
        low, high = self.sizes
        worth = weights.sum().square() / weights.square().sum()
        if not low / _SLACK <= worth <= high * _SLACK:
            counted = "" if weight is None else f" of one weight, which {len(x)} are worth"
            raise DataError(
                f"a data set of {worth.item():g} events{counted}; this posterior was trained on "
                f"{low} to {high}: train it on sets of such a size, or use NLE, which knows no "
                "limit"
            )
        embedding = self.network.embedding
        chunks = torch.split(self.features.forward(x).float(), _EMBEDDED_AT_ONCE)
        total = sum(
            w @ embedding.embed(chunk).double()
            for chunk, w in zip(chunks, torch.split(weights, _EMBEDDED_AT_ONCE), strict=True)
        )
        mean = torch.as_tensor(total / weights.sum()).float()
        return embedding.standardise(mean[None], worth[None])


class NPEPosterior(Posterior):
    """The amortised posterior of an :class:`NPE`: draws cost one pass of its networks."""

    def __init__(self, npe: NPE) -> None:
        super().__init__(npe.parameters)
        self.npe = npe
        self._unbounded = UnboundedPrior(npe.parameters)

    def draw_batched(
        self,
        n: int,
        x: Sequence[Tensor],
        *,
        weight: Sequence[Tensor | None] | None = None,
        seed: int = 0,
    ) -> list[PosteriorSample]:
        """n independent draws for each data set; see :meth:`Posterior.draw_batched`."""
        condition = self.npe.condition(x, [None] * len(x) if weight is None else weight)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            u = self.npe.network.density.sample(torch.Size([n]), condition)
        theta = self._unbounded.physical(u).transpose(0, 1)
        names, method = self._unbounded.names, self.npe.method
        return [PosteriorSample(one, names, method, (float(n),) * len(names)) for one in theta]

    def log_prob(
        self, theta: Tensor, x: Tensor | None = None, *, weight: Tensor | None = None
    ) -> Tensor:
        """log p(θ | x), shape ``(K,)``, −∞ outside the prior."""
        theta = theta.double().reshape(-1, len(self._unbounded))
        inside = torch.isfinite(self.prior.log_prob(theta))
        u = self._unbounded.unbounded(theta)
        condition = self.npe.condition([self.data(x)], [weight])
        with torch.no_grad():
            density = self.npe.network.density.log_prob(u[:, None].float(), condition)[:, 0]
        values = density.double() - self._unbounded.log_jacobian(u)
        return torch.where(inside, values, -torch.inf)


class _Network(nn.Module):
    """The two networks: of an event, and of the density."""

    def __init__(self, features: int, parameters: int, architecture: dict[str, Any]) -> None:
        super().__init__()
        self.architecture = architecture
        outputs = int(architecture["embedding"])
        event_hidden = tuple(map(int, architecture["event_hidden"]))
        self.embedding = DeepSet(features, outputs, event_hidden)
        self.density: Any = build_density(parameters, outputs + 1, architecture)


@torch.no_grad()
def block_rows(
    embedding: DeepSet,
    events: Column,
    offsets: Tensor,
    target: Tensor,
    smallest: int,
    weight: Tensor | None = None,
) -> BlockRows:
    """The sums of the embedding over blocks of events; see :class:`hepgen.nn.sets.BlockRows`."""
    counts, starts = block_offsets(offsets, min(_BLOCK, smallest))
    blocks = max(1, _EMBEDDED_AT_ONCE // int(counts.max()))
    sums, first = [], 0
    for part in torch.split(counts, blocks):
        last = first + int(part.sum())
        embedded = embedding.embed(events[first:last])
        if weight is not None:
            embedded = weight[first:last, None] * embedded
        sums.append(segment_sum(embedded, part))
        first = last
    both = None
    if weight is not None:
        both = segment_sum(weight, counts), segment_sum(weight.square(), counts)
    return BlockRows(torch.cat(sums), counts, starts, target, smallest=smallest, weight=both)


@torch.no_grad()
def _some_means(embedding: DeepSet, subsets: SetRows, seed: int) -> Tensor:
    """The means of f over subsets of the first sets, shape ``(S, E)``."""
    index = torch.arange(min(2000, len(subsets)))
    events, counts, _, *weight = subsets.take(index, torch.Generator().manual_seed(seed))
    return embedding.mean(events, counts, *weight)[0]


def _batch(rows: int, steps: int, most: int) -> int:
    """A batch of at most ``most`` rows that leaves an epoch about ``steps`` steps."""
    return max(8, min(most, rows // steps))


def _given(embedding: DeepSet, loss: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """The loss of a density, of what :class:`BlockRows` gives."""
    return lambda batch: loss(batch[2], embedding.standardise(batch[0], batch[1]))


def _beside(checkpoint: Path, part: str) -> Path:
    """A file for each part; that of the density is the one that was asked for."""
    return checkpoint if part == "density" else checkpoint.with_name(f"{part}_{checkpoint.name}")


def _named(progress: Callable[[Progress], None], part: str) -> Callable[[Progress], None]:
    return lambda now: progress(replace(now, part=part))


def _both_parts(progress: Callable[[Progress], None] | None) -> Callable[[Progress], None] | None:
    """Reports of the first part whose time left includes the second."""
    if progress is None:
        return None
    start = time.monotonic()

    def report(now: Progress) -> None:
        first = time.monotonic() - start + now.seconds_left
        left = now.seconds_left + _DENSITY_SHARE * first
        progress(replace(now, part="embedding", seconds_left=left))

    return report
