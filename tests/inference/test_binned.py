"""Binned likelihoods beside pyhf: densities, fits, toys, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyhf
import pytest
import torch

from hepgen.errors import DataError, ParameterError
from hepgen.inference.binned import (
    BinFactors,
    BinnedChannel,
    BinnedLikelihood,
    BinnedSample,
    Factor,
    NormSys,
    correlated_background,
    uncorrelated_background,
)
from hepgen.inference.binned_workspace import read_workspace
from hepgen.inference.statistics.fit import defaults, fit
from hepgen.inference.statistics.limits import upper_limit
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform

# pyhf 0.7 reads its schema through a class that jsonschema gives up.
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")

WORKSPACE: dict[str, Any] = {
    "version": "1.0.0",
    "channels": [
        {
            "name": "signal region",
            "samples": [
                {
                    "name": "signal",
                    "data": [2.0, 9.0, 6.0],
                    "modifiers": [
                        {"name": "mu", "type": "normfactor", "data": None},
                        {"name": "lumi", "type": "lumi", "data": None},
                        {"name": "theory", "type": "normsys", "data": {"hi": 1.12, "lo": 0.91}},
                    ],
                },
                {
                    "name": "background",
                    "data": [40.0, 30.0, 12.0],
                    "modifiers": [
                        {"name": "scale", "type": "normfactor", "data": None},
                        {
                            "name": "jes",
                            "type": "histosys",
                            "data": {"hi_data": [43.0, 29.0, 11.0], "lo_data": [38.0, 30.5, 12.5]},
                        },
                        {"name": "mc", "type": "staterror", "data": [2.0, 1.5, 1.0]},
                    ],
                },
                {
                    "name": "other",
                    "data": [5.0, 4.0, 0.0],
                    "modifiers": [
                        {"name": "lumi", "type": "lumi", "data": None},
                        {"name": "mc", "type": "staterror", "data": [0.5, 0.6, 0.0]},
                        {"name": "fakes", "type": "shapesys", "data": [1.0, 0.7, 0.0]},
                    ],
                },
            ],
        },
        {
            "name": "control region",
            "samples": [
                {
                    "name": "background",
                    "data": [300.0, 200.0],
                    "modifiers": [
                        {"name": "scale", "type": "normfactor", "data": None},
                        {"name": "jes", "type": "normsys", "data": {"hi": 1.03, "lo": 0.98}},
                    ],
                }
            ],
        },
    ],
    "observations": [
        {"name": "signal region", "data": [48.0, 47.0, 17.0]},
        {"name": "control region", "data": [310.0, 205.0]},
    ],
    "measurements": [
        {
            "name": "first",
            "config": {
                "poi": "mu",
                "parameters": [
                    {
                        "name": "lumi",
                        "auxdata": [1.0],
                        "sigmas": [0.02],
                        "bounds": [[0.8, 1.2]],
                        "inits": [1.0],
                    }
                ],
            },
        }
    ],
}

CONSTANT = -1.0
"""pyhf counts Pois(1 | 1) for the bin whose factor is fixed, because nothing is expected in it."""


def theirs() -> tuple[Any, Any, list[str]]:
    """pyhf's model, its data, and our name of each of its parameters ('' where it is fixed)."""
    pyhf.set_backend("numpy")
    workspace = pyhf.Workspace(WORKSPACE, validate=False)
    model = workspace.model(validate=False)
    names: list[str] = []
    for name in model.config.par_order:
        part = model.config.par_slice(name)
        fixed = model.config.suggested_fixed()[part]
        many = part.stop - part.start > 1
        names += ["" if f else f"{name}[{b}]" if many else name for b, f in enumerate(fixed)]
    return model, workspace.data(model), names


def ours() -> tuple[BinnedLikelihood, Any]:
    return read_workspace(WORKSPACE)


def theirs_of(theta: torch.Tensor, names: list[str], free: tuple[str, ...]) -> list[float]:
    return [theta[free.index(name)].item() if name else 1.0 for name in names]


def test_log_likelihoods_are_those_of_pyhf() -> None:
    """At twenty random points, all constants included."""
    model, data, names = theirs()
    likelihood, observed = ours()
    free = likelihood.parameters.free_names
    assert sorted(free) == sorted(name for name in names if name)
    generator = torch.Generator().manual_seed(1)
    at = defaults(likelihood.parameters)
    theta = at + 0.3 * torch.randn(20, len(at), generator=generator, dtype=torch.float64)
    theta[:, [i for i, n in enumerate(free) if n not in ("theory", "jes")]] = theta[
        :, [i for i, n in enumerate(free) if n not in ("theory", "jes")]
    ].abs()
    theta[:, free.index("theory")] *= 5  # beyond ±1, where the interpolation is another
    mine = likelihood.log_likelihoods(observed, theta[None])[0]
    for value, point in zip(mine.tolist(), theta, strict=True):
        expected = float(model.logpdf(theirs_of(point, names, free), data)[0])
        assert value + CONSTANT == pytest.approx(expected, abs=1e-8)


def test_best_fits_are_those_of_pyhf() -> None:
    model, data, names = theirs()
    likelihood, observed = ours()
    found = fit(likelihood, observed)
    best, twice = pyhf.infer.mle.fit(data, model, return_fitted_val=True)
    assert found.log_likelihood.item() + CONSTANT == pytest.approx(-float(twice) / 2, abs=1e-4)
    free = likelihood.parameters.free_names
    for name, value in zip(names, best, strict=True):
        if name:
            i = free.index(name)
            assert abs(found.theta[0, i].item() - value) < 0.02 * found.errors[0, i].item()


def test_cls_are_those_of_pyhf() -> None:
    """Of the same workspace, observed and expected, to 10⁻³ of CLs."""
    model, data, _ = theirs()
    likelihood, observed = ours()
    scan = upper_limit(likelihood, observed, "mu", values=[1.5])
    mine = [scan.observed[0], *scan.expected[0]]
    found, band = pyhf.infer.hypotest(1.5, data, model, return_expected_set=True)
    assert mine == pytest.approx([float(found), *map(float, band)], abs=1e-3)


def test_toys_have_the_moments_of_the_model() -> None:
    """Of counts and of auxiliary measurements of both kinds; four errors each, 1e-3 in all."""
    likelihood, _ = ours()
    theta = defaults(likelihood.parameters)
    toys = likelihood.generate(theta.expand(4000, -1), 7)
    expected = likelihood.expected(theta)
    pulls = (toys.counts.mean(0) - expected) / (expected / 4000).sqrt()
    assert pulls.abs().max() < 4
    np.testing.assert_allclose(toys.counts.var(0) / expected, 1.0, atol=4 * math.sqrt(2 / 4000))
    sigma = [s for n, (_, s) in likelihood.constraints(toys).items() if n not in likelihood.poisson]
    np.testing.assert_allclose(toys.normal.std(0), sigma, rtol=4 / math.sqrt(8000))
    tau = torch.tensor(list(likelihood.poisson.values()))
    assert ((toys.poisson.mean(0) - tau) / (tau / 4000).sqrt()).abs().max() < 4
    again = likelihood.generate(theta.expand(4000, -1), 7)
    assert torch.equal(toys.counts, again.counts)


def test_asimov_data_have_their_maximum_at_the_truth() -> None:
    likelihood, _ = ours()
    theta = defaults(likelihood.parameters)
    theta[0], theta[1] = 2.0, 1.1
    found = fit(likelihood, likelihood.asimov(theta))
    torch.testing.assert_close(found.theta[0], theta, rtol=0, atol=1e-6)


def test_parts_of_sets() -> None:
    model = uncorrelated_background([12, 11], [50, 52], [3, 7])
    sets = model.generate(torch.ones(5, 3), 1)
    assert len(sets[1:3]) == 2
    some = sets[torch.tensor([4, 0, 4])]
    assert torch.equal(some.poisson[2], sets.poisson[4])


def test_a_bin_that_expects_less_than_nothing_is_impossible() -> None:
    model = correlated_background([12, 11], [5, 5], [6, 4], [4, 6], low=-5.0)
    theta = torch.tensor([[[-0.3, 0.0], [-1.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    value = model.log_likelihoods(model.observed([0, 3]), theta)
    assert torch.isfinite(value[0, 0])
    assert torch.isneginf(value[0, 1])
    (slope,) = torch.autograd.grad(value.sum(), theta)
    assert torch.isfinite(slope).all()


def test_bad_input_is_refused() -> None:
    mu = Parameter("mu", 1.0, prior=Uniform(0.0, 5.0))
    signal = BinnedSample("signal", (1.0, 2.0), (Factor("mu"),))
    model = BinnedLikelihood([BinnedChannel("c", (signal,))], ParameterSet([mu]))
    with pytest.raises(DataError, match="expected 2 numbers from 0"):
        model.observed([1.0])
    with pytest.raises(DataError, match="expected 2 numbers from 0"):
        model.observed([1.0, -1.0])
    wrong = BinnedChannel("c", (signal, BinnedSample("b", (1.0,))))
    with pytest.raises(DataError, match="sample 'b' of channel 'c' has 1 bins; expected 2"):
        BinnedLikelihood([wrong], ParameterSet([mu]))
    infinite = BinnedChannel("c", (BinnedSample("b", (math.nan,)),))
    with pytest.raises(DataError, match="expected finite numbers"):
        BinnedLikelihood([infinite], ParameterSet([mu]))
    odd = BinnedSample("b", (1.0,), (NormSys("nu", 0.9, 1.1),))
    with pytest.raises(ParameterError, match="names the parameter 'nu'"):
        BinnedLikelihood([BinnedChannel("c", (odd,))], ParameterSet([mu]))
    nu = Parameter("nu", 0.0, prior=Normal(0.0, 1.0))
    with pytest.raises(ParameterError, match="Poisson constraint; expected a free parameter"):
        BinnedLikelihood([BinnedChannel("c", (odd,))], ParameterSet([mu, nu]), {"nu": 10.0})
    with pytest.raises(DataError, match="no measurement 'second'"):
        read_workspace(WORKSPACE, "second")


def test_bins_without_a_factor_stay() -> None:
    some = BinnedSample("b", (2.0, 3.0), (BinFactors((None, "g")),))
    gamma = Parameter("g", 1.0, prior=Uniform(0.0, 5.0))
    model = BinnedLikelihood([BinnedChannel("c", (some,))], ParameterSet([gamma]))
    assert model.expected(torch.tensor([2.0])).tolist() == [2.0, 6.0]


SAMPLES: list[dict[str, Any]] = [
    {"name": "signal", "data": [5.0, 6.0],
     "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
    {"name": "background", "data": [50.0, 40.0],
     "modifiers": [{"name": "rate", "type": "normsys", "data": {"lo": 0.8, "hi": 1.3}},
                   {"name": "mc", "type": "staterror", "data": [5.0, 4.0]},
                   {"name": "free", "type": "shapefactor", "data": None}]},
    {"name": "fakes", "data": [10.0, 4.0],
     "modifiers": [{"name": "fakes", "type": "shapesys", "data": [2.0, 1.0]}]},
]  # fmt: skip


def measured(*parameters: dict[str, Any], channels: int = 1) -> dict[str, Any]:
    """A workspace whose measurement says something of its parameters."""
    shared = [{**s, "modifiers": [m for m in s["modifiers"] if m["type"] != "shapesys"]}
              for s in SAMPLES]  # fmt: skip
    each = [{"name": "b", "samples": SAMPLES}, {"name": "a", "samples": shared}][:channels]
    config = {"poi": "mu", "parameters": list(parameters)}
    return {
        "version": "1.0.0", "channels": each, "measurements": [{"name": "m", "config": config}],
        "observations": [{"name": one["name"], "data": [62.0, 53.0]} for one in each],
    }  # fmt: skip


@pytest.mark.parametrize(
    "workspace",
    [measured(), measured(channels=2), measured({"name": "mc", "fixed": True}),
     measured({"name": "fakes", "fixed": True, "inits": [1.1, 0.9]}),
     measured({"name": "mc", "fixed": True, "inits": [1.1, 0.9]}, channels=2),
     measured({"name": "free", "bounds": [[0.0, 1.5], [0.5, 3.0]], "inits": [0.7, 2.0]}),
     measured({"name": "rate", "auxdata": [0.4]}), measured({"name": "rate", "fixed": True})],
)  # fmt: skip
def test_what_a_measurement_says_of_parameters_is_what_pyhf_makes_of_it(
    workspace: dict[str, Any],
) -> None:
    """The same free parameters, starts and bounds, and log L up to a constant."""
    if "inits" in str(workspace) and len(workspace["channels"]) == 2:
        workspace["measurements"][0]["config"]["parameters"][0]["inits"] = [1.1, 0.9, 1.2, 1.0]
    model_and_data = pyhf.Workspace(workspace, validate=False)
    settings = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}
    model = model_and_data.model(modifier_settings=settings, validate=False)
    config, data = model.config, model_and_data.data(model)
    start, held = config.suggested_init(), config.suggested_fixed()
    likelihood, sets = read_workspace(workspace)
    free = [n for n, fixed in zip(config.par_names, held, strict=True) if not fixed]
    assert sorted(free) == sorted(likelihood.parameters.free_names)
    ranges = dict(zip(config.par_names, config.suggested_bounds(), strict=True))
    rng, apart = np.random.default_rng(3), []
    for _ in range(4):
        values = dict(zip(config.par_names, start, strict=True))
        values |= {n: rng.uniform(0.2 + ranges[n][0], 1.4) if n == "rate"
                   else rng.uniform(max(ranges[n][0], 0.6), 1.4) for n in free}  # fmt: skip
        theirs = float(model.logpdf([values[n] for n in config.par_names], data)[0])
        theta = torch.tensor([values[n] for n in likelihood.parameters.free_names]).double()
        apart.append(theirs - likelihood.log_likelihoods(sets, theta[None, None]).item())
    assert apart == pytest.approx([apart[0]] * 4, abs=2e-5)
    for one in likelihood.parameters:
        if one.name.startswith("free"):
            assert one.prior == Uniform(*ranges[one.name])
            assert one.default == dict(zip(config.par_names, start, strict=True))[one.name]


def test_auxiliary_counts_of_ones_own_are_refused() -> None:
    with pytest.raises(DataError, match="'fakes' of the measurement has factors of its own"):
        read_workspace(measured({"name": "fakes", "factors": [10.0, 10.0]}))
