"""Time per event of exported surrogates: ten dimensions, one core, torch beside onnxruntime.

    python tests/benchmarks/export.py [--families coupling flow …] [--seconds 1]

prints milliseconds per event at batch 1, 100 and 10,000, the best of several runs, and what was
asked. The networks are not trained: the time does not depend on their weights.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.results import TrainingCurve
from hepgen.surrogates.export import export
from hepgen.surrogates.families import build
from hepgen.surrogates.graphs import SamplerGraph
from hepgen.surrogates.surrogate import Domain, Surrogate

FEATURES, CONTEXT = 10, 2
BATCHES = (1, 100, 10_000)
#: Milliseconds per event at batch 1, with onnxruntime.
ASKED = {"coupling": 0.3, "flow": 0.3, "flow-matching": 0.2, "diffusion": 0.2}
#: Eight layers, or eight steps of one evaluation each.
OPTIONS: dict[str, Mapping[str, Any]] = {
    "coupling": {"layers": 8},
    "flow-matching": {"steps": 8, "solver": "euler"},
    "diffusion": {"steps": 8, "sampler": "ddim"},
}


def surrogate(method: str) -> Surrogate:
    def space(names: str, number: int) -> FeatureSpace:
        features = tuple(Feature(f"{names}{i}", "GeV", low=0.0) for i in range(number))
        return FeatureSpace(features, (0.0,) * number, (1.0,) * number)

    inputs = space("c", CONTEXT)
    return Surrogate(
        build(method, FEATURES, CONTEXT, OPTIONS.get(method, {})).eval(), method,
        space("x", FEATURES), inputs, Domain(inputs.names, (0.5,) * CONTEXT, (2.0,) * CONTEXT),
        TrainingCurve((1.0,), (1.0,), (1.0,), 0, 1.0, "epochs"),
    )  # fmt: skip


def milliseconds(call: Callable[[], Any], events: int, seconds: float) -> float:
    """The least time per event of calls repeated for so many seconds."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return 1e3 * best / events


def measure(method: str, seconds: float) -> None:
    model = surrogate(method)
    folder = Path(tempfile.mkdtemp())
    start = time.perf_counter()
    manifest = export(model, folder, density=False)
    took = time.perf_counter() - start
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "sampler.onnx", options)
    graph = SamplerGraph(model, model.model).eval()
    deviation = manifest["sampler"]["check"]["largest_deviation"]
    print(f"{method}: exported in {took:.0f} s, largest deviation {deviation:.1e}")
    for batch in BATCHES:
        noise = torch.randn(batch, model.model.noise)
        context = torch.ones(batch, CONTEXT, dtype=torch.float64)
        arrays = {"noise": noise.numpy(), "context": np.asarray(context)}
        with torch.no_grad():
            eager = milliseconds(lambda n=noise, c=context: graph(n, c), batch, seconds)  # type: ignore[misc]
        exported = milliseconds(lambda a=arrays: session.run(None, a), batch, seconds)  # type: ignore[misc]
        asked = f"asked <= {ASKED[method]} ms" if batch == 1 and method in ASKED else "asked -"
        print(
            f"  {method}, ms per event at batch {batch}: {asked}, measured {exported:.4f} in "
            f"onnxruntime, {eager:.4f} in torch"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--families", nargs="*", default=[*ASKED, "autoregressive"])
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for method in arguments.families:
        measure(method, arguments.seconds)


if __name__ == "__main__":
    main()
