"""The table of families: the name that ``--method`` takes, and the class that it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from hepgen.errors import SurrogateError, nearest
from hepgen.features import Feature
from hepgen.surrogates.conditional import ConditionalDensity
from hepgen.surrogates.options import check_options


@dataclass(frozen=True)
class Family:
    """One way to learn a conditional density.

    Arguments:
        build: d, C and options to an untrained model.
        title: In words, for tables.
        training: Settings of :func:`hepgen.nn.train.train` that suit it.
        teacher: The family it learns from, if it does not learn from events.
    """

    build: Callable[..., ConditionalDensity]
    title: str
    training: Mapping[str, Any] = field(default_factory=dict)
    teacher: str = ""

    def __call__(
        self, features: int, context: int, options: Mapping[str, Any]
    ) -> ConditionalDensity:
        """An untrained model.

        Raises:
            SurrogateError: An option that it does not have, or a value it cannot use.
        """
        check_options(self.title, options)
        try:
            return self.build(features, context, **options)
        except SurrogateError:
            raise
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            # Of a keyword that no argument takes, Python says more than a user has asked for.
            unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            words = f"there is no {unknown[1]!r}; see its page" if unknown else str(error)
            raise SurrogateError(f"options of the {self.title}: {words}") from error


_DIFFUSION = {"batch_size": 1024, "epochs": 60, "patience": None}
_DISTILLATION = {"batch_size": 1024, "epochs": 40, "patience": None}


def _flow(kind: str, features: int, context: int, **options: Any) -> ConditionalDensity:
    from hepgen.surrogates.flows import Flow  # imports zuko

    return Flow(features, context, kind=kind, **options)


def _mixture(features: int, context: int, **options: Any) -> ConditionalDensity:
    from hepgen.surrogates.mixture import Mixture

    return Mixture(features, context, **options)


def _cnf(features: int, context: int, **options: Any) -> ConditionalDensity:
    from hepgen.surrogates.continuous.cnf import CNF

    return CNF(features, context, **options)


def _flow_matching(features: int, context: int, **options: Any) -> ConditionalDensity:
    from hepgen.surrogates.continuous.flow_matching import FlowMatching

    return FlowMatching(features, context, **options)


# Of splines, a rate of 1e-2 ended lower than 4e-3 on a toy, and of flow matching 5e-3 than 2e-3.
_TRAINING = {"batch_size": 1024, "epochs": 20}
_SPLINES = {**_TRAINING, "max_learning_rate": 1e-2}
_GENTLE = {**_TRAINING, "max_learning_rate": 5e-3}


def _vae(features: int, context: int, **options: Any) -> ConditionalDensity:
    from hepgen.surrogates.vae.model import VAE  # imports Pyro

    return VAE(features, context, **options)


def _hvae(features: int, context: int, **options: Any) -> ConditionalDensity:
    return _vae(features, context, **({"levels": 2} | options))


def _diffusion(features: int, context: int, **options: Any) -> ConditionalDensity:
    from hepgen.surrogates.diffusion.model import Diffusion

    return Diffusion(features, context, **options)


def _distilled(features: int, context: int, **options: Any) -> ConditionalDensity:
    from hepgen.surrogates.diffusion.distillation import Distilled

    return Distilled(features, context, **options)


FAMILIES: dict[str, Family] = {
    "coupling": Family(partial(_flow, "coupling"), "coupling flow, affine", _GENTLE),
    "flow": Family(
        partial(_flow, "spline-coupling"), "coupling flow, rational-quadratic splines", _SPLINES
    ),
    "autoregressive": Family(
        partial(_flow, "autoregressive"), "autoregressive flow, affine", _GENTLE
    ),
    "spline-autoregressive": Family(
        partial(_flow, "spline-autoregressive"),
        "autoregressive flow, rational-quadratic splines",
        _SPLINES,
    ),
    "umnn": Family(partial(_flow, "umnn"), "autoregressive flow, monotonic networks", _GENTLE),
    "mixture": Family(_mixture, "autoregressive mixture of logistics", _GENTLE),
    "cnf": Family(_cnf, "continuous flow, maximum likelihood", _GENTLE),
    "flow-matching": Family(
        _flow_matching, "continuous flow, flow matching", {**_GENTLE, "epochs": 40}
    ),
    "vae": Family(_vae, "variational auto-encoder", _TRAINING),
    "hvae": Family(_hvae, "hierarchical variational auto-encoder", _TRAINING),
    "distilled": Family(
        _distilled, "diffusion in few steps, distilled", _DISTILLATION, teacher="diffusion"
    ),
    "diffusion": Family(_diffusion, "diffusion", _DIFFUSION),
}
"""The families by name."""


def family(method: str) -> Family:
    """The family that is called ``method``.

    >>> family("flwo")
    Traceback (most recent call last):
    hepgen.errors.SurrogateError: no family 'flwo'; did you mean 'flow'?
    """
    try:
        return FAMILIES[method]
    except KeyError:
        raise SurrogateError(f"no family {method!r}; {nearest(method, list(FAMILIES))}") from None


def check_distilled(features: Sequence[Feature]) -> None:
    """Refuse to distil what has no density of plain numbers, before the teacher is trained.

    Raises:
        SurrogateError: A column is an angle, a count, or zero for some events.
    """
    for one in features:
        if one.kind != "continuous":
            raise SurrogateError(
                f"{one.name!r} is {one.kind}, and what is distilled are plain continuous columns: "
                "use the diffusion itself, or a flow"
            )


def build(
    method: str, features: int, context: int, options: Mapping[str, Any], seed: int = 0
) -> ConditionalDensity:
    """An untrained model whose initial weights follow from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return family(method)(features, context, options)
