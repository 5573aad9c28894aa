"""Batch: scripts that share a simulation among the jobs of Slurm or HTCondor."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hepgen.errors import FileError, InputError, nearest
from hepgen.files import write_atomically
from hepgen.io.blocks import SUFFIX

SLURM = """\
#!/bin/bash
# {shards} jobs, each with one shard. What was finished before a stop is used by the next try:
#   sbatch {name}
#SBATCH --job-name=hepgen
#SBATCH --array=1-{shards}
#SBATCH --cpus-per-task=1
#SBATCH --mem=2G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
#SBATCH --output={logs}/%a.log
export OMP_NUM_THREADS=1
exec {command} --jobs "$SLURM_CPUS_PER_TASK" --shard "$SLURM_ARRAY_TASK_ID/{shards}"
"""

CONDOR_SCRIPT = """\
#!/bin/bash
# One shard; HTCondor counts its jobs from 0.
export OMP_NUM_THREADS=1
exec {command} --jobs 1 --shard "$(($1 + 1))/{shards}"
"""

CONDOR = """\
# {shards} jobs, each with one shard. What was finished before a stop is used by the next try:
#   condor_submit {name}
executable = {script}
arguments = $(Process)
initialdir = {here}
should_transfer_files = NO
getenv = True
request_cpus = 1
request_memory = 2GB
max_retries = 3
kill_sig = SIGTERM
output = {logs}/$(Process).out
error = {logs}/$(Process).err
log = {logs}/condor.log
queue {shards}
"""


def batch(system: str, shards: int, output: Path, simulation: Sequence[str]) -> list[Path]:
    """Write the scripts of a batch system.

    Arguments:
        system: ``slurm`` or ``htcondor``.
        shards: The number of jobs.
        output: The folder of the scripts and of the jobs' logs.
        simulation: The words of a ``hepgen simulate`` without ``--shard``: into a folder of
            blocks that all jobs see, or with ``--training``.

    Returns:
        The scripts; the last is the one to submit.

    Raises:
        InputError: There is no such system, or the command cannot be shared.
        FileError: A script is there already.
    """
    check(system, shards, simulation)
    if not str(output).isprintable() or " " in str(output):
        raise InputError(
            f"{str(output)!r}: neither Slurm nor HTCondor takes a folder with spaces for its logs; "
            "choose another name"
        )
    logs = output / "logs"
    scripts = _SYSTEMS[system](shards, output, shlex.join(["hepgen", *simulation]))
    for path in scripts:
        if path.exists():
            raise FileError(f"{path} exists; choose another folder, or remove it")
    for path, text in scripts.items():
        write_atomically(path, text.encode())
        path.chmod(0o755)
    logs.mkdir(parents=True, exist_ok=True)
    return list(scripts)


def check(system: str, shards: int, words: Sequence[str]) -> None:
    """Refuse what cannot be shared among jobs; see :func:`batch`.

    Raises:
        InputError: With what was expected.
    """
    if system not in _SYSTEMS:
        raise InputError(f"--system {system!r}: {nearest(system, _SYSTEMS)}")
    if shards < 1:
        raise InputError(f"--shards {shards}: expected at least 1")
    if not words or words[0] != "simulate":
        raise InputError(
            f"{shlex.join(words) or 'nothing'} after --: expected the words of a simulation, "
            f"simulate WORKFLOW -n 1e8 -o NAME{SUFFIX}, or simulate WORKFLOW --training"
        )
    if any(word.partition("=")[0] == "--shard" for word in words):
        raise InputError("--shard is what each job gets; leave it out of the command after --")
    if "--training" not in words and not _output(words).endswith(SUFFIX):
        raise InputError(
            f"{shlex.join(words)}: expected -o NAME{SUFFIX}, a folder of blocks that the jobs share"
        )


def _output(words: Sequence[str]) -> str:
    """What -o or --output names; empty where nothing does."""
    for option, value in zip(words, [*words[1:], ""], strict=True):
        if option in ("-o", "--output"):
            return value
        if option.startswith("--output="):
            return option.partition("=")[2]
        if option.startswith("-o"):  # the value follows at once
            return option.removeprefix("-o")
    return ""


def _slurm(shards: int, output: Path, command: str) -> dict[Path, str]:
    path = output / "simulate.sbatch"
    text = SLURM.format(shards=shards, name=path, logs=output / "logs", command=command)
    return {path: text}


def _condor(shards: int, output: Path, command: str) -> dict[Path, str]:
    script, path = output / "simulate.sh", output / "simulate.sub"
    text = CONDOR.format(
        shards=shards, name=path, logs=output / "logs", script=script.absolute(), here=Path.cwd()
    )
    return {script: CONDOR_SCRIPT.format(command=command, shards=shards), path: text}


_SYSTEMS: Mapping[str, Callable[[int, Path, str], dict[Path, str]]] = {
    "slurm": _slurm,
    "htcondor": _condor,
}
