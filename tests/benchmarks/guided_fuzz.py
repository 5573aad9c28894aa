"""Files that are broken where that takes a reader to code it has not run yet, by atheris.

    pip install atheris
    python -m tests.benchmarks.guided_fuzz [--seconds 60] [--readers TOML LHE …]

As ``fuzz.py``, which needs nothing installed, but each change is kept that makes hepgen run lines
it had not run before, and is changed further, in the next run, too. It starts from a whole file.
What ends a reader with anything but an error of input, takes it more than 10 s, or more than 3 GB
in all, is kept in ``--keep``, and the next reader is on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hepgen"]):
    from hepgen.errors import InputError
    from tests.io.hostile_files import READERS


def main() -> None:
    """A line for each reader."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--readers", nargs="+", choices=list(READERS), default=list(READERS))
    parser.add_argument("--keep", type=Path, default=Path("runs/guided-fuzz"))
    chosen = parser.parse_args()
    chosen.keep.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in chosen.readers:
        READERS[name].content()  # made before the limits hold
        child = os.fork()
        if child == 0:
            explore(name, chosen.seconds, chosen.keep)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        failed += code != 0
        print(f"{name}: {'passed' if code == 0 else f'FAILED, see {chosen.keep}'}", flush=True)
    sys.exit(1 if failed else 0)


def explore(name: str, seconds: int, keep: Path) -> None:
    """Read changed files for so long; ends the process, with 0 where all is well."""
    kind = READERS[name]
    warnings.simplefilter("ignore")
    log = os.open(keep / f"{name.replace(' ', '-')}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    corpus = keep / "corpus" / name.replace(" ", "-")
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "whole").write_bytes(kind.content())

    def read(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(InputError):
            kind.read(Path(folder), kind.sign(content))

    options = [
        f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=3000", "-max_len=65536",
        f"-artifact_prefix={keep}/{name.replace(' ', '-')}-", str(corpus),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
