"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

WorkflowArgument = Annotated[
    Path, typer.Argument(metavar="WORKFLOW", help="a workflow file (TOML)")
]

ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="the folder of a trained surrogate")
]

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="override an entry of the workflow"),
]

Jobs = Annotated[int, typer.Option("--jobs", "-j", help="worker processes (0: one for each core)")]

Dask = Annotated[
    str | None,
    typer.Option(
        "--dask", metavar="ADDRESS", help="work on a Dask cluster, or on 'local', one made here"
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="replace a worker that takes longer for a block"),
]
Format = Annotated[
    str | None,
    typer.Option(help="ttree, rntuple, parquet or hdf5; by default as the name of the file ends"),
]
Device = Annotated[str, typer.Option(help="where to train: auto, cpu, cuda or cuda:N")]

Devices = Annotated[
    int, typer.Option(help="train on so many GPUs of each node; on the CPU, processes")
]

Nodes = Annotated[
    int, typer.Option(help="nodes that train together; each runs this command, by srun or torchrun")
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress")]

Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]

Output = Annotated[Path, typer.Option("--output", "-o", help="folder for the results")]
Force = Annotated[bool, typer.Option("--force", help="replace whatever is in the folder")]

AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="run the code that the workflow names: [[stages]], and plugins of Pythia",
    ),
]

Method = Annotated[
    str | None,
    typer.Option(
        help="headline estimator: nle, npe, fmpe, npse, nre, classifier, sally, rascal, alices or "
        "scandal"
    ),
]

Tree = Annotated[str | None, typer.Option(help="tree, where the files do not name one")]

Layout = Annotated[str | None, typer.Option(help="a [[data.layouts]] of the workflow, by name")]

Branches = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN=EXPRESSION", help="where a column comes from; may be repeated"),
]

Cut = Annotated[str | None, typer.Option(help="a cut over the file's branches")]

Weights = Annotated[str | None, typer.Option(help="an expression for signed event weights")]

DropInvalid = Annotated[
    bool, typer.Option("--drop-invalid", help="drop events with NaN or infinite values")
]

EntryStop = Annotated[int | None, typer.Option(help="read at most so many entries of all files")]

Poi = Annotated[
    list[str] | None,
    typer.Option("--poi", metavar="NAME", help="state something of this parameter; repeatable"),
]

Intervals = Annotated[
    list[str] | None,
    typer.Option("--interval", help="posterior, profile or neyman; may be repeated"),
]

Profile = Annotated[
    bool, typer.Option("--profile", help="also the profile likelihood: scan, interval, impacts")
]

Asimov = Annotated[bool, typer.Option("--asimov", help="also what is expected at the best fit")]

Toys = Annotated[
    int | None, typer.Option(help="pseudo-data sets for --interval neyman, and for --limit")
]

Export = Annotated[
    list[str] | None,
    typer.Option("--export", help="also the analysis in bins: pyhf or hs3; may be repeated"),
]

Fisher = Annotated[
    bool, typer.Option("--fisher", help="also the errors expected by the Fisher information")
]

Scan = Annotated[
    str | None,
    typer.Option(
        "--scan",
        metavar="NAME=LOW:HIGH:NUMBER",
        help="p-values, and with --limit limits, along a hypothesis such as a mass",
    ),
]

Rounds = Annotated[
    int | None,
    typer.Option(help="of simulation and training, after the first near the posterior of the data"),
]

Limit = Annotated[bool, typer.Option("--limit", help="also CLs upper limits at 95 %")]
