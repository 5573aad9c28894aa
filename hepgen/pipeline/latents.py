"""What the latents of an auto-encoder mean, for its page: each feature along each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.surrogates.surrogate import Surrogate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_REACH, _VALUES, _MOST = 2.5, 41, 6


@torch.no_grad()
def latent_figures(surrogate: Surrogate, context: Tensor) -> dict[str, Figure]:
    """The traversal of a surrogate that is an auto-encoder, by title; of others nothing.

    What an event is decoded to without noise, which is about a median, while one latent of the
    last level goes from −2.5 to 2.5 and the others are zero; the first six latents and features.

    Arguments:
        surrogate: Of any family.
        context: Of events, shape ``(N, C)``; the latents move at its median.
    """
    from hepgen.surrogates.vae.model import VAE  # imports Pyro

    model = surrogate.model
    if not isinstance(model, VAE):
        return {}
    from hepgen.plots.latent import plot_traversal, traversal

    given = surrogate._standardised(context.median(dim=0, keepdim=True).values)

    def decode(z: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = torch.from_numpy(z).to(model.precision)
        u = model.decode(rows, given.expand(len(rows), -1))
        decoded: NDArray[np.float64] = surrogate.features.inverse(u).numpy()
        return decoded

    values = np.linspace(-_REACH, _REACH, _VALUES)
    decoded = traversal(decode, np.zeros(model.hierarchy.latent), values)[:_MOST, :, :_MOST]
    labels = [feature.axis for feature in surrogate.features.features][:_MOST]
    title = "Features along the latents"
    return {title: plot_traversal(decoded, values, labels=labels, title=title)}
