"""The page of an auto-encoder shows what its latents move; those of other families nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hepgen.features import Feature
from hepgen.pipeline.latents import latent_figures
from hepgen.surrogates.surrogate import Surrogate


def trained(method: str) -> tuple[Surrogate, torch.Tensor]:
    """x₀ is a number of GeV about θ, and x₁ a share."""
    z = torch.randn(2000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    theta = z[:, 2:]
    x = torch.stack([91 + theta[:, 0] + z[:, 0], z[:, 1].sigmoid()], -1)
    features = [Feature("mass", "GeV", "$m$"), Feature("share", low=0.0, high=1.0)]
    made = Surrogate.fit(
        x, theta, features=features, inputs=[Feature("m_z")], method=method,
        options={"hidden": [16]}, epochs=3, batch_size=200, device="cpu",
    )  # fmt: skip
    return made, theta


@pytest.mark.parametrize("method", ["vae", "hvae"])
def test_each_feature_follows_each_latent_in_its_unit(method: str) -> None:
    surrogate, theta = trained(method)
    ((title, figure),) = latent_figures(surrogate, theta).items()
    assert title == "Features along the latents"
    upper, lower = figure.axes
    assert upper.get_ylabel() == "$m$ [GeV]"
    # As many as there are features, by default.
    assert len(upper.lines) == len(lower.lines) == 2
    for line in lower.lines:
        share = np.asarray(line.get_ydata())
        assert np.all((share > 0) & (share < 1))
    # All latents at zero are one event, whichever of them is drawn.
    middle = [np.asarray(line.get_ydata())[20] for line in upper.lines]
    assert np.allclose(middle, middle[0])
    assert max(np.ptp(np.asarray(line.get_ydata())) for line in upper.lines) > 0.1


def test_other_families_have_none() -> None:
    assert latent_figures(*trained("coupling")) == {}
