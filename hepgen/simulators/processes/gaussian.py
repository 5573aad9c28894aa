"""A linear-Gaussian chain: the process whose every density is known."""

from __future__ import annotations

import math

from hepgen.errors import WorkflowError
from hepgen.simulators.chain import Chain
from hepgen.simulators.gaussian import gaussian_stages
from hepgen.simulators.linear_gaussian import LinearGaussian


def gaussian(depth: int = 3, dimension: int = 2, parameters: int = 2, noise: float = 0.5) -> Chain:
    """θ → z_1 → … → z_depth → x, linear with Gaussian noise; every density is known.

    The closed forms are those of ``LinearGaussian.standard`` with the same arguments.

    Arguments:
        depth: The number of latents.
        dimension: The length of each latent, and of x.
        parameters: The length of θ; at most ``dimension``, or x could not tell its components.
        noise: The standard deviation of the last link at ``noise_scale`` = 1; the others' is 1.
    """
    for name, value in (("depth", depth), ("dimension", dimension), ("parameters", parameters)):
        if value < 1:
            raise WorkflowError(f"{name} = {value}: expected a whole number above 0")
    if parameters > dimension:
        raise WorkflowError(
            f"parameters = {parameters} for x of dimension {dimension}: expected at most as many; "
            "raise dimension, or lower parameters"
        )
    if not (math.isfinite(noise) and noise > 0):
        raise WorkflowError(f"noise = {noise}: expected a positive number")
    model = LinearGaussian.standard(depth, dimension, parameters, noise)
    columns = {f"x_{i}": ("", f"$x_{{{i}}}$") for i in range(dimension)}
    return Chain(gaussian_stages(model), observables=columns, name="gaussian")
