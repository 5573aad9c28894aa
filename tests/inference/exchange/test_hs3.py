from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyhf
import pytest
import torch

from hepgen.errors import DataError, FileError
from hepgen.inference.binned_workspace import read_workspace
from hepgen.inference.exchange.hs3 import (
    density_reference,
    hs3_document,
    load_hs3,
    save_hs3,
    to_pyhf,
)
from hepgen.inference.exchange.pyhf_workspace import PyhfWorkspace
from tests.inference.exchange import analyses

# pyhf's own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Creating a tensor from a list:UserWarning"),
    pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return hs3_document(analyses.bump_model(), description="A bump")


def test_it_says_what_the_standard_asks_for(document: dict[str, Any]) -> None:
    assert document["metadata"]["hs3_version"] == "0.2"
    likelihood = document["likelihoods"][0]
    names = {part: {one["name"] for one in document[part]} for part in ("distributions", "data")}
    assert set(likelihood["distributions"]) == names["distributions"]
    assert set(likelihood["data"]) == names["data"]
    assert len(likelihood["data"]) == len(likelihood["distributions"])
    analysis = document["analyses"][0]
    assert analysis["parameters_of_interest"] == ["mu"]
    axes = {axis["name"]: axis for axis in document["domains"][0]["axes"]}
    start = {p["name"]: p["value"] for p in document["parameter_points"][0]["parameters"]}
    needed = {
        name
        for sample in document["distributions"][0]["samples"]
        for m in sample["modifiers"]
        for name in m.get("parameters", [m.get("parameter")])
    }
    # Every parameter has a range, and a start within it.
    assert needed == set(axes) == set(start)
    assert all(axes[n]["min"] <= start[n] <= axes[n]["max"] for n in axes)


def test_what_is_read_back_has_the_same_likelihood(
    document: dict[str, Any], tmp_path: Path
) -> None:
    save_hs3(document, tmp_path / "bump.hs3.json")
    spec = to_pyhf(load_hs3(tmp_path / "bump.hs3.json"))
    pyhf.schema.validate(spec, "workspace.json")
    ours, data = PyhfWorkspace.of(analyses.bump_model()).likelihood()
    back, seen = read_workspace(spec)
    assert sorted(back.parameters.free_names) == sorted(ours.parameters.free_names)
    draws = torch.Generator().manual_seed(1)
    for _ in range(4):
        values = {
            name: ours.parameters[name].default + 0.3 * float(torch.randn((), generator=draws))
            for name in ours.parameters.free_names
        }
        both = [
            one.log_likelihoods(
                sets, torch.tensor([[[values[n] for n in one.parameters.free_names]]])
            )
            for one, sets in ((ours, data), (back, seen))
        ]
        assert both[0].item() == pytest.approx(both[1].item(), abs=1e-9)


def test_an_independent_reader_evaluates_the_same(document: dict[str, Any], tmp_path: Path) -> None:
    pyhs3 = pytest.importorskip("pyhs3")
    path = tmp_path / "bump.hs3.json"
    path.write_text(json.dumps(document))
    workspace = pyhs3.Workspace.load(str(path))
    model = workspace.model(workspace.analyses["analysis"])
    assert "mu" in model.free_params


def test_a_learned_density_is_referred_to_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "density.onnx").write_bytes(b"onnx")
    one = density_reference(
        "p", tmp_path / "density.onnx", {"x": ["mass"], "theta": ["mu"]}, "log_prob", "peak"
    )
    document = hs3_document(analyses.bump_model(), [one])
    (kept,) = document["misc"]["hepgen"]["densities"]
    assert kept["file"] == "density.onnx"
    assert len(kept["sha256"]) == 64
    with pytest.raises(FileError, match="no ONNX file"):
        density_reference("p", tmp_path / "none.onnx", {}, "log_prob")


def test_what_cannot_be_read_is_refused(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    for content, words in (
        ("{", "not a document of HS3"),
        ("[]", "not a document of HS3"),
        ('{"metadata": {"hs3_version": "1.0"}}', "version 1.0; expected 0.2"),
    ):
        path.write_text(content)
        with pytest.raises(FileError, match=words):
            load_hs3(path)
    odd = deepcopy(document)
    odd["distributions"][0]["samples"][0]["modifiers"][0]["type"] = "shapefactor"
    with pytest.raises(DataError, match="of the type 'shapefactor'"):
        to_pyhf(odd)
    with pytest.raises(DataError, match="no 'other' among the analyses"):
        to_pyhf(document, "other")
    odd = deepcopy(document)
    odd["distributions"][1]["type"] = "landau_dist"
    with pytest.raises(DataError, match="'landau_dist'"):
        to_pyhf(odd)
