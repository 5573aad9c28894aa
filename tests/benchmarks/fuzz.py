"""Files that are broken at random, to every reader: no hang, no crash, no memory, no traceback.

    python -m tests.benchmarks.fuzz [--files 10000] [--seed 1] [--readers TOML LHE …]

Each kind of file that hepgen reads is flipped, cut, repeated, overwritten and mixed up, and read in
a process that may use 1 GiB more than it starts with and 10 s for a file. Where a checksum would
give the change away it is made right again. A file passes that is read, or refused with one of
hepgen's errors of input (exit code 2). What does not is kept in ``--keep``.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from hepgen.errors import InputError
from tests.io.hostile_files import READERS, Reader, broken

SECONDS = 10
MEMORY = 2**30


def main() -> None:
    """Print a line for each reader."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--readers", nargs="+", choices=list(READERS), default=list(READERS))
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    failures = 0
    for name in chosen.readers:
        started = time.monotonic()
        kind = READERS[name]
        kind.content()  # made before the limits hold
        found = fuzz(name, kind, chosen.files, chosen.seed, chosen.keep)
        failures += sum(found.values())
        seconds = time.monotonic() - started
        print(f"{name}: {chosen.files} files in {seconds:.0f} s, {sum(found.values())} failures",
              flush=True)  # fmt: skip
        for words, count in found.most_common():
            print(f"  {count} x {words}")
    sys.exit(1 if failures else 0)


def content_of(name: str, kind: Reader, seed: int, number: int) -> bytes:
    """The broken file of a number, which is always the same."""
    chance = random.Random(f"{name} {seed} {number}")
    return kind.sign(broken(kind.content(), chance, kind.text))


def fuzz(name: str, kind: Reader, files: int, seed: int, keep: Path | None) -> Counter[str]:
    """What went wrong, and how often."""
    found: Counter[str] = Counter()
    first = 0
    while first < files:
        # A child reads one after the other until one is its end.
        last, words = in_child(name, kind, seed, first, files)
        if words:
            found[words] += 1
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name.replace(' ', '-')}-{last}").write_bytes(
                    content_of(name, kind, seed, last)
                )
        first = last + 1
    return found


def in_child(name: str, kind: Reader, seed: int, first: int, files: int) -> tuple[int, str]:
    """The number of the file at which a child ended, and why; no words where all were read."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _read_all(name, kind, seed, range(first, files), writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as report:
        lines = report.read().decode(errors="replace").splitlines()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    last = int(lines[-1].split(" ", 1)[0]) if lines else first
    words = lines[-1].partition(" ")[2] if lines else ""
    if code == -signal.SIGALRM:
        return last, f"no end within {SECONDS} s"
    return last, words or (f"ended by signal or with code {code}" if code else "")


def _read_all(name: str, kind: Reader, seed: int, numbers: range, report: int) -> None:
    """Read files until one fails, telling before each its number; never returns."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    warnings.simplefilter("ignore")
    for number in numbers:
        content = content_of(name, kind, seed, number)
        os.write(report, f"{number}\n".encode())
        signal.alarm(SECONDS)
        try:
            with tempfile.TemporaryDirectory() as folder:
                kind.read(Path(folder), content)
        except InputError:
            pass
        except BaseException as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())[:150]
            os.write(report, f"{number} {words}\n".encode())
            os._exit(1)
        signal.alarm(0)
    os._exit(0)


if __name__ == "__main__":
    main()
