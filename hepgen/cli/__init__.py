"""The command line: parse, call the pipeline, print, exit code.

Exit codes: 0 done, 1 failed, 2 bad usage or input, 3 finished but a check failed.
Results go to standard output, progress and errors to standard error.
"""

# The order of the commands in --help.
from hepgen.cli.analysis import infer, reproduce, run  # isort: skip
from hepgen.cli.combination import combine  # isort: skip
from hepgen.cli.simulation import batch, merge, simulate  # isort: skip
from hepgen.cli.training import train  # isort: skip
from hepgen.cli.surrogate import export, sample  # isort: skip
from hepgen.cli.validation import validate  # isort: skip
from hepgen.cli.contents import show  # isort: skip
from hepgen.cli.program import CHECKS_FAILED, INTERRUPTED, Program, app, main  # isort: skip

__all__ = [
    "CHECKS_FAILED",
    "INTERRUPTED",
    "Program",
    "app",
    "batch",
    "combine",
    "export",
    "infer",
    "main",
    "merge",
    "reproduce",
    "run",
    "sample",
    "show",
    "simulate",
    "train",
    "validate",
]
