"""The table of networks: each maps points, γ and contexts to outputs of the points' shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from hepgen.errors import SurrogateError, nearest
from hepgen.nn.attention import SetNetwork
from hepgen.nn.residual import ResidualMLP
from hepgen.nn.unet import UNet

Build = Callable[..., nn.Module]
"""d, C, outputs and options to network(x (B, d), γ (B,), c (B, C)) → (B, outputs)."""


def _mlp(features: int, context: int, outputs: int, **options: Any) -> nn.Module:
    return ResidualMLP(features, context, outputs, **options)


def _unet(features: int, context: int, outputs: int, **options: Any) -> nn.Module:
    return UNet(features, context, outputs, **options)


def _set(features: int, context: int, outputs: int, **options: Any) -> nn.Module:
    return SetNetwork(features, context, outputs, **options)


NETWORKS: dict[str, Build] = {"mlp": _mlp, "unet": _unet, "set": _set}


def network(name: str, features: int, context: int, outputs: int, **options: Any) -> nn.Module:
    """An untrained network; :data:`NETWORKS` has the names.

    >>> network("mpl", 2, 0, 2)
    Traceback (most recent call last):
    hepgen.errors.SurrogateError: no network 'mpl'; did you mean 'mlp'?
    """
    if name not in NETWORKS:
        raise SurrogateError(f"no network {name!r}; {nearest(name, list(NETWORKS))}")
    return NETWORKS[name](features, context, outputs, **options)
