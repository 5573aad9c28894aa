"""kill -9 at random moments of simulate, train and infer, then resume: nothing is another.

    python tests/benchmarks/faults.py [--moments 50] [--seed 1] [--commands simulate workers …]

Each command runs once without a stop. Then it runs again in a fresh folder, is killed at a random
moment, started again, killed again …, until it ends; and so on until there were so many moments.
Whenever it ended, its files are compared: the same names, hidden ones too; the same blocks and
weights bit for bit; the same events; the same results apart from the times. ``workers`` has two
worker processes, which end by themselves when who started them is killed: none may be left.

Children are forked from a process that has imported everything, so that moments fall into the
work. Checkpoints are written every 0.1 s in the place of every ten, so that trainings resume.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak

import hepgen.nn.train
import hepgen.pipeline.infer
import hepgen.pipeline.statements
from hepgen.cli import main as program
from hepgen.errors import HepgenError
from hepgen.io.tables import read

REPOSITORY = Path(__file__).parents[2]
TINY = str(REPOSITORY / "tests" / "pipeline" / "tiny.toml")
ZMUMU = str(REPOSITORY / "workflows" / "zmumu.toml")
QUIET = ("--quiet", "--jobs", "1")
COMMANDS: Mapping[str, Sequence[str]] = {
    "simulate": ("simulate", ZMUMU, "-n", "60000", "--set", "simulation.block_size=2048",
                 "-o", "out.root", *QUIET),
    "blocks": ("simulate", ZMUMU, "-n", "60000", "--set", "simulation.block_size=2048",
               "-o", "out.blocks", *QUIET),
    "workers": ("simulate", ZMUMU, "-n", "2100000", "-o", "out.blocks", "--quiet", "--jobs", "2"),
    "train": ("train", TINY, "--method", "nle", "--set", "nle.epochs=20", *QUIET),
    "infer": ("infer", TINY, "data.root", "--set", "calibration.events=100", *QUIET),
}  # fmt: skip
TIMES = ("seconds",)
END_SECONDS = 20.0
"""So long a worker may need to see that nobody wants its block any more."""
KILLED = -signal.SIGKILL


def main() -> None:
    """Print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    chosen = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        for name in chosen.commands:
            differences = faults(name, Path(place), chosen.moments, random.Random(chosen.seed))
            wrong += len(differences)
            for difference in differences:
                print(f"  {difference}")
    sys.exit(1 if wrong else 0)


def faults(name: str, place: Path, moments: int, chance: random.Random) -> list[str]:
    """What differs after a command was killed so many times, in words."""
    whole = prepared(place / f"{name}-whole")
    started = time.monotonic()
    run(COMMANDS[name], whole)
    seconds = time.monotonic() - started
    killed = endings = 0
    differences: list[str] = []
    while killed < moments:
        folder = prepared(place / f"{name}-killed")
        while (code := run(COMMANDS[name], folder, chance.uniform(0, seconds))) == KILLED:
            killed += 1
            if killed == moments:
                code = run(COMMANDS[name], folder)
                break
        endings += 1
        differences += [f"exit code {code}"] if code not in (0, 3) else []
        differences += [f"process {pid} is left" for pid in left_over(folder)]
        differences += compare(whole, folder)
    print(
        f"{name}: {killed} times kill -9 in runs of {seconds:.1f} s, {endings} ended: "
        f"{len(differences)} differences", flush=True,
    )  # fmt: skip
    return differences


def prepared(folder: Path) -> Path:
    """An empty folder with the data file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    data = folder.parent / "data.root"
    if not data.exists():
        command = ("simulate", TINY, "-n", "500", "--theta", "theta_0=0.3", "-o", "data.root")
        run((*command, *QUIET), folder.parent)
    shutil.copy(data, folder)
    return folder


def run(command: Sequence[str], folder: Path, moment: float | None = None) -> int:
    """The exit code of a command, which is killed after ``moment`` seconds."""
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        hepgen.nn.train._SAVE_SECONDS = 0.1
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        sys.argv = ["hepgen", *command]
        try:
            program()
        except SystemExit as ending:
            os._exit(ending.code if isinstance(ending.code, int) else 0)
        os._exit(0)
    if moment is not None:
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def left_over(folder: Path) -> list[int]:
    """Processes that still work in a folder, where they do not end; Linux only."""
    until = time.monotonic() + END_SECONDS
    while (found := working_in(folder)) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def working_in(folder: Path) -> list[int]:
    """Processes whose current folder it is."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if (entry / "cwd").readlink() == folder.resolve():
                found.append(int(entry.name))
    return found


def compare(whole: Path, folder: Path) -> list[str]:
    """What differs between two folders, in words."""
    names = [sorted(str(f.relative_to(p)) for f in p.rglob("*")) for p in (whole, folder)]
    found = [f"{name}: in one of both only" for name in set(names[0]) ^ set(names[1])]
    for name in set(names[0]) & set(names[1]):
        if not same(whole / name, folder / name):
            found.append(f"{name}: another content")
    return found


def same(one: Path, other: Path) -> bool:
    """Whether two files say the same."""
    if one.is_dir() or one.suffix in (".html", ".jsonl"):
        return True
    if one.suffix == ".json":
        first, second = (timeless(json.loads(file.read_text())) for file in (one, other))
        return bool(first == second)
    if one.suffix == ".root":
        try:
            events = [read(file).read().columns for file in (one, other)]
        except HepgenError:
            return False
        return bool(ak.array_equal(*events))
    if "checkpoints" in one.parts:  # the state has the seconds that a training took
        return True
    return one.read_bytes() == other.read_bytes()


def timeless(content: Any) -> Any:
    """Without what tells how long something took, and digests of that."""
    if isinstance(content, dict):
        return {
            k: timeless(v) for k, v in content.items() if k not in (*TIMES, "sha256", "digests")
        }
    return [timeless(v) for v in content] if isinstance(content, list) else content


if __name__ == "__main__":
    main()
