"""Write the golden files of this version, once, when it is released: they must keep loading.

    python -m tests.golden.make

Each version has a folder, which is never written again: an event file of each format, a block, a
checkpoint, a workflow, a result, an estimator of every kind and a surrogate of every
family, and in ``numbers.json`` what the models gave.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import hepgen
from hepgen.pipeline.data import DataRequest
from hepgen.pipeline.estimators import TABLE
from hepgen.pipeline.infer import infer_into
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.pipeline.train import trained
from hepgen.simulators.campaign import Campaign
from hepgen.surrogates.surrogate import Surrogate
from tests.contracts.families import CASES
from tests.contracts.test_surrogates import trained as trained_surrogate
from tests.io.hostile_files import READERS

FOLDER = Path(__file__).parent
TINY = FOLDER.parent / "pipeline" / "tiny.toml"
FILES = {
    "ttree.root": "ROOT TTree",
    "rntuple.root": "ROOT RNTuple",
    "events.parquet": "Parquet",
    "events.h5": "HDF5 events",
    "images.hdf5": "HDF5 images",
    "workflow.toml": "TOML",
    "block-0000000.safetensors": "block",
    "checkpoint.safetensors": "checkpoint",
}
X, THETA = torch.tensor([[0.3], [-1.2]]).double(), torch.tensor([[0.1], [-0.5]]).double()
C = torch.tensor([[1.5], [2.5]]).double()


def of_surrogate(surrogate: Surrogate) -> dict[str, Any]:
    """Events of a seed, and their density where there is one."""
    x = surrogate.sample(1, C, seed=3)[0]
    known = surrogate.quality.kind != "none"
    log_prob = surrogate.log_prob(x, C, seed=1).tolist() if known else None
    return {"x": x.tolist(), "log_prob": log_prob}


@torch.no_grad()
def of_estimator(model: Any) -> list[float]:
    """log p(θ | 200 times x), log p(x | θ) or a ratio, of two pairs."""
    if isinstance(model, hepgen.NPE):
        posterior = model.posterior()
        sets = [x.expand(200, 1) for x in X]
        return [posterior.log_prob(t[None], x).item() for t, x in zip(THETA, sets, strict=True)]
    found: Tensor = model.log_densities(model.prepare(X)[:, None], THETA[:, None])
    return found.flatten().tolist()


def main() -> None:
    """Everything, small."""
    place = FOLDER / hepgen.__version__
    place.mkdir()
    for name, kind in FILES.items():
        (place / name).write_bytes(READERS[kind].content())
    numbers: dict[str, dict[str, Any]] = {"surrogates": {}, "estimators": {}}
    for case in CASES:
        trained_surrogate(case).save(place / "surrogates" / case.method)
    with tempfile.TemporaryDirectory() as work:
        few = ["simulation.events=10000", "calibration.sets=21", "inference.beside=[]"]
        session = Session.open(TINY, [f"folder={work}/run", *few])
        for name in TABLE:
            trained(session, name).save(place / "estimators" / name)
        data = Campaign(session.chain, session.parameters, 200, 5, prior=False)
        simulate_to_file(data, Path(work) / "data.root", provenance={}, monitor=Silent())
        infer_into(session, DataRequest([f"{work}/data.root"]), Path(work) / "results")
        result = (Path(work) / "results" / "result.json").read_text()
        for here in (work, str(TINY.parent)):
            result = result.replace(f"{here}/", "")
        (place / "result.json").write_text(result)
    for folder in sorted((place / "surrogates").iterdir()):
        numbers["surrogates"][folder.name] = of_surrogate(Surrogate.load(folder))
    for folder in sorted((place / "estimators").iterdir()):
        numbers["estimators"][folder.name] = of_estimator(hepgen.load(folder))
    (place / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
