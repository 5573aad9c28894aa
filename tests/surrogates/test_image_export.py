"""Images from a graph: onnxruntime gives what the surrogate gives."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from hepgen.errors import FileError, SurrogateError
from hepgen.surrogates import onnx_graph
from hepgen.surrogates.images import export as module
from hepgen.surrogates.images.export import ImageGraph, export_images
from hepgen.surrogates.images.surrogate import ImageSurrogate
from tests.surrogates.test_images import VOXELS, trained

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@cache
def surrogate(method: str) -> ImageSurrogate:
    """By a flow, or by one evaluation of a U-Net."""
    if method == "coupling":
        return trained(method)
    return trained("diffusion").distilled(1, events=200, teacher_steps=4, epochs=1, device="cpu")


@pytest.mark.parametrize("method", ["coupling", "distilled"])
def test_a_graph_gives_the_same_images(method: str, tmp_path: Path) -> None:
    manifest = export_images(surrogate(method), tmp_path)
    assert manifest == json.loads((tmp_path / "manifest.json").read_text())
    session = onnxruntime.InferenceSession(str(tmp_path / "sampler.onnx"))
    noise = torch.randn(40, manifest["noise"]["size"], generator=torch.Generator().manual_seed(3))
    particle = torch.tensor([[2.0, 0.1]], dtype=torch.float64).expand(40, 2)
    (found,) = session.run(None, {"noise": noise.numpy(), "context": particle.numpy()})
    with torch.no_grad():
        expected = ImageGraph(surrogate(method))(noise, particle).numpy()
    assert found.shape == (40, VOXELS)
    assert (np.abs(found - expected) > 0.0005).mean() < 1e-3
    # What a converter gives: nothing, or counts above the threshold.
    counts = found / 0.001
    assert np.abs(counts - counts.round()).max() < 1e-3
    assert ((found == 0) | (found > 0.0089)).all()


def test_particles_beyond_the_training_give_nan(tmp_path: Path) -> None:
    manifest = export_images(surrogate("coupling"), tmp_path)
    session = onnxruntime.InferenceSession(str(tmp_path / "sampler.onnx"))
    noise = np.zeros((2, manifest["noise"]["size"]), "float32")
    (found,) = session.run(None, {"noise": noise, "context": np.array([[2.0, 0.1], [9.0, 0.1]])})
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
    first, second = (entry["high"] for entry in manifest["context"])
    assert 3.9 < first < 4.1
    assert second < 0.6


def test_a_graph_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "run", lambda *arguments: onnx_graph.run(*arguments) * 1.01)
    with pytest.raises(SurrogateError, match="does not reproduce the images"):
        export_images(surrogate("coupling"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(FileError, match="--force"):
        export_images(surrogate("coupling"), tmp_path)
