"""The polynomial likelihood against the one that it is made of."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.polynomial_likelihood import PolynomialLikelihood, PolynomialSets
from hepgen.inference.statistics.fit import fit
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform

X = torch.linspace(-2.9, 2.9, 59, dtype=torch.float64)
PARAMETERS = ParameterSet(
    [
        Parameter("s", 10.0, role="interest", prior=Uniform(-10.0, 60.0)),
        Parameter("shift", 0.0, prior=Normal(0.0, 0.2)),
    ]
)


def log_rate(theta: Tensor) -> Tensor:
    """A Gaussian of s events on three in each of 59 bins, at a place known to 0.2."""
    line = torch.exp(-0.5 * (X - theta[:, 1:]).square()) / math.sqrt(2 * math.pi)
    return (3.0 + 0.1 * theta[:, :1] * line).log()


@pytest.fixture(scope="module")
def model() -> PolynomialLikelihood:
    return PolynomialLikelihood(PARAMETERS, log_rate, degree=7, rate=True)


def test_it_is_the_likelihood(model: PolynomialLikelihood) -> None:
    counts = torch.poisson(torch.full((3, 59), 3.2).double(), torch.Generator().manual_seed(2))
    kinds = [torch.arange(59).repeat_interleave(row.long()) for row in counts]
    padded = torch.nn.utils.rnn.pad_sequence(kinds, batch_first=True, padding_value=-1)
    auxiliary = torch.tensor([[0.0, 0.1], [0.0, -0.2], [0.0, 0.0]], dtype=torch.float64)
    theta = torch.tensor([[5.0, 0.0], [20.0, 0.3], [12.0, -0.4]], dtype=torch.float64)
    found = model.log_likelihoods(model.encode(padded, auxiliary), theta.expand(3, -1, -1))
    rate = log_rate(theta)
    exact = torch.einsum("kb,sb->sk", rate, counts) - rate.exp().sum(-1)
    z = (theta[None, :, 1] - auxiliary[:, None, 1]) / 0.2
    exact = exact - 0.5 * z.square() - math.log(0.2 * math.sqrt(2 * math.pi))
    assert model.residual < 2e-3
    assert torch.allclose(found, exact, atol=0.05)


def test_asimov_data_have_their_maximum_at_the_truth(model: PolynomialLikelihood) -> None:
    truth = torch.tensor([15.0, 0.1], dtype=torch.float64)
    found = fit(model, model.asimov(truth))
    assert bool(found.converged.all())
    assert torch.allclose(found.theta[0], truth, atol=1e-3)


def test_toys_scatter_as_the_curvature_says(model: PolynomialLikelihood) -> None:
    theta = torch.tensor([[25.0, 0.0]], dtype=torch.float64).expand(400, -1)
    found = fit(model, model.generate(theta, 5))
    pulls = ((found.theta - theta) / found.errors)[:, 0]
    # At a bound there is no error; it is three σ away.
    assert found.at_bound[:, 0].double().mean() < 0.02
    pulls = pulls[~found.at_bound[:, 0]]
    # Four standard errors of 400 toys, and the skewness of a Poisson mean.
    assert abs(pulls.mean().item()) < 0.25
    assert pulls.std().item() == pytest.approx(1.0, abs=0.15)


def test_a_best_fit_beyond_the_polynomial_is_at_its_end(model: PolynomialLikelihood) -> None:
    """An auxiliary measurement six σ off, and a parameter of interest that goes along."""
    sets = model.generate(torch.tensor([[40.0, 0.0]], dtype=torch.float64), 3)
    far = PolynomialSets(sets.sums, torch.tensor([[0.0, -8.0]], dtype=torch.float64))
    found = fit(model, far)
    assert found.status == ("converged",)
    assert found.column("shift").item() == pytest.approx(-1.0, abs=1e-12)
    assert bool(found.at_bound[0, 1])


def test_refusals() -> None:
    with pytest.raises(DataError, match="NaN or infinite"):
        PolynomialLikelihood(PARAMETERS, lambda t: (t[:, :1] - 20.0).log(), degree=2)
    density = PolynomialLikelihood(PARAMETERS, log_rate, degree=2)
    with pytest.raises(DataError, match="give events"):
        density.generate(torch.zeros(2, 2), 1)
