"""Laws that every family of surrogates keeps, alone and inside a surrogate."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hepgen.errors import FileError, SurrogateError
from hepgen.features import Feature
from hepgen.surrogates.conditional import ConditionalDensity
from hepgen.surrogates.diffusion.distillation import distil
from hepgen.surrogates.families import FAMILIES, build
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.surrogate import Surrogate
from tests.contracts.families import CASES, FamilyCase
from tests.contracts.images import distilled_images, images

FEATURES = (Feature("mass", "GeV", low=0.0), Feature("angle"))
INPUTS = (Feature("energy", "GeV"),)

AnySurrogate = Surrogate | ImageSurrogate

every_family = pytest.mark.parametrize("case", CASES, ids=lambda case: case.method)


def events(n: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """x and c: ln mass ~ N(c/2, 0.3²), angle ~ N(ln mass, 0.5²), c ~ U(1, 3)."""
    generator = torch.Generator().manual_seed(seed)
    c = 1 + 2 * torch.rand(n, 1, generator=generator, dtype=torch.float64)
    z = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    log_mass = 0.5 * c[:, 0] + 0.3 * z[:, 0]
    return torch.stack([log_mass.exp(), log_mass + 0.5 * z[:, 1]], -1), c


@cache
def trained(case: FamilyCase) -> Surrogate:
    if FAMILIES[case.method].teacher:
        (teacher,) = (other for other in CASES if other.method == FAMILIES[case.method].teacher)
        return distil(trained(teacher), case.options["steps"], events=4000, **case.training)
    x, c = events(4000)
    return Surrogate.fit(
        x, c, features=FEATURES, inputs=INPUTS, method=case.method, options=case.options,
        device="cpu", **case.training,
    )  # fmt: skip


SURROGATES: dict[str, Callable[[], AnySurrogate]] = {
    **{case.method: partial(trained, case) for case in CASES},
    "images": images,
    "images, distilled": distilled_images,
}
every_surrogate = pytest.mark.parametrize("make", SURROGATES.values(), ids=SURROGATES.keys())


def untrained(case: FamilyCase, features: int, context: int) -> ConditionalDensity:
    model = build(case.method, features, context, case.options)
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(64, features, generator=generator)
    model.prepare(u, torch.randn(64, context, generator=generator))
    return model.eval()


def test_the_table_has_every_family() -> None:
    assert {case.method for case in CASES} == set(FAMILIES)


@every_family
@pytest.mark.parametrize(("features", "context"), [(1, 0), (1, 2), (3, 0), (3, 1)])
def test_shapes(case: FamilyCase, features: int, context: int) -> None:
    model = untrained(case, features, context)
    noise, c = torch.randn(5, model.noise), torch.randn(5, context)
    u = model.generate(noise, c)
    assert u.shape == (5, features)
    assert model.loss(u, c).shape == (5,)
    assert bool(torch.isfinite(u).all())
    if model.quality.kind != "none":
        density = model.log_prob(u, c)
        assert density.value.shape == density.error.shape == (5,)
        assert density.value.dtype == torch.float64
        assert density.quality == model.quality


@every_family
def test_no_family_needs_its_events_together(case: FamilyCase) -> None:
    """An event depends on its own noise and context, not on its neighbours in a batch."""
    model = untrained(case, 2, 1)
    noise, c = torch.randn(6, model.noise), torch.randn(6, 1)
    with torch.no_grad():
        alone = torch.cat([model.generate(noise[i : i + 1], c[i : i + 1]) for i in range(6)])
        torch.testing.assert_close(model.generate(noise, c), alone, rtol=1e-4, atol=1e-4)


@every_family
def test_the_loss_reaches_every_weight(case: FamilyCase) -> None:
    model = build(case.method, 3, 2, case.options).train()
    generator = torch.Generator().manual_seed(0)
    u, c = torch.randn(64, 3, generator=generator), torch.randn(64, 2, generator=generator)
    model.prepare(u, c)
    # One step away from the start, where a last layer may be zero.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    model.loss(u, c).mean().backward()  # type: ignore[no-untyped-call]
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing


@every_family
def test_mean_and_width_follow_the_context(case: FamilyCase) -> None:
    surrogate = trained(case)
    for c in (1.4, 2.6):
        x = surrogate.sample(8000, torch.tensor([c], dtype=torch.float64), seed=3)
        log_mass = x[:, 0].log()
        assert abs(log_mass.mean() - 0.5 * c) < case.agreement * 0.3
        assert abs(log_mass.std() - 0.3) < case.agreement * 0.3
        residual = x[:, 1] - log_mass
        assert abs(residual.mean()) < case.agreement * 0.5
        assert abs(residual.std() - 0.5) < case.agreement * 0.5


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.density is not None], ids=lambda case: case.method
)
def test_the_density_integrates_to_one(case: FamilyCase) -> None:
    assert case.density is not None
    model = trained(case).model
    edge = torch.linspace(-8, 8, 161)
    grid = torch.cartesian_prod(edge, edge)
    with torch.no_grad():
        density = model.log_prob(grid, torch.full((len(grid), 1), 0.3)).value.exp()
    total = density.sum() * (edge[1] - edge[0]) ** 2
    assert abs(total - 1) < case.density


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if untrained(c, 2, 1).quality.kind == "exact"],
    ids=lambda case: case.method,
)
def test_sample_and_density_in_one_pass(case: FamilyCase) -> None:
    surrogate = trained(case)
    c = torch.tensor([2.0], dtype=torch.float64)
    x, density = surrogate.sample_and_log_prob(50, c, seed=5)
    torch.testing.assert_close(x, surrogate.sample(50, c, seed=5))
    torch.testing.assert_close(density.value, surrogate.log_prob(x, c), rtol=0, atol=2e-3)


@every_surrogate
def test_a_seed_determines_the_events(make: Callable[[], AnySurrogate]) -> None:
    surrogate = make()
    c = torch.tensor([[1.5], [2.5]], dtype=torch.float64)
    first = surrogate.sample(4, c, seed=1)
    assert first.shape == (4, 2, surrogate.size)
    assert torch.equal(first, surrogate.sample(4, c, seed=1))
    assert not torch.equal(first, surrogate.sample(4, c, seed=2))
    assert len(set(map(tuple, first.flatten(0, 1).tolist()))) == 8


@every_surrogate
def test_what_is_loaded_is_what_was_saved(make: Callable[[], AnySurrogate], tmp_path: Path) -> None:
    surrogate = make()
    surrogate.save(tmp_path)
    loaded = type(surrogate).load(tmp_path)
    c = torch.tensor([2.0], dtype=torch.float64)
    assert torch.equal(surrogate.sample(20, c), loaded.sample(20, c))
    assert repr(loaded) == repr(surrogate)
    assert loaded.quality == surrogate.quality
    assert (loaded.domain, loaded.manifest) == (surrogate.domain, surrogate.manifest)


@every_surrogate
def test_files_that_are_not_those_that_were_written_are_refused(
    make: Callable[[], AnySurrogate], tmp_path: Path
) -> None:
    """Cut short, edited, of a newer version, or not there: each file of the folder."""
    surrogate = make()
    surrogate.save(tmp_path)
    for path in sorted(tmp_path.rglob("*.*")):
        content = path.read_bytes()
        broken = [content[: len(content) // 2], content[:-9] + b"\x07" + content[-8:], b""]
        if path.suffix == ".json":
            schema = json.loads(content)["schema"]
            newer = content.replace(b'"schema": %d' % schema, b'"schema": %d' % (schema + 1))
            broken.append(newer)
        for wrong in broken:
            assert wrong != content
            path.write_bytes(wrong)
            with pytest.raises(FileError, match=re.escape(str(tmp_path))):
                type(surrogate).load(tmp_path)
        path.unlink()
        with pytest.raises(FileError):
            type(surrogate).load(tmp_path)
        path.write_bytes(content)
    type(surrogate).load(tmp_path)


@every_surrogate
def test_the_quality_says_whether_there_is_a_density(make: Callable[[], AnySurrogate]) -> None:
    """Where there is none, everything that would answer with one refuses, and says why."""
    surrogate, c = make(), torch.tensor([2.0], dtype=torch.float64)
    x = surrogate.sample(3, c)
    if surrogate.quality.kind != "none":
        density = surrogate.log_density(x, c)
        assert density.quality == surrogate.quality
        assert density.value.shape == density.error.shape == (3,)
        assert density.value.dtype == torch.float64
        assert torch.equal(surrogate.log_prob(x, c), density.value)
        return
    assert surrogate.quality.words
    for ask in (
        lambda: surrogate.sample_and_log_prob(3, c),
        lambda: surrogate.log_prob(x, c),
        lambda: surrogate.log_density(x, c),
    ):
        with pytest.raises(SurrogateError, match="has no density"):
            ask()


@every_surrogate
@pytest.mark.parametrize("value", [0.5, 3.5, float("nan")])
def test_a_context_outside_the_training_range_is_refused(
    make: Callable[[], AnySurrogate], value: float
) -> None:
    """By everything that could answer with a number; with leave to extrapolate, it does."""
    surrogate, c = make(), torch.tensor([value], dtype=torch.float64)
    x = surrogate.sample(3, torch.tensor([2.0], dtype=torch.float64))
    for ask in (
        lambda: surrogate.sample(3, c),
        lambda: surrogate.sample_and_log_prob(3, c),
        lambda: surrogate.log_prob(x, c),
        lambda: surrogate.log_density(x, c),
    ):
        with pytest.raises(SurrogateError, match=r"energy = .* outside the range"):
            ask()
    if value == value:
        daring = copy.deepcopy(surrogate)
        daring.extrapolate = True
        assert daring.sample(3, c).isfinite().all()
        assert surrogate.domain.outside(c[None]).all()


@every_surrogate
def test_a_context_of_another_length_is_refused(make: Callable[[], AnySurrogate]) -> None:
    with pytest.raises(SurrogateError, match="expected 1 columns: energy"):
        make().sample(3, torch.ones(2, dtype=torch.float64))
