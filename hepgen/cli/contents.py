"""``hepgen show``."""

from __future__ import annotations

from typing import Annotated

import typer

from hepgen.cli.options import Json, Overrides
from hepgen.cli.program import CHECKS_FAILED, app
from hepgen.cli.session import print_result


@app.command()
def show(
    target: Annotated[
        str, typer.Argument(metavar="FILE|WORKFLOW|MODEL|BLOCKS|RESULTS", help="what to look at")
    ],
    overrides: Overrides = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="read every block and compare its checksum")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what is in a file, a workflow (with its defaults), a model, blocks or a result."""
    from hepgen.pipeline.show import show as describe
    from hepgen.pipeline.show import verified

    facts, words = verified(target) if verify else describe(target, overrides or [])
    print_result(facts, words, as_json)
    if verify and facts["wrong"]:
        raise typer.Exit(CHECKS_FAILED)
