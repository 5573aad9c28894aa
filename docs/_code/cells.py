"""What every page with commands runs first, in a hidden cell: ``%run ../_code/cells.py``."""

from __future__ import annotations

import os
import subprocess

from IPython.core.getipython import get_ipython

shell = get_ipython()
if shell is not None:
    shell.run_line_magic("matplotlib", "inline")
os.chdir(os.environ["HEPGEN_DOCS_WORK"])


def bash(line: str, cell: str) -> None:  # noqa: ARG001
    """Run a cell by bash, as a terminal shows it: in one piece, errors in their place."""
    done = subprocess.run(
        ["bash", "-e", "-c", cell], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(done.stdout, end="")
    done.check_returncode()


if shell is not None:
    shell.register_magic_function(bash, "cell", "bash")
