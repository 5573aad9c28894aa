from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.exchange.binning import binning_cost
from hepgen.inference.exchange.pyhf_workspace import PyhfWorkspace
from hepgen.parameters import Parameter, ParameterSet, Uniform
from tests.inference.exchange import analyses

# pyhf's own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Creating a tensor from a list:UserWarning"),
    pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning"),
]

PLACE = ParameterSet([Parameter("m", 0.0, prior=Uniform(-1.0, 1.0))])


def _gaussian(theta: Tensor, edges: Tensor) -> Tensor:
    """10,000 events of a unit Gaussian at θ."""
    below: Tensor = torch.special.ndtr(edges - theta[0])
    return 1e4 * below.diff()


def test_the_mean_of_a_gaussian_is_known_to_one_over_the_root_of_n() -> None:
    edges = torch.linspace(-7.5, 7.5, 961).double()
    found = binning_cost(_gaussian, PLACE, "m", edges, [15, 30, 60, 240])
    assert found.unbinned == pytest.approx(0.01, rel=1e-4)
    # Sheppard: bins of width h cost 1 + h²/24 of the error to leading order; h = 1, ½, ¼.
    steps = 15 / found.bins[:3]
    assert found.ratio[1:3] - 1 == pytest.approx(steps[1:] ** 2 / 24, rel=0.05)
    assert bool((np.diff(found.ratio) <= 0).all())


def _angle(theta: Tensor, edges: Tensor) -> Tensor:
    density = analyses.exact().density
    centres = 0.5 * (edges[1:] + edges[:-1])
    values = {n: v.reshape(1) if v.dim() else v for n, v in analyses.ANGLE.values(theta).items()}
    height = density.log_prob(centres[:, None], values).exp().reshape(-1) * edges.diff()
    return analyses.EVENTS * height


def test_the_fit_of_pyhf_has_the_error_that_the_information_says() -> None:
    cost = binning_cost(_angle, analyses.ANGLE, "sin2_theta_w", analyses.edges(1000), [5, 20, 100])
    for bins, error in zip(cost.bins.tolist()[:2], cost.error, strict=False):
        fitted = PyhfWorkspace.of(analyses.angle_model(bins=bins)).fit()["sin2_theta_w"]
        assert fitted.error == pytest.approx(error, rel=0.01)
    assert 1.0 <= cost.ratio[2] < cost.ratio[1] < cost.ratio[0] < 1.2


def test_what_cannot_be_known_is_refused() -> None:
    edges = torch.linspace(-5, 5, 13).double()
    with pytest.raises(DataError, match="5 bins of 12"):
        binning_cost(_gaussian, PLACE, "m", edges, [5])
    with pytest.raises(ParameterError, match="'s' is not free"):
        binning_cost(_gaussian, PLACE, "s", edges, [4])
    two = ParameterSet([*PLACE, Parameter("n", 0.0, prior=Uniform(-1.0, 1.0))])
    with pytest.raises(ParameterError, match="4 bins do not fix m, n"):
        binning_cost(lambda t, e: _gaussian(t[:1] + t[1:], e), two, "m", edges, [4])
