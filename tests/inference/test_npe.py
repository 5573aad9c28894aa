"""The amortised posterior: its width follows the number of events, and it is stored."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, FileError, ParameterError
from hepgen.features import Feature
from hepgen.inference.nle import NLE
from hepgen.inference.npe import NPE
from hepgen.nn.train import Progress
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform

SETS = 4000


def gaussian_sets(gaussian: Any, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    theta = gaussian.parameters.prior().sample((n,), generator)
    size = torch.exp(torch.rand(n, generator=generator) * math.log(1000 / 20)) * 20
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), size.long().cumsum(0)])
    x = gaussian.simulate(theta.repeat_interleave(offsets.diff(), dim=0), generator)
    return x, offsets, theta


@pytest.fixture(scope="module")
def npe(gaussian: Any) -> NPE:
    """p(μ | {x}) for 20 to 1000 events of N(μ, 2²)."""
    x, offsets, theta = gaussian_sets(gaussian, SETS, 0)
    return NPE.fit(
        x, offsets, theta, features=gaussian.features, parameters=gaussian.parameters,
        smallest=20, subset=60, embedding=6, event_hidden=(16, 16), hidden=(32, 32),
        embedding_epochs=8,
    )  # fmt: skip


@pytest.mark.parametrize("n", [20, 100, 400, 900])
def test_width_and_mean_follow_the_exact_posterior(npe: NPE, gaussian: Any, n: int) -> None:
    """Over 40 sets: width within 12 %, mean within 0.3 of a width (root mean square)."""
    generator = torch.Generator().manual_seed(n)
    theta = 0.7 * torch.randn(40, 1, generator=generator, dtype=torch.float64)
    sets = [gaussian.simulate(t.expand(n, 1), generator) for t in theta]
    draws = npe.posterior().sample_batched((1000,), sets, seed=1)[..., 0]
    exact = torch.tensor([gaussian.posterior(x) for x in sets], dtype=torch.float64)
    shift = (draws.mean(0) - exact[:, 0]) / exact[:, 1]
    ratio = draws.std(0) / exact[:, 1]
    assert shift.square().mean().sqrt().item() < 0.3
    assert ratio.log().mean().exp().item() == pytest.approx(1, abs=0.12)


def test_neighbours_and_order_change_nothing(npe: NPE, gaussian: Any) -> None:
    x, offsets, _ = gaussian_sets(gaussian, 5, 3)
    sets = [x[a:b] for a, b in pairwise(offsets.tolist())]
    together = npe.condition(sets, [None] * 5)
    alone = torch.cat([npe.condition([one.flip(0)], [None]) for one in sets])
    # To rounding: linear algebra may take another path where memory is aligned otherwise.
    assert torch.allclose(npe.condition(sets[:2], [None] * 2), together[:2], atol=1e-3)
    assert (together - alone).abs().max() < 1e-3


def test_a_weight_of_all_events_changes_nothing(npe: NPE, gaussian: Any) -> None:
    """A posterior of the shape: neither the mean nor its variance depends on a common factor."""
    x, _, _ = gaussian_sets(gaussian, 1, 3)
    plain = npe.condition([x], [None])
    for factor in (1.0, 2.0, 0.5):  # exact in binary
        assert torch.equal(npe.condition([x], [torch.full((len(x),), factor)]), plain)


def test_the_posterior_of_weighted_events_is_that_of_as_many_as_they_are_worth(
    npe: NPE, gaussian: Any
) -> None:
    """300 events of signed weights: the exact width is σ√Σw²/Σw, the mean that of the data.

    Of 40 sets, as without weights: the width within 12 %, the mean within 0.35 of it.
    """
    generator = torch.Generator().manual_seed(7)
    theta = 0.7 * torch.randn(40, 1, generator=generator, dtype=torch.float64)
    sets = [gaussian.simulate(t.expand(300, 1), generator) for t in theta]
    w = [torch.where(torch.rand(300, generator=generator) < 0.1, -1.0, 1.0) for _ in sets]
    samples = npe.posterior().draw_batched(1000, sets, weight=w, seed=1)
    draws = torch.stack([s.theta[:, 0] for s in samples])
    worth = torch.tensor([(one.sum() ** 2 / one.square().sum()).item() for one in w])
    mean = torch.stack([(v.double() @ x[:, 0]) / v.sum() for v, x in zip(w, sets, strict=True)])
    # With n of N(μ, 2²), and the prior: a closed form with n = (Σw)²/Σw².
    x = [torch.full((round(n.item()), 1), m.item()) for n, m in zip(worth, mean, strict=True)]
    exact = torch.tensor([gaussian.posterior(one.double()) for one in x], dtype=torch.float64)
    shift = (draws.mean(1) - exact[:, 0]) / exact[:, 1]
    assert shift.square().mean().sqrt().item() < 0.35
    ratio = draws.std(1) / exact[:, 1]
    assert ratio.log().mean().exp().item() == pytest.approx(1, abs=0.12)


def test_log_prob_is_normalised_and_matches_draws(npe: NPE, gaussian: Any) -> None:
    x, _, _ = gaussian_sets(gaussian, 1, 4)
    posterior = npe.posterior().set_default_x(x)
    theta = torch.linspace(-6, 6, 4001, dtype=torch.float64)[:, None]
    density = posterior.log_prob(theta).exp()
    assert torch.trapezoid(density, theta[:, 0]).item() == pytest.approx(1, abs=1e-3)
    mean = torch.trapezoid(density * theta[:, 0], theta[:, 0])
    draws = posterior.sample((4000,), seed=0)
    assert abs(draws.mean() - mean) < 4 * draws.std() / math.sqrt(4000)


def test_seed_fixes_the_draws_and_spares_the_global_generator(npe: NPE, gaussian: Any) -> None:
    x, _, _ = gaussian_sets(gaussian, 1, 4)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    a, b, c = (npe.posterior().sample((5,), x, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_sizes_outside_the_training_are_refused(npe: NPE) -> None:
    with pytest.raises(DataError, match="a data set of 5 events; this posterior was trained on 20"):
        npe.posterior().sample((3,), torch.zeros(5, 1))


def test_round_trip_on_disk(npe: NPE, gaussian: Any, tmp_path: Path) -> None:
    npe.save(tmp_path / "m")
    loaded = NPE.load(tmp_path / "m")
    x, _, _ = gaussian_sets(gaussian, 1, 4)
    a, b = (model.posterior().sample((9,), x, seed=1) for model in (npe, loaded))
    assert torch.allclose(a, b, atol=1e-4)  # to rounding, see above
    assert (loaded.sizes, loaded.curve) == (npe.sizes, npe.curve)
    with pytest.raises(FileError, match="kind 'npe'; expected 'nle'"):
        NLE.load(tmp_path / "m")


def test_sbi_plots_and_diagnostics_accept_it(npe: NPE, gaussian: Any) -> None:
    from sbi.diagnostics import check_sbc, run_sbc

    generator = torch.Generator().manual_seed(8)
    theta = gaussian.parameters.prior().sample((200,), generator)
    x = torch.stack([gaussian.simulate(t.expand(50, 1), generator) for t in theta])
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        ranks, averaged = run_sbc(
            theta, x, npe.posterior(), num_posterior_samples=200, show_progress_bar=False
        )
        checks = check_sbc(ranks, theta, averaged, num_posterior_samples=200)
    assert checks["ks_pvals"].item() > 1e-3


def test_a_posterior_learns_from_sets_of_signed_weights(gaussian: Any) -> None:
    """Weights of which one in ten is negative, independent of x: Σwx/Σw ~ N(μ, σ²Σw²/(Σw)²).

    Of 40 sets of 300 events: the width within 15 %, the mean within 0.35 of it.
    """
    x, offsets, theta = gaussian_sets(gaussian, 2000, 5)
    x, offsets, theta = only_of(x, offsets, theta, at_least=100)
    generator = torch.Generator().manual_seed(9)

    def weights(n: int) -> Tensor:
        size = 0.5 + torch.rand(n, generator=generator, dtype=torch.float64)
        return torch.where(torch.rand(n, generator=generator) < 0.1, -size, size)

    npe = NPE.fit(
        x, offsets, theta, features=gaussian.features, parameters=gaussian.parameters,
        weight=weights(len(x)), smallest=60, subset=100, embedding=6, event_hidden=(16, 16),
        hidden=(32, 32), embedding_epochs=8, density_epochs=60,
    )  # fmt: skip
    truth = 0.7 * torch.randn(40, 1, generator=generator, dtype=torch.float64)
    sets = [gaussian.simulate(t.expand(300, 1), generator) for t in truth]
    w = [weights(300) for _ in sets]
    draws = torch.stack([
        one.theta[:, 0] for one in npe.posterior().draw_batched(1000, sets, weight=w, seed=1)
    ])  # fmt: skip
    mean = torch.stack([(v @ s[:, 0]) / v.sum() for v, s in zip(w, sets, strict=True)])
    precision = torch.stack([v.sum() ** 2 / v.square().sum() for v in w]) / gaussian.sigma**2
    exact, width = mean * precision / (1 + precision), (1 + precision).rsqrt()
    assert ((draws.mean(1) - exact) / width).square().mean().sqrt().item() < 0.35
    assert (draws.std(1) / width).log().mean().exp().item() == pytest.approx(1, abs=0.15)


def only_of(
    x: Tensor, offsets: Tensor, theta: Tensor, at_least: int
) -> tuple[Tensor, Tensor, Tensor]:
    keep = offsets.diff() >= at_least
    parts = [p for p, k in zip(torch.split(x, offsets.diff().tolist()), keep, strict=True) if k]
    counts = offsets.diff()[keep]
    return torch.cat(parts), torch.cat([counts.new_zeros(1), counts.cumsum(0)]), theta[keep]


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (torch.ones(5), r"weights of shape \(5,\); expected \(2100,\)"),
        (torch.full((2100,), torch.nan), "2100 of 2100 event weights are NaN"),
        (-torch.ones(2100), "of 60 of 60 sets sum to zero or less"),
        (torch.tensor([1.0, 1.0, -1.0]).repeat(700), "weights of both signs: 10 events of a set"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(weight: Tensor, words: str) -> None:
    with pytest.raises(DataError, match=words):
        small_fit(weight=weight)


def test_equal_weights_are_no_weights() -> None:
    """To the bit: nothing of the training changes."""
    through, weighted = small_fit(), small_fit(weight=torch.full((2100,), 0.5))
    for a, b in zip(through.network.parameters(), weighted.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_density_that_is_none_is_refused() -> None:
    with pytest.raises(ParameterError, match="no density 'mixtur'; did you mean 'mixture'"):
        small_fit(density="mixtur")


@pytest.mark.parametrize("density", ["flow-matching", "diffusion"])
def test_a_field_is_normalised_and_draws_what_it_says(density: str) -> None:
    """Of two parameters without bounds: the sum over a grid, and its mean beside that of draws."""
    npe = small_fit(density=density)
    condition = npe.condition([torch.randn(30, 2).double()], [None])
    axis = torch.linspace(-6, 6, 81)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        draws = npe.network.density.sample(torch.Size([4000]), condition)[:, 0]
        p = npe.network.density.log_prob(grid[:, None], condition)[:, 0].exp()
    assert (p.sum() * (axis[1] - axis[0]) ** 2).item() == pytest.approx(1, abs=0.01)
    mean = (p[:, None] * grid).sum(0) / p.sum()
    # Five standard errors of 4000 draws.
    assert ((mean - draws.mean(0)).abs() < 5 * draws.std(0) / 4000**0.5).all()


@pytest.mark.parametrize("density", ["flow-matching", "diffusion"])
def test_a_field_resumes_bit_identically_in_each_part(tmp_path: Path, density: str) -> None:
    through = small_fit(density=density)
    for part in ("gaussian", "density"):
        with pytest.raises(KeyboardInterrupt):
            small_fit(checkpoint=tmp_path / part, stop=part, density=density)
        resumed = small_fit(checkpoint=tmp_path / part, density=density)
        for a, b in zip(through.network.parameters(), resumed.network.parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(("density", "name"), [("flow-matching", "FMPE"), ("diffusion", "NPSE")])
def test_a_field_on_disk(tmp_path: Path, density: str, name: str) -> None:
    npe = small_fit(density=density)
    npe.save(tmp_path)
    again, x = NPE.load(tmp_path), torch.zeros(30, 2).double()
    assert repr(again) == repr(npe)
    assert repr(npe).startswith(name)
    one, other = (m.posterior().sample((9,), x, seed=1) for m in (npe, again))
    assert torch.equal(one, other)


def small_fit(
    *,
    checkpoint: Path | None = None,
    reports: list[Progress] | None = None,
    stop: str = "",
    **more: Any,
) -> NPE:
    """Two features and two parameters, trained just enough to run."""
    parameters = ParameterSet(
        [Parameter("a", 0.0, prior=Normal(0.0, 1.0)), Parameter("b", 1.0, prior=Uniform(0.5, 2.0))]
    )
    generator = torch.Generator().manual_seed(0)
    theta = parameters.prior().sample((60,), generator)
    z = torch.randn(60 * 35, 2, generator=generator, dtype=torch.float64)
    x = theta[:, :1].repeat_interleave(35, 0) + theta[:, 1:].repeat_interleave(35, 0) * z

    def progress(now: Progress) -> None:
        if reports is not None:
            reports.append(now)
        if now.part == stop and now.epoch == 2:
            raise KeyboardInterrupt

    return NPE.fit(
        x, torch.arange(61) * 35, theta, features=[Feature("x"), Feature("y")],
        parameters=parameters, smallest=10, subset=20, embedding=4, event_hidden=(8, 8),
        hidden=(8, 8), embedding_epochs=4, density_epochs=4, checkpoint=checkpoint,
        progress=progress, **more,
    )  # fmt: skip


@pytest.mark.parametrize("part", ["embedding", "density"])
def test_resumed_is_bit_identical(tmp_path: Path, part: str) -> None:
    through = small_fit()
    with pytest.raises(KeyboardInterrupt):
        small_fit(checkpoint=tmp_path / "c", stop=part)
    resumed = small_fit(checkpoint=tmp_path / "c")
    for a, b in zip(through.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_progress_names_its_part() -> None:
    reports: list[Progress] = []
    small_fit(reports=reports)
    assert [r.part for r in reports] == ["embedding"] * 4 + ["density"] * 4
    assert reports[-1].seconds_left == 0


def test_two_parameters_stay_inside_their_prior() -> None:
    npe = small_fit()
    draws = npe.posterior().sample((500,), torch.randn(30, 2).double(), seed=0)
    assert draws.shape == (500, 2)
    assert draws[:, 1].min() > 0.5
    assert draws[:, 1].max() < 2.0
    outside = torch.tensor([[0.0, 3.0]])
    assert npe.posterior().log_prob(outside, torch.zeros(30, 2)).item() == -math.inf
