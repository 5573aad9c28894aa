"""The tables of the estimators: how each is trained."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, PositiveInt

from hepgen.config.section import Section

EstimatorName = Literal[
    "nle", "npe", "fmpe", "npse", "nre", "classifier", "sally", "rascal", "alices", "scandal"
]

ESTIMATORS: tuple[EstimatorName, ...] = get_args(EstimatorName)
"""The estimators, each with a table of its name in the workflow file."""


class EstimatorEntry(Section):
    """What the training of every estimator has; absent keys are its defaults."""

    seed: int = Field(default=1, description="of the training")
    members: int = Field(
        default=1,
        gt=0,
        description="networks, whose average is used: of likelihoods the mean logarithm, whose "
        "spread is the uncertainty of finite simulation, of posteriors the mixture",
    )
    scheme: Literal["bootstrap", "parts"] = Field(
        default="bootstrap",
        description="what members learn from: all events with Poisson weights, or a part each; of "
        "posteriors all event sets, or a part",
    )


class TrainingEntry(EstimatorEntry):
    """What the training of every estimator of single events has; absent keys are its defaults."""

    epochs: int | None = Field(default=None, gt=0, description="passes over the events")
    batch_size: int | None = Field(default=None, gt=0, description="events in a step")
    max_learning_rate: float | None = Field(default=None, gt=0, description="top of the cycle")
    hidden: list[PositiveInt] | None = Field(
        default=None, min_length=2, description="widths of the network"
    )


class LikelihoodEntry(TrainingEntry):
    """``[nle]``: the training of the event density p(x | θ); absent keys are its defaults."""

    components: int | None = Field(
        default=None, gt=0, description="of the mixture, for each feature"
    )


class RatioEntry(TrainingEntry):
    """``[nre]``: the training of the ratio p(x | θ)/p(x); absent keys are its defaults."""

    loss: Literal["binary", "contrastive"] | None = Field(
        default=None, description="of two classes, or of one among several θ"
    )
    contrasts: int | None = Field(default=None, gt=0, description="other θ for each event")
    gamma: float | None = Field(default=None, gt=0, description="odds of the contrastive loss")


class ReferenceEntry(TrainingEntry):
    """``[classifier]``: the training of p(x | θ)/p(x | θ_ref); absent keys are its defaults."""

    reference: dict[str, float] = Field(
        default_factory=dict, description="θ_ref, where it is not the default: { NAME = value }"
    )


class JointRatioEntry(ReferenceEntry):
    """``[rascal]`` and ``[alices]``: p(x | θ)/p(x | θ_ref) from joint ratios and joint scores."""

    alpha: float | None = Field(default=None, ge=0, description="weight of the score")


class ScoreEntry(ReferenceEntry):
    """``[sally]``: the score at θ_ref, and the likelihood of it at any θ."""

    likelihood: Literal["mean", "histogram"] | None = Field(
        default=None,
        description="of the mean score of a data set, or of its histogram, which at most two "
        "parameters may have; by default the histogram for these",
    )
    bins: int | None = Field(default=None, gt=1, description="of the histogram, for each parameter")
    degree: int | None = Field(default=None, gt=0, description="of the polynomials of θ")


class ScoreDensityEntry(LikelihoodEntry):
    """``[scandal]``: the event density from events and joint scores."""

    alpha: float | None = Field(default=None, ge=0, description="weight of the score")


class AmortisedEntry(EstimatorEntry):
    """What the training of every amortised posterior has; absent keys are its defaults."""

    embedding_epochs: int | None = Field(
        default=None, gt=0, description="passes over the sets for the embedding of an event"
    )
    density_epochs: int | None = Field(
        default=None, gt=0, description="passes over the sets for the density of the parameters"
    )
    smallest: int | None = Field(default=None, gt=0, description="fewest events of a data set")


class PosteriorEntry(AmortisedEntry):
    """``[npe]``: the training of the amortised posterior; absent keys are its defaults."""

    components: int | None = Field(
        default=None, gt=0, description="of the mixture, for each parameter"
    )


class FieldEntry(AmortisedEntry):
    """``[fmpe]`` and ``[npse]``: the posterior by flow matching and by diffusion."""

    width: int | None = Field(default=None, gt=0, description="of the network of the field")
    blocks: int | None = Field(default=None, gt=0, description="of that network")
