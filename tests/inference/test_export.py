"""The density of events from a graph: onnxruntime gives what the NLE gives, to 1e-4."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hepgen.cli.program import app
from hepgen.errors import FileError, SurrogateError
from hepgen.features import Feature
from hepgen.inference import export as module
from hepgen.inference.exchange.hs3 import load_hs3
from hepgen.inference.export import density_graph, export_density
from hepgen.inference.nle import NLE
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform
from hepgen.pipeline.exchange import DENSITY_FILES, Exchange
from tests.inference.exchange import analyses

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def two() -> NLE:
    """x ~ N(a, 1), y = e^{...} > 0: two features, one with a bound, and two parameters."""
    parameters = ParameterSet(
        [Parameter("a", 0.0, prior=Normal(0.0, 1.0)), Parameter("b", 1.0, prior=Uniform(0.5, 2.0))]
    )
    generator = torch.Generator().manual_seed(0)
    theta = parameters.prior().sample((4000,), generator)
    z = torch.randn(4000, 2, generator=generator, dtype=torch.float64)
    x = torch.stack([theta[:, 0] + z[:, 0], (theta[:, 1] * z[:, 1] + 0.3 * z[:, 0]).exp()], -1)
    return NLE.fit(
        x, theta, features=[Feature("x"), Feature("y", low=0.0)], parameters=parameters,
        hidden=(8, 8), components=2, epochs=2, batch_size=500,
    )  # fmt: skip


@pytest.fixture(scope="module")
def exported(two: NLE, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Once: it takes seconds."""
    folder = tmp_path_factory.mktemp("exported")
    return folder, export_density(two, folder)


def test_the_graph_gives_the_density(two: NLE, exported: tuple[Path, dict[str, Any]]) -> None:
    folder, manifest = exported
    assert manifest == json.loads((folder / "manifest.json").read_text())
    session = onnxruntime.InferenceSession(str(folder / "density.onnx"))
    theta = two.parameters.prior().sample((300,), torch.Generator().manual_seed(4))
    x = two.sample(1, theta, seed=5)[0]
    (found,) = session.run(None, {"x": x.numpy(), "theta": theta.numpy()})
    expected = two.log_prob(x, theta).diagonal().detach().numpy()
    assert found.dtype == np.float64
    assert np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected))) < 1e-4
    assert [p["name"] for p in manifest["parameters"]] == ["a", "b"]


def test_outside_there_is_no_number(exported: tuple[Path, dict[str, Any]]) -> None:
    session = onnxruntime.InferenceSession(str(exported[0] / "density.onnx"))
    x = np.array([[0.0, 1.0], [0.0, -1.0], [0.0, 1.0]])
    (found,) = session.run(None, {"x": x, "theta": np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 3.0]])})
    assert np.isfinite(found[0])
    assert found[1] == -np.inf
    assert np.isnan(found[2])


def test_what_onnxruntime_does_not_reproduce_is_not_written(
    two: NLE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "to_onnx", lambda *_: None)

    def wrong(_: Any, arrays: Any, __: Any) -> Any:
        return np.zeros(len(arrays[0]))

    monkeypatch.setattr(module, "run", wrong)
    with pytest.raises(SurrogateError, match="does not reproduce the density"):
        export_density(two, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command(two: NLE, tmp_path: Path) -> None:
    two.save(tmp_path / "model")
    hepgen = CliRunner().invoke
    call = ["export", str(tmp_path / "model"), "-o", str(tmp_path / "out")]
    done = hepgen(app, call)
    assert done.exit_code == 0, done.output
    assert "log p(x, y | a, b)" in done.output
    assert hepgen(app, call).exit_code == 2
    refused = hepgen(app, [*call, "--force", "--sampler-only"])
    assert refused.exit_code == 2
    assert "these are of a surrogate" in refused.output
    with pytest.raises(FileError, match="has density"):
        export_density(two, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Creating a tensor from a list:UserWarning")  # pyhf's own
def test_it_stands_beside_a_document_that_has_no_word_for_it(two: NLE, tmp_path: Path) -> None:
    Exchange(analyses.bump_model(), (), ("hs3",), density_graph(two)).write(tmp_path, "toy")
    names = {"hs3.json", *DENSITY_FILES}
    assert {path.name for path in tmp_path.iterdir()} == names
    (found,) = load_hs3(tmp_path / "hs3.json")["misc"]["hepgen"]["densities"]
    content = (tmp_path / found["file"]).read_bytes()
    assert found["sha256"] == sha256(content).hexdigest()
    assert found["inputs"] == {"x": ["x", "y"], "theta": ["a", "b"]}
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    x, theta = np.array([[0.5, 1.5]]), np.array([[0.2, 1.1]])
    (value,) = session.run([found["log_density"]], {"x": x, "theta": theta})[0]
    rows = two.prepare(torch.from_numpy(x))[:, None]
    expected = two.log_densities(rows, torch.from_numpy(theta)[:, None])
    assert abs(float(value) - expected.item()) < 1e-4
