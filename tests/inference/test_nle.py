"""The learned density: in physical variables, normalised, right, weighted, chunked, stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import hepgen.inference.nle as module
from hepgen.errors import DataError, FileError, ParameterError
from hepgen.features import Feature
from hepgen.inference.nle import NLE
from hepgen.parameters import Normal, Parameter, ParameterSet


def draws(peak: Any, n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    theta = peak.parameters.prior().sample((n,), generator)
    return peak.simulate(theta, generator), theta


def test_density_is_normalised_in_gev(nle: NLE) -> None:
    x = torch.linspace(60, 120, 20_002, dtype=torch.float64)[1:-1, None]
    theta = torch.tensor([[89.0, 1.2], [93.0, 3.5]], dtype=torch.float64)
    integral = torch.trapezoid(nle.log_prob(x, theta).exp(), x[:, 0], dim=0)
    assert integral.tolist() == pytest.approx([1, 1], abs=1e-3)


def test_density_is_near_the_truth(nle: NLE, peak: Any) -> None:
    """Kullback–Leibler divergence below 0.01 nats an event, over the prior."""
    x, theta = draws(peak, 4000, seed=9)
    learned = torch.stack([nle.log_prob(x[i : i + 1], theta[i : i + 1])[0, 0] for i in range(500)])
    exact = peak.log_prob(x[:500, 0], theta[:500])
    assert (exact - learned).mean().item() < 0.02
    sets = nle.encode(list(x[:, None]), [None] * len(x))
    batched = nle.log_likelihoods(sets, theta[:, None])[:, 0]
    assert torch.allclose(batched[:500], learned, atol=1e-4)
    assert (peak.log_prob(x[:, 0], theta) - batched).mean().item() < 0.01


def test_log_likelihood_is_the_sum(nle: NLE, peak: Any) -> None:
    x, theta = draws(peak, 300, seed=2)
    table = nle.log_prob(x, theta[:7])
    assert table.shape == (300, 7)
    assert torch.allclose(nle.log_likelihood(x, theta[:7]), table.sum(0), rtol=1e-6)


def test_weights_multiply_log_probabilities(nle: NLE, peak: Any) -> None:
    x, theta = draws(peak, 50, seed=2)
    weight = torch.linspace(-0.5, 2.0, 50, dtype=torch.float64)
    expected = weight @ nle.log_prob(x, theta[:3])
    assert torch.allclose(nle.log_likelihood(x, theta[:3], weight), expected, rtol=1e-5)


def test_chunks_change_nothing(nle: NLE, peak: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, theta = draws(peak, 500, seed=2)

    def value_and_gradients() -> tuple[Tensor, Tensor, Tensor]:
        t = theta[:20].clone().requires_grad_(True)
        value = nle.log_likelihood(x, t)
        (gradient,) = torch.autograd.grad(value.sum(), t, create_graph=True)
        (second,) = torch.autograd.grad(gradient[:, 0].sum(), t)
        return value.detach(), gradient.detach(), second

    whole = value_and_gradients()
    monkeypatch.setattr(module, "_PAIRS", 500)
    for a, b in zip(whole, value_and_gradients(), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-2)


def test_gradient_matches_differences(nle: NLE, peak: Any) -> None:
    x, _ = draws(peak, 200, seed=2)
    t = torch.tensor([[91.0, 2.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(nle.log_likelihood(x, t).sum(), t)
    step = torch.tensor([[0.05, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        up, down = nle.log_likelihood(x, t + step), nle.log_likelihood(x, t - step)
    assert gradient[0, 0].item() == pytest.approx(((up - down) / 0.1).item(), rel=0.02)


def test_padding_of_sets_is_exact(nle: NLE, peak: Any) -> None:
    x, theta = draws(peak, 60, seed=2)
    together = nle.log_likelihoods(nle.encode([x[:3], x], [None, None]), theta[None, :4])
    alone = torch.stack([nle.log_likelihood(part, theta[:4]) for part in (x[:3], x)])
    assert torch.allclose(together, alone, rtol=1e-6)


def test_samples_follow_the_density(nle: NLE) -> None:
    """P(mass < 91) from 20,000 draws against the density's; false alarm 6e-5 (four sigma)."""
    theta = torch.tensor([90.0, 2.0], dtype=torch.float64)
    x = nle.sample(20_000, theta, seed=1)
    assert x.shape == (20_000, 1)
    grid = torch.linspace(60.001, 91, 10_000, dtype=torch.float64)[:, None]
    expected = torch.trapezoid(nle.log_prob(grid, theta[None]).exp()[:, 0], grid[:, 0])
    fraction = (x < 91).double().mean()
    assert abs(fraction - expected) < 4 * 0.5 / 20_000**0.5
    assert torch.equal(x, nle.sample(20_000, theta, seed=1))


def test_two_features() -> None:
    """y | x ~ N(θ x, 1) and x ~ N(0, 1): the entropy is 1 + log 2π = 2.838 nats."""
    parameters = ParameterSet([Parameter("slope", 0.0, prior=Normal(0.0, 1.0))])
    generator = torch.Generator().manual_seed(0)
    theta = parameters.prior().sample((40_000,), generator)
    z = torch.randn(40_000, 2, generator=generator, dtype=torch.float64)
    x = torch.stack([z[:, 0], theta[:, 0] * z[:, 0] + z[:, 1]], dim=-1)
    nle = NLE.fit(
        x, theta, features=[Feature("x"), Feature("y")], parameters=parameters, components=4,
        hidden=(32, 32), epochs=6, batch_size=500,
    )  # fmt: skip
    sets = nle.encode(list(x[:5000, None]), [None] * 5000)
    log_p = nle.log_likelihoods(sets, theta[:5000, None]).mean().item()
    assert -log_p == pytest.approx(2.838, abs=0.04)


def test_fit_leaves_the_global_generator(peak: Any) -> None:
    x, theta = draws(peak, 300, seed=0)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    fits = [
        NLE.fit(x, theta, features=[peak.feature], parameters=peak.parameters, epochs=1, seed=4)
        for _ in range(2)
    ]
    fits[0].sample(3, theta[0])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(fits[0].log_prob(x, theta[:2]), fits[1].log_prob(x, theta[:2]))


def test_round_trip_on_disk(nle: NLE, peak: Any, tmp_path: Path) -> None:
    nle.save(tmp_path / "m")
    loaded = NLE.load(tmp_path / "m")
    x, theta = draws(peak, 10, seed=0)
    assert torch.equal(loaded.log_prob(x, theta), nle.log_prob(x, theta))
    assert loaded.curve == nle.curve
    assert loaded.parameters.to_dict() == nle.parameters.to_dict()


def test_description_without_an_entry(nle: NLE, tmp_path: Path) -> None:
    from hepgen.nn.model_files import write_model

    nle.save(tmp_path / "m")
    entry = json.loads((tmp_path / "m" / "model.json").read_text())
    del entry["theta"], entry["sha256"], entry["weights_sha256"]
    write_model(tmp_path / "m", "nle", entry, nle.estimator)
    with pytest.raises(FileError, match="does not describe an NLE"):
        NLE.load(tmp_path / "m")


def test_event_outside_the_window_is_refused(nle: NLE) -> None:
    with pytest.raises(DataError, match="'mass': 1 of 2 values"):
        nle.log_prob(torch.tensor([[91.0], [130.0]]), torch.tensor([[91.0, 2.0]]))


def test_parameters_are_checked(nle: NLE, peak: Any) -> None:
    x, theta = draws(peak, 100, seed=0)
    with pytest.raises(ParameterError, match="expected 2 columns: mass, width"):
        nle.log_prob(x, theta[:, :1])
    theta[3, 0] = 99.0
    with pytest.raises(ParameterError, match=r"'mass': 1 of 100 training values, e\.g\. 99"):
        NLE.fit(x, theta, features=[peak.feature], parameters=peak.parameters)


def test_weights_of_the_data_are_checked(nle: NLE, peak: Any) -> None:
    x, theta = draws(peak, 5, seed=0)
    with pytest.raises(DataError, match="sum to -5"):
        nle.log_likelihood(x, theta, torch.full((5,), -1.0))
