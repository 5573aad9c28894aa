"""A campaign of ten million events into a ROOT file: its rate, and its memory.

    python tests/benchmarks/campaign.py [--events 1e7] [--jobs 2]

Memory is the largest resident set of any one process, this one and its workers.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from hepgen.compute import Workers
from hepgen.pipeline.progress import monitor
from hepgen.pipeline.requests import simulation_campaign
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import simulate_to_file

WORKFLOW = Path(__file__).parents[2] / "workflows" / "zmumu.toml"
MIB = 1024


def main() -> None:
    """Print each number beside what is asked."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--events", default="1e7")
    arguments.add_argument("--jobs", type=int, default=2)
    chosen = arguments.parse_args()
    session = Session.open(WORKFLOW, workers=Workers(chosen.jobs), monitor=monitor())
    campaign = simulation_campaign(session, events=chosen.events, theta=["prior"])
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        facts = simulate_to_file(
            campaign, Path(folder) / "events.root", provenance={}, workers=Workers(chosen.jobs),
            monitor=session.monitor,
        )  # fmt: skip
        size = (Path(folder) / "events.root").stat().st_size / 1e6
    seconds = time.monotonic() - started
    peak = max(
        resource.getrusage(who).ru_maxrss / MIB
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(
        f"{facts['genEventCount']} events generated, {facts['events']} written ({size:.0f} MB) in "
        f"{seconds:.0f} s; largest resident set {peak:.0f} MiB (asked: below 1500)"
    )


if __name__ == "__main__":
    main()
