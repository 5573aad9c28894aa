"""Makes zmumu_pythia.root: dimuon events of Pythia 8 behind hepgen's muon detector.

    pip install 'hepgen[pythia]'
    python data/make_zmumu_pythia.py

Pythia shares no code with the chain that the workflow fits, so this file is a test of the
chain as well as an example. What is measured of each muon is in NanoAOD's columns; what is
true is in data/README.md, and not in the events.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import torch

import hepgen
from hepgen.events import Events
from hepgen.io.tables import RootWriter
from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.detector import MuonDetector
from hepgen.simulators.pythia import PythiaDimuons
from hepgen.simulators.reconstruction import MUON_COLUMNS, DimuonReconstruction
from hepgen.simulators.stage import State

SEED = 20_100_000
EVENTS = 1600
TRUTH = {
    "m_z": 91.1876,
    "sin2_theta_w": 0.2312,
    "muon_scale": 0.0,
    "muon_resolution": 1.6,
    "muon_efficiency": 1.0,
}


def simulate() -> tuple[Trace, PythiaDimuons]:
    """The events, and the generator that made them."""
    generator = PythiaDimuons(sqrt_s=7000.0, window=(50.0, 150.0))
    chain = Chain([generator, MuonDetector(), DimuonReconstruction()])
    trace = chain.simulate(chain.parameters.values(None, **TRUTH), EVENTS, SEED)
    return trace, generator


def columns(state: State) -> Events:
    """Jagged columns in NanoAOD style: the muons that were found, hardest first."""
    number = state["nMuon"][0].numpy()
    found = torch.arange(2) < state["nMuon"][0, :, None]
    flat = {name: state[name][0][found].numpy() for name in MUON_COLUMNS}
    muons = {
        name: ak.unflatten(
            values.astype(np.int32 if name.endswith("charge") else np.float32), number
        )
        for name, values in flat.items()
    }
    return Events.from_columns(muons | {"genWeight": np.ones(len(number), dtype=np.float32)})


def provenance(trace: Trace, generator: PythiaDimuons) -> dict[str, Any]:
    """What normalises the events and what made them."""
    return {
        "generated": EVENTS,
        "genEventSumw": float(EVENTS),
        "selected": int(trace.state["selected"].sum()),
        "failed_in_pythia": len(trace.failures),
        "seed": SEED,
        "command": "python data/make_zmumu_pythia.py",
        "versions": {name: version(name) for name in ("pythia8mc", "torch", "numpy")}
        | {"hepgen": hepgen.__version__},
        "pythia_settings": generator.settings,
        "truth": TRUTH,
    }


def main() -> None:
    """Write the file beside this script, or where -o says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(__file__).parent / "zmumu_pythia.root"
    )
    output: Path = parser.parse_args().output
    trace, generator = simulate()
    notes = provenance(trace, generator)
    with RootWriter(output, overwrite=True) as writer:
        writer.write(columns(trace.state))
        writer.metadata(notes)
    print(f"{output}: {EVENTS} events, {notes['selected']} selected, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
