"""The stages of a linear-Gaussian chain, whose closed forms are in ``linear_gaussian``."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from pyro.distributions import Normal
from torch import Tensor

from hepgen.parameters import Parameter
from hepgen.simulators.linear_gaussian import LinearGaussian
from hepgen.simulators.stage import Stage, State

NOISE_SCALE = Parameter("noise_scale", 1.0, label="$s$", low=0.01, high=100.0)


def theta(count: int) -> tuple[Parameter, ...]:
    """The components of θ.

    >>> [p.name for p in theta(2)]
    ['theta_0', 'theta_1']
    """
    return tuple(
        Parameter(
            f"theta_{i}", 0.0, role="interest", label=rf"$\theta_{{{i}}}$", low=-1e3, high=1e3
        )
        for i in range(count)
    )


class GaussianSource(Stage):
    """z₁ = Aθ + b₁ + σ₁ε, shape ``(G, E, D)``. Site: ``z_1``."""

    name = "z_1"
    provides = ("z_1",)

    def __init__(self, model: LinearGaussian) -> None:
        self.model = model
        self.parameters = theta(model.parameters)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw the first latent of each event."""
        shape = state["event"].shape
        values = torch.stack([parameters[p.name].expand(shape) for p in self.parameters], dim=-1)
        return state | {"z_1": _draw("z_1", self.model, 0, values)}


class GaussianLink(Stage):
    """z_k = W_k z_{k−1} + b_k + σ_k ε, shape ``(G, E, D)``. Site: ``z_k``.

    Arguments:
        model: The chain.
        k: Which link, 2 to L.
    """

    def __init__(self, model: LinearGaussian, k: int) -> None:
        self.model, self.k = model, k
        self.name = f"z_{k}"
        self.requires, self.provides = (f"z_{k - 1}",), (self.name,)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Draw latent number k of each event."""
        drawn = _draw(self.name, self.model, self.k - 1, state[self.requires[0]])
        return state | {self.name: drawn}


class GaussianMeasurement(Stage):
    """x = W z_L + b + sσε, and its components as columns x_0, x_1 … Site: ``x``."""

    name = "x"
    parameters = (NOISE_SCALE,)

    def __init__(self, model: LinearGaussian) -> None:
        self.model = model
        self.requires = (f"z_{model.depth}",)
        self.provides = ("x", *(f"x_{i}" for i in range(model.dimension)))

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Measure each event."""
        scale = parameters["noise_scale"].expand(state["event"].shape)[..., None]
        x = _draw("x", self.model, self.model.depth, state[self.requires[0]], scale)
        return state | {"x": x} | {f"x_{i}": x[..., i] for i in range(self.model.dimension)}


def gaussian_stages(model: LinearGaussian) -> list[Stage]:
    """The stages of a chain, one for each link."""
    links = [GaussianLink(model, k) for k in range(2, model.depth + 1)]
    return [GaussianSource(model), *links, GaussianMeasurement(model)]


def _draw(
    site: str, model: LinearGaussian, link: int, value: Tensor, scale: Tensor | float = 1.0
) -> Tensor:
    mean = value @ model.matrices[link].T + model.offsets[link]
    sigma = model.sigmas[link] * scale * torch.ones_like(mean)
    drawn: Tensor = pyro.sample(site, Normal(mean, sigma, validate_args=False).to_event(1))
    return drawn
