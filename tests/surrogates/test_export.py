"""An exported surrogate computes what the surrogate does, in a program without torch."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hepgen.errors import FileError, SurrogateError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.surrogates import export as module
from hepgen.surrogates import onnx_graph
from hepgen.surrogates.conditional import ConditionalDensity
from hepgen.surrogates.export import export
from hepgen.surrogates.families import FAMILIES
from hepgen.surrogates.graphs import Bijection
from hepgen.surrogates.surrogate import Surrogate
from tests.surrogates import toys

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

EVENT = (
    Feature("pt", "GeV", low=20.0),
    Feature("phi", low=-3.2, high=3.2),
    Feature("eta"),
    Feature("charge_asymmetry", high=1.0),
)
GIVEN = (Feature("m_z", "GeV", r"$m_Z$", low=0.0), Feature("width", "GeV"))

Run = Callable[..., NDArray[np.float64]]


@cache
def trained(method: str, conditional: bool = True) -> Surrogate:
    generator = torch.Generator().manual_seed(0)
    c = 1 + 2 * torch.rand(1000, 2, generator=generator, dtype=torch.float64)
    z = torch.randn(1000, 4, generator=generator, dtype=torch.float64)
    x = torch.stack(
        [20 + (c[:, 0] + 0.3 * z[:, 0]).exp(), 3 * z[:, 1].tanh(), z[:, 2] * c[:, 1],
         1 - z[:, 3].exp()], -1,
    )  # fmt: skip
    d = 4 if method == "coupling" else 2
    sizes = {"layers": 2} if method == "coupling" else {"layers": 1, "bins": 4}
    return Surrogate.fit(
        x[:, :d], c if conditional else c[:, :0], features=EVENT[:d],
        inputs=GIVEN if conditional else (), method=method, options={"hidden": [8], **sizes},
        epochs=2, batch_size=100, device="cpu", manifest={"process": "toy", "seed": 3},
    )  # fmt: skip


@cache
def mixed(*kinds: str) -> Surrogate:
    """Of a number, an angle and a count, and what else there is."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1000, 4, generator=generator, dtype=torch.float64)
    there = z[:, 3].exp() * (z[:, 0] > 0)
    x = torch.stack([z[:, 0].exp(), (2 * z[:, 1]) % math.tau, z[:, 2].abs().round(), there], -1)
    features = (
        Feature("pt", "GeV", low=0.0),
        Feature("phi", low=0.0, high=math.tau, kind="circular"),
        Feature("tags", low=0.0, high=9.0, kind="discrete"),
        Feature("met", "GeV", low=0.0, kind="zero_inflated"),
    )
    chosen = [i for i, feature in enumerate(features) if feature.kind in kinds]
    return Surrogate.fit(
        x[:, chosen], z[:, :1].sigmoid() + 1, features=[features[i] for i in chosen],
        inputs=[Feature("scale", low=0.0)], method="coupling",
        options={"hidden": [8], "layers": 2}, epochs=2, batch_size=100, device="cpu",
    )  # fmt: skip


CASES: dict[str, Callable[[], Surrogate]] = {
    "coupling": lambda: trained("coupling"),
    "flow": lambda: trained("flow", conditional=False),
}


@pytest.fixture(scope="module", params=CASES)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Surrogate, Path, dict[str, Any]]:
    surrogate = CASES[request.param]()
    # As it is once Pyro has been imported.
    torch.distributions.Distribution.set_default_validate_args(True)
    folder = tmp_path_factory.mktemp(request.param) / "onnx"
    return surrogate, folder, export(surrogate, folder)


def graph(path: Path) -> Run:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(*arrays: NDArray[Any]) -> NDArray[np.float64]:
        used = dict(zip(names, arrays, strict=False))
        return np.asarray(session.run(None, used)[0])

    return run


def contexts(surrogate: Surrogate, n: int) -> torch.Tensor:
    size = len(surrogate.domain.names)
    fraction = torch.rand(n, size, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    return 1.1 + 1.8 * fraction


@pytest.mark.parametrize(("tolerance", "precision"), [(1e-4, "float32"), (3e-6, "float64")])
def test_a_density_beyond_single_precision_is_in_double(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tolerance: float, precision: str
) -> None:
    """With log p down to −10⁸, of which single precision has not all digits."""
    sampler = module._sampler
    monkeypatch.setattr(module, "_sampler", lambda a, b, c, _: sampler(a, b, c, 1e-4))
    surrogate = copy.deepcopy(trained("coupling"))
    with torch.no_grad():
        for weights in surrogate.model.parameters():
            weights.mul_(4.0)
    entry = export(surrogate, tmp_path, tolerance=tolerance)["density"]
    assert entry["precision"] == precision
    assert entry["check"]["largest_deviation"] <= tolerance


@pytest.mark.parametrize("n", [1, 3, 257])
def test_onnxruntime_gives_the_events_and_their_density(
    exported: tuple[Surrogate, Path, dict[str, Any]], n: int
) -> None:
    surrogate, folder, manifest = exported
    c = contexts(surrogate, n)
    x, density = surrogate.sample_and_log_prob(1, c, seed=4)
    # The noise that a seed of the surrogate means.
    noise = torch.randn(n, manifest["noise"]["size"], generator=torch.Generator().manual_seed(4))
    found = graph(folder / "sampler.onnx")(noise.numpy(), c.numpy())
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, x[0], rtol=1e-4, atol=1e-4)
    log_prob = graph(folder / "density.onnx")(x[0].numpy(), c.numpy())
    with torch.no_grad():
        expected = surrogate.log_prob(x[0], c)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(log_prob, density.value[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "kinds",
    [("continuous", "circular"), ("continuous", "discrete"), ("continuous", "circular", "discrete"),
     ("discrete",)],
    ids=" ".join,
)  # fmt: skip
def test_angles_and_counts_are_exported_with_their_density(
    kinds: tuple[str, ...], tmp_path: Path
) -> None:
    surrogate = mixed(*kinds)
    manifest = export(surrogate, tmp_path)
    c = 1.3 + 0.5 * torch.rand(200, 1, generator=torch.Generator().manual_seed(2)).double()
    x = surrogate.sample(1, c, seed=4)[0]
    noise = torch.randn(200, manifest["noise"]["size"], generator=torch.Generator().manual_seed(4))
    found = graph(tmp_path / "sampler.onnx")(noise.numpy(), c.numpy())
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-4)
    log_prob = graph(tmp_path / "density.onnx")(x.numpy(), c.numpy())
    np.testing.assert_allclose(log_prob, surrogate.log_prob(x, c).detach(), rtol=1e-4, atol=1e-4)
    if "discrete" in kinds:
        x[:, -1] += 0.5
        assert np.all(graph(tmp_path / "density.onnx")(x.numpy(), c.numpy()) == -np.inf)


def test_the_zeros_of_a_component_are_exported_with_a_density_at_fixed_points(
    tmp_path: Path,
) -> None:
    surrogate = mixed("continuous", "zero_inflated")
    manifest = export(surrogate, tmp_path)
    assert (manifest["density"]["quality"], manifest["density"]["precision"]) == (
        "estimate",
        "float64",
    )
    assert "16 fixed points, not from 16 draws" in manifest["fixed_steps"]["words"]
    c = torch.full((200, 1), 1.5, dtype=torch.float64)
    x = surrogate.sample(1, c, seed=4)[0]
    noise = torch.randn(200, manifest["noise"]["size"], generator=torch.Generator().manual_seed(4))
    found = graph(tmp_path / "sampler.onnx")(noise.numpy(), c.numpy())
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-4)
    zero = found[:, 1] == 0
    assert 20 < np.count_nonzero(zero) < 180
    log_prob = graph(tmp_path / "density.onnx")(x.numpy(), c.numpy())
    twin, _ = surrogate.model.exportable()
    with torch.no_grad():
        own = surrogate.log_prob(x, c).numpy()
        expected = replace(surrogate, model=copy.deepcopy(twin).double()).log_prob(x, c).numpy()
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-4)
    # Without a zero there is nothing to average over, and what draws gives the same.
    np.testing.assert_allclose(log_prob[~zero], own[~zero], rtol=1e-3, atol=1e-3)


def test_the_manifest_says_what_goes_in_and_out(
    exported: tuple[Surrogate, Path, dict[str, Any]],
) -> None:
    surrogate, folder, manifest = exported
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    d = len(surrogate.features)
    assert [f["name"] for f in manifest["features"]] == [f.name for f in EVENT[:d]]
    assert [f["unit"] for f in manifest["features"]] == ["GeV", "", "", ""][:d]
    assert [f["low"] for f in manifest["features"]] == [20.0, -3.2, None, None][:d]
    for given, low, high in zip(
        manifest["context"], surrogate.domain.low, surrogate.domain.high, strict=True
    ):
        assert (given["low"], given["high"]) == (low, high)
    assert (manifest["density"]["quality"], manifest["outside_the_range"]) == ("exact", "NaN")
    assert manifest["surrogate"] == {"process": "toy", "seed": 3}
    assert manifest["fixed_steps"] is None
    assert {"hepgen", "torch", "onnx", "onnxruntime"} <= set(manifest["versions"])
    for name in ("sampler", "density"):
        entry = manifest[name]
        assert entry["check"]["largest_deviation"] <= entry["check"]["tolerance"] == 1e-4
        content = (folder / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        for value, tensor in zip(
            entry["inputs"], onnx.load_from_string(content).graph.input, strict=True
        ):
            assert value["name"] == tensor.name
            assert isinstance(value["shape"][0], str)  # a name: any number of events


def test_a_graph_carries_the_manifest(exported: tuple[Surrogate, Path, dict[str, Any]]) -> None:
    _, folder, manifest = exported
    proto = onnx.load(folder / "sampler.onnx")
    carried = json.loads({e.key: e.value for e in proto.metadata_props}["hepgen"])
    for name in ("noise", "features", "context", "versions", "surrogate"):
        assert carried[name] == manifest[name]
    onnx.checker.check_model(proto)


def test_a_graph_tells_nothing_of_the_machine_that_made_it(
    exported: tuple[Surrogate, Path, dict[str, Any]],
) -> None:
    _, folder, _ = exported
    for name in ("sampler.onnx", "density.onnx"):
        assert str(Path(module.__file__).parent).encode() not in (folder / name).read_bytes()


def test_a_graph_answers_nan_outside_the_range_and_no_density_outside_the_bounds(
    exported: tuple[Surrogate, Path, dict[str, Any]],
) -> None:
    surrogate, folder, manifest = exported
    c = contexts(surrogate, 3).numpy()
    noise = np.zeros((3, manifest["noise"]["size"]), np.float32)
    x = graph(folder / "sampler.onnx")(noise, c)
    x[1, 0] = 19.0
    log_prob = graph(folder / "density.onnx")
    assert log_prob(x, c)[1] == -math.inf
    if not len(surrogate.domain.names):
        return
    c[2, 0] = 4.0
    found = np.isnan(graph(folder / "sampler.onnx")(noise, c))
    assert found.tolist() == [[False] * 4, [False] * 4, [True] * 4]
    assert np.isnan(log_prob(x, c)).tolist() == [False, False, True]


@pytest.mark.parametrize("reach", [math.inf, 1.3])
def test_the_bijection_of_a_graph_is_that_of_the_features(reach: float) -> None:
    event = tuple(replace(one, reach=reach) for one in EVENT)
    space = FeatureSpace(event, (0.1, 0.2, 0.3, 0.4), (0.5, 1.0, 1.5, 2.0))
    u = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bijection, x = Bijection(space), space.inverse(u)
    torch.testing.assert_close(bijection.physical(u), x)
    torch.testing.assert_close(bijection.standardised(x), u)
    torch.testing.assert_close(bijection.log_jacobian(x), space.log_jacobian(x))
    assert bool(bijection.inside(x).all())
    edge = torch.tensor([[20.0, 0, 0, 0], [21.0, 3.2, 0, 0], [21.0, 0, 0, 1.0]]).double()
    assert not bool(bijection.inside(edge).any())


# --- families of every kind -----------------------------------------------------------


@pytest.fixture(autouse=True)
def _families(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, family in toys.FAMILIES.items():
        monkeypatch.setitem(FAMILIES, name, family)


def test_extrapolation_is_in_the_graph_and_in_the_manifest(tmp_path: Path) -> None:
    surrogate = toys.toy()
    surrogate.extrapolate = True
    manifest = export(surrogate, tmp_path)
    assert manifest["outside_the_range"] == "marked in 'extrapolated'"
    for name, first in (("sampler", np.zeros((2, 1), np.float32)), ("density", np.ones((2, 1)))):
        assert [one["name"] for one in manifest[name]["outputs"]][1:] == ["extrapolated"]
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx")
        names = [entry.name for entry in session.get_inputs()]
        inputs = dict(zip(names, (first, np.array([[7.0], [0.5]])), strict=True))
        value, marked = session.run(None, inputs)
        assert np.isfinite(value).all()
        assert marked.tolist() == [True, False]


def test_an_adaptive_solver_is_exported_with_fixed_steps_and_their_error(tmp_path: Path) -> None:
    words = export(toys.toy("adaptive"), tmp_path)["fixed_steps"]
    assert words["words"] == "10 halvings, where the family halves to 1e-7"
    # |z| 2⁻¹⁰ for normal z, whose interquartile range is 1.35 and which reaches 3 or so.
    apart = words["apart"]["x_in_interquartile_ranges"]
    assert 0.25e-3 < apart["median"] < 0.75e-3
    assert 1.5e-3 < apart["largest"] < 4e-3
    assert words["apart"]["log_prob_in_nats"]["largest"] < 1e-6


@pytest.mark.parametrize(
    ("surrogate", "why"),
    [
        (toys.toy(kind="none"), "has no density"),
        (toys.toy("noisy", kind="bound"), "draws random numbers"),
        (toys.toy("searching", kind="estimate"), "density of searching cannot be exported"),
    ],
)
def test_a_density_that_is_none_or_random_stays_away(
    surrogate: Surrogate, why: str, tmp_path: Path
) -> None:
    (tmp_path / "density.onnx").write_text("of an earlier export")
    manifest = export(surrogate, tmp_path, overwrite=True)
    assert why in manifest["density"]["why_not"]
    assert manifest["density"]["file"] is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "sampler.onnx"]


def test_a_search_of_fixed_length_takes_the_place_of_one_that_ends(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2000, 1, generator=generator).double()
    surrogate = Surrogate.fit(
        x, x[:, :0], features=[Feature("x")], inputs=[], method="umnn", epochs=1, device="cpu",
        options={"layers": 1, "hidden": [8]}, batch_size=500,
    )  # fmt: skip
    manifest = export(surrogate, tmp_path / "out")
    assert "all steps of the search" in manifest["fixed_steps"]["words"]
    assert manifest["fixed_steps"]["apart"]["x_in_interquartile_ranges"]["largest"] < 1e-4
    assert manifest["density"]["quality"] == "exact"


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("branching", r"sampler of branching cannot be exported .* export a flow"),
        ("counting", r"number of events became a constant .*shape\[0\]"),
        ("searching", r"density of searching cannot be exported .*--sampler-only"),
        ("refusing", "use a coupling flow"),
    ],
)
def test_what_cannot_be_exported_is_named(method: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SurrogateError, match=words):
        export(toys.toy(method), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_that_differs_fails_with_the_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "run", lambda *arguments: onnx_graph.run(*arguments) + 0.0123)
    with pytest.raises(SurrogateError, match=r"sampler: the largest deviation is 0\.0\d+, expec"):
        export(toys.toy(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_estimate_that_differs_stays_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounding may grow along an ODE; a density that is exact has to be reproduced."""
    own = module._log_prob
    monkeypatch.setattr(module, "_log_prob", lambda *arguments: own(*arguments) + 1.0)
    why = export(toys.toy(kind="estimate"), tmp_path / "a")["density"]["why_not"]
    assert "does not reproduce the density: the largest deviation is" in why
    assert not (tmp_path / "a" / "density.onnx").exists()
    with pytest.raises(SurrogateError, match="does not reproduce the density"):
        export(toys.toy(), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_sampler_alone_at_held_out_contexts(tmp_path: Path) -> None:
    manifest = export(toys.toy(), tmp_path / "a", density=False, context=torch.tensor([[0.5]]))
    assert manifest["density"]["why_not"] == "it was not asked for"
    assert not (tmp_path / "a" / "density.onnx").exists()
    with pytest.raises(SurrogateError, match=r"shift = 3 .* outside the range"):
        export(toys.toy(), tmp_path / "b", context=torch.tensor([[3.0]]))


def test_an_export_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(FileError, match="--force"):
        export(toys.toy(), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="is a file"):
        export(toys.toy(), tmp_path / "file")


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SurrogateError, match=r"onnx, onnxscript, onnxruntime.*hepgen\[onnx\]"):
        export(toys.toy(), tmp_path)


def test_a_family_is_its_own_twin_unless_it_says_otherwise() -> None:
    model: ConditionalDensity = toys.Gaussian(1, 1)
    assert model.exportable() == (model, "")
