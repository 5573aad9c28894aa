"""``hepgen show``."""

from __future__ import annotations

from typing import Annotated

import typer

from hepgen.cli.options import Json, Overrides
from hepgen.cli.program import app
from hepgen.cli.session import print_result


@app.command()
def show(
    target: Annotated[str, typer.Argument(metavar="FILE|WORKFLOW|MODEL", help="what to look at")],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show what is in a ROOT or HDF5 file, a workflow (with its defaults) or a model folder."""
    from hepgen.pipeline.show import show as describe

    facts, words = describe(target, overrides or [])
    print_result(facts, words, as_json)
