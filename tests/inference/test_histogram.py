"""Binned samples: pyhf's likelihood, Poisson counts, and the limit of many bins.

Statistical tests are refused at p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.channel import Channel, Sample
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.histogram import Histogram, TemplateSampler, middles
from hepgen.inference.laplace import laplace
from hepgen.inference.rate import Product
from hepgen.inference.templates import Templates
from hepgen.inference.variations import Normalisation
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform
from tests.inference.bump import bump

FALSE_ALARM = 1e-4
EDGES = {"m": np.linspace(0.0, 4.0, 5)}
SIGNAL = [2.0, 8.0, 9.0, 1.0]
BACKGROUND = [50.0, 40.0, 30.0, 22.0]
UP, DOWN = [55.0, 41.0, 29.0, 20.0], [44.0, 40.0, 32.0, 25.0]
OBSERVED = [53, 47, 44, 20]
MU = Parameter("mu", 1.0, role="interest", prior=Uniform(0.0, 5.0))
JES = Parameter("jes", 0.0, prior=Normal(0.0, 1.0))
LUMI = Parameter("lumi", 0.0, prior=Normal(0.0, 1.0))


def model() -> EventLikelihood:
    signal = Histogram(EDGES, torch.tensor(SIGNAL))
    background = Histogram(
        EDGES,
        torch.tensor(BACKGROUND),
        {"jes": (torch.tensor(UP), torch.tensor(DOWN))},
        ParameterSet([JES]),
    )
    lumi = Normalisation("lumi", 1.05, 0.94)
    samples = (
        Sample("signal", signal, Product("mu", signal.rate, lumi), signal),
        Sample("background", background, Product(background.rate, lumi), background),
    )
    return EventLikelihood(ParameterSet([MU, JES, LUMI]), [Channel("sr", samples)])


def events(counts: list[int]) -> Tensor:
    return middles(EDGES).repeat_interleave(torch.tensor(counts), dim=0)


def workspace() -> Any:
    pyhf = pytest.importorskip("pyhf")
    lumi = {"name": "lumi", "type": "normsys", "data": {"hi": 1.05, "lo": 0.94}}
    jes = {"name": "jes", "type": "histosys", "data": {"hi_data": UP, "lo_data": DOWN}}
    mu = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "signal", "data": SIGNAL, "modifiers": [mu, lumi]},
        {"name": "background", "data": BACKGROUND, "modifiers": [jes, lumi]},
    ]
    return pyhf.Model(
        {"channels": [{"name": "sr", "samples": samples}]}, poi_name="mu", validate=False
    )


def test_it_is_the_likelihood_of_pyhf() -> None:
    """log L to 10⁻⁹, up to the multinomial coefficient and the norm of the constraints."""
    theirs, ours = workspace(), model()
    order = [theirs.config.par_names.index(name) for name in ours.parameters.free_names]
    theta = torch.tensor(
        [[1.0, 0.0, 0.0], [0.0, 0.7, -0.3], [2.5, -1.8, 1.4], [1.0, 1.0, -1.0]],
        dtype=torch.float64,
    )
    data = ours.data({"sr": events(OBSERVED)}, auxiliary={"jes": 0.2, "lumi": -0.1})
    found = ours.log_likelihoods(data, theta[None])[0].numpy()

    auxiliary = {"jes": 0.2, "lumi": -0.1}
    measured = [auxiliary[name] for name in theirs.config.auxdata_order]
    expected = []
    for point in theta.numpy():
        values = np.empty(3)
        values[order] = point
        expected.append(theirs.logpdf(values.tolist(), [*OBSERVED, *measured])[0])
    n = np.array(OBSERVED)
    constant = stats.multinomial.logpmf(n, n.sum(), n / n.sum()) - (n * np.log(n / n.sum())).sum()
    np.testing.assert_allclose(found + constant, expected, rtol=0, atol=1e-9)


def test_events_of_a_bin_are_one() -> None:
    data = model().data({"sr": events(OBSERVED)})
    assert data.channels["sr"].weight.tolist() == [OBSERVED]
    assert data.channels["sr"].effective.tolist() == [sum(OBSERVED)]


def test_the_asimov_data_have_their_maximum_at_the_truth() -> None:
    ours = model()
    truth = torch.tensor([1.4, -0.7, 0.3], dtype=torch.float64)
    data = ours.asimov(truth)
    found = laplace(
        lambda t: ours.log_likelihoods(data, t), torch.tensor([[1.0, 0.0, 0.0]]).double()
    )

    torch.testing.assert_close(found.mode[0], truth, atol=1e-6, rtol=0)
    theta = truth[None, None].clone().requires_grad_(True)
    (score,) = torch.autograd.grad(ours.log_likelihoods(data, theta).sum(), theta)
    assert float(score.abs().max()) < 1e-12


def test_the_counts_of_toys_are_poisson() -> None:
    ours, toys = model(), 3000
    truth = torch.tensor([2.0, 1.5, -0.5], dtype=torch.float64)
    data = ours.generate(truth.expand(toys, 3), seed=5)
    mean = ours.asimov(truth).channels["sr"].weight[0]
    counts = data.channels["sr"].weight

    assert counts.shape == (toys, 4)
    chi2 = ((counts.mean(0) - mean).square() / mean * toys).sum().item()
    assert stats.chi2.sf(chi2, 4) > FALSE_ALARM
    spread = (counts.var(0) / mean * (toys - 1)).tolist()
    for one in spread:
        assert FALSE_ALARM / 4 < stats.chi2.sf(one, toys - 1) < 1 - FALSE_ALARM / 4
    pulls = (data.auxiliary - truth[1:]).flatten().numpy()
    assert stats.kstest(pulls, "norm").pvalue > FALSE_ALARM


def test_narrow_bins_are_as_good_as_no_bins() -> None:
    """log L of events against that of bins: their difference in θ falls as the square of a bin."""
    exact = bump()
    data = exact.generate(torch.tensor([[1.0, 1.5, 0.0]]), seed=3)
    x = data.channels["all"].events[0]
    theta = torch.tensor([[1.0, 1.5, 0.0], [0.3, 1.2, 0.4]], dtype=torch.float64)

    def gap(bins: int) -> float:
        edges = {"x": np.linspace(0.0, 1.0, bins + 1)}
        samples = []
        for sample in exact.channels[0].samples:
            assert sample.sampler is not None
            values = {"slope": torch.tensor(1.5).double()}
            fine, weight = sample.sampler.expected(values)
            table = (
                torch.zeros(bins)
                .double()
                .index_add_(0, torch.bucketize(fine[:, 0], torch.tensor(edges["x"])) - 1, weight)
            )
            assert sample.rate is not None
            samples.append(Sample(sample.name, Histogram(edges, table), sample.rate))
        fixed = theta.clone()
        fixed[:, 1] = 1.5
        binned = EventLikelihood(exact.parameters, [Channel("all", tuple(samples))])
        height = binned.log_likelihoods(binned.data({"all": x}), fixed[None])[0]
        wanted = exact.log_likelihoods(exact.data({"all": x}), fixed[None])[0]
        return float((height - wanted).diff().abs())

    gaps = [gap(bins) for bins in (16, 64, 256, 1024)]
    assert gaps[-1] < 0.01 < gaps[0]


def test_templates_have_toys_and_asimov_data() -> None:
    angle = Parameter("a", 0.5, role="interest", prior=Uniform(0.0, 1.0))
    counts = torch.tensor([[10.0, 20, 30], [15, 20, 25], [20, 20, 20]], dtype=torch.float64)
    templates = Templates(
        ParameterSet([angle]), {"x": np.array([-np.inf, 0.0, 1.0, np.inf])}, counts
    )
    sample = Sample("all", templates, Product(500.0), TemplateSampler(templates))
    ours = EventLikelihood(ParameterSet([angle]), [Channel("c", (sample,))])

    data = ours.asimov(torch.tensor([0.7], dtype=torch.float64))
    theta = torch.tensor([[[0.7]]], dtype=torch.float64, requires_grad=True)
    (score,) = torch.autograd.grad(ours.log_likelihoods(data, theta).sum(), theta)
    assert abs(score.item()) < 1e-9
    toys = ours.generate(torch.full((400, 1), 0.7), seed=1).channels["c"]
    mean = data.channels["c"].weight[0]
    chi2 = ((toys.weight.mean(0) - mean).square() / mean * 400).sum().item()
    assert stats.chi2.sf(chi2, 3) > FALSE_ALARM


def test_bad_histograms_are_an_error() -> None:
    with pytest.raises(DataError, match="4 bins"):
        Histogram(EDGES, torch.ones(3))
    with pytest.raises(DataError, match="code4p"):
        Histogram(EDGES, torch.zeros(4), code="code4")
    with pytest.raises(DataError, match="in no bin"):
        model().data({"sr": torch.tensor([[4.5]])})
    with pytest.raises(DataError, match="-1 expected events"):
        Histogram(EDGES, torch.tensor([1.0, 1.0, -1.0, 1.0])).expected({})
