"""What binning costs, and what an independent reader makes of an HS3 document.

    python tests/benchmarks/exchange.py
    python tests/benchmarks/exchange.py --write FOLDER
    PYTHON_WITH_PYHS3 tests/benchmarks/exchange.py --read FOLDER

The first prints the expected error of a binned fit over that without bins, for sin²θ_W in
`ee_mumu` (exact density) and the signal strength in `dijet_bump` (exact spectrum, all nuisance
parameters of workflows/dijet_bump.toml). The second writes a document with every kind of modifier,
and log L at some points by pyhf; the third evaluates it there by pyhs3 (pip install pyhs3, in an
environment of its own: it wants another numba). Asked: log L agrees to 10⁻⁶.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

DOCUMENT, POINTS = "analysis.hs3.json", "points.json"


def costs() -> None:
    """Print the tables."""
    import torch
    from torch import Tensor

    import hepgen
    from hepgen.inference.exact import ExactLikelihood
    from hepgen.inference.exchange.binning import binning_cost
    from hepgen.simulators.dijet_spectrum import DijetSpectrum
    from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity

    def parameters(workflow: str) -> tuple[Any, Any]:
        session = hepgen.Session.open(f"workflows/{workflow}.toml")
        return session.chain, session.parameters

    chain, free = parameters("ee_mumu")
    exact = ExactLikelihood(ElectronPositronDensity.of(chain), free)

    def angle(theta: Tensor, edges: Tensor) -> Tensor:
        centres = 0.5 * (edges[1:] + edges[:-1])
        return 1e5 * exact.log_prob(centres[:, None], theta[None]).exp()[:, 0] * edges.diff()

    narrow = torch.linspace(-0.95, 0.95, 961).double()
    print("ee_mumu, sin²θ_W from 10⁵ events, cos θ in equal bins")
    show(binning_cost(angle, free, "sin2_theta_w", narrow, [2, 4, 8, 16, 32, 64, 160]))

    chain, free = parameters("dijet_bump")
    spectrum = DijetSpectrum.of(chain)
    point = torch.tensor([p.default for p in free.free]).double()

    def mass(theta: Tensor, edges: Tensor) -> Tensor:
        rate: Tensor = 1000 * spectrum(free.values(theta), edges)
        return rate

    equal = torch.linspace(1200**0.5, 4500**0.5, 241).double() ** 2
    for fixed, words in (
        ((), "m_X and Γ_X free"),
        (("m_x", "gamma_x"), "m_X and Γ_X known"),
    ):
        kept = hepgen.ParameterSet([p for p in free if p.name not in fixed])
        known = {n: torch.tensor(free[n].default).double() for n in fixed}

        def known_mass(
            theta: Tensor, edges: Tensor, kept: Any = kept, known: Any = known
        ) -> Tensor:
            rate: Tensor = 1000 * spectrum(kept.values(theta) | known, edges)
            return rate

        at = torch.stack([p for p, q in zip(point, free.free, strict=True) if q.name not in fixed])
        print(f"dijet_bump, signal strength at 1 with 1/fb, bins equal in √m, {words}")
        bins = [8, 12, 16, 24, 40, 80, 120]
        show(binning_cost(known_mass if fixed else mass, kept, "signal_strength", equal, bins,
                          theta=at))  # fmt: skip


def show(cost: Any) -> None:
    """Print one table."""
    print(f"  without bins: ± {cost.unbinned:.4g}")
    for bins, error, ratio in zip(cost.bins, cost.error, cost.ratio, strict=True):
        print(f"  {bins:5d} bins: ± {error:.4g}, {100 * (ratio - 1):7.2f} % more")


def write(folder: Path) -> None:
    """A document, and log L at points of all parameters."""
    import numpy as np

    from hepgen.inference.exchange.hs3 import hs3_document, save_hs3
    from hepgen.inference.exchange.pyhf_workspace import PyhfWorkspace
    from tests.inference.exchange import analyses

    folder.mkdir(parents=True, exist_ok=True)
    model = analyses.bump_model()
    save_hs3(hs3_document(model), folder / DOCUMENT)
    workspace = PyhfWorkspace.of(model)
    theirs, data, rng = workspace.model(), workspace.data(), np.random.default_rng(1)
    start = np.array(theirs.config.suggested_init())
    points = []
    for scale in (0.0, 0.1, 0.2, 0.3, 0.4):
        at = start + scale * rng.normal(size=len(start))
        for name in ("lumi", "staterror_peak"):
            at[theirs.config.par_map[name]["slice"]] = 1 + 0.1 * (
                at[theirs.config.par_map[name]["slice"]] - 1
            )
        names = [n.replace("[", "_").replace("]", "") for n in theirs.config.par_names]
        values = dict(zip(names, at.tolist(), strict=True))
        points.append({"values": values, "log_l": float(theirs.logpdf(at.tolist(), data)[0])})
    (folder / POINTS).write_text(json.dumps(points))
    print(f"wrote {folder / DOCUMENT} and {folder / POINTS}")


def read(folder: Path) -> None:
    """Evaluate the document by pyhs3, which knows nothing of hepgen."""
    import numpy as np

    # Of an environment that hepgen's type checker does not know.
    pyhs3, pytensor = (importlib.import_module(name) for name in ("pyhs3", "pytensor"))
    explicit_graph_inputs = importlib.import_module(
        "pytensor.graph.traversal"
    ).explicit_graph_inputs

    document = json.loads((folder / DOCUMENT).read_text())
    for channel in document["distributions"]:
        # pyhs3 0.4.2 fails on errors that are shared among samples; here one sample has them.
        if channel["type"] == "histfactory_dist":
            channel["barlow_beeston_method"] = "full"
        for sample in channel.get("samples", []):
            for modifier in sample["modifiers"]:
                if modifier["type"] == "staterror":
                    modifier["data"] = {"uncertainties": sample["data"]["errors"]}
    workspace = pyhs3.Workspace(**document)
    model = workspace.model(workspace.analyses["analysis"])
    inputs = list(explicit_graph_inputs([model.log_prob]))
    function = pytensor.function(inputs, model.log_prob, on_unused_input="ignore")
    worst = 0.0
    for point in json.loads((folder / POINTS).read_text()):
        given = [
            np.asarray(point["values"].get(i.name, model.data.get(i.name)), dtype=i.dtype)
            for i in inputs
        ]
        shaped = (v.reshape(-1) if i.ndim else v for v, i in zip(given, inputs, strict=True))
        found = float(np.squeeze(function(*shaped)))
        worst = max(worst, abs(found - point["log_l"]))
        print(f"log L: pyhs3 {found:.9f}, pyhf {point['log_l']:.9f}")
    print(f"largest difference {worst:.1e}; asked 1e-06")
    sys.exit(worst > 1e-6)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path)
    parser.add_argument("--read", type=Path)
    given = parser.parse_args()
    if given.write:
        write(given.write)
    elif given.read:
        read(given.read)
    else:
        costs()


if __name__ == "__main__":
    main()
