"""The files of the likelihood of vectors, and what of them is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hepgen.errors import FileError
from hepgen.features import Feature
from hepgen.inference.residual_ensemble import Candidate
from hepgen.inference.vector_nle import VectorNLE
from hepgen.nn import model_files
from hepgen.parameters import Parameter, ParameterSet, Uniform

RATE = ParameterSet([Parameter("rate", 5.0, role="interest", prior=Uniform(2.0, 20.0))])
COUNT = Feature("n", kind="discrete", low=0, high=60)
REAL = Feature("x")


def learned(*features: Feature) -> VectorNLE:
    generator = torch.Generator().manual_seed(1)
    theta = 2 + 18 * torch.rand(300, 1, generator=generator, dtype=torch.float64)
    n = torch.poisson(theta, generator=generator)
    x = torch.cat([n if f.kind == "discrete" else theta + 0.1 * n for f in features], dim=1)
    return VectorNLE.fit(
        x, theta, features=features, parameters=RATE, members=1, epochs=1,
        candidates=[Candidate(2, (8, 8), 1e-2)],
    )  # fmt: skip


def with_schema(folder: Path, schema: int) -> None:
    """The same description with another schema, signed as if it had been written so."""
    path = folder / "model.json"
    entries = json.loads(path.read_text())
    entries.pop("sha256")
    entries["schema"] = schema
    path.write_text(json.dumps({**entries, "sha256": model_files._digest(entries)}))


@pytest.mark.parametrize(
    ("features", "schema"), [((COUNT, REAL), 2), ((REAL,), 1)], ids=["counts", "real numbers"]
)
def test_what_is_loaded_is_what_was_saved(
    features: tuple[Feature, ...], schema: int, tmp_path: Path
) -> None:
    model = learned(*features)
    model.save(tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["schema"] == schema
    x, theta = torch.full((2, len(features)), 7.0).double(), torch.tensor([[4.0], [9.0]]).double()
    assert torch.equal(VectorNLE.load(tmp_path).log_prob(x, theta), model.log_prob(x, theta))


def test_counts_from_before_their_scale_changed_are_refused(tmp_path: Path) -> None:
    learned(COUNT).save(tmp_path)
    with_schema(tmp_path, 1)
    with pytest.raises(FileError, match=r"schema 1 and the discrete features n.*train it again"):
        VectorNLE.load(tmp_path)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    learned(REAL).save(tmp_path)
    with_schema(tmp_path, model_files.SCHEMA + 1)
    with pytest.raises(FileError, match="schema 3; this version of hepgen reads 1 to 2"):
        VectorNLE.load(tmp_path)
