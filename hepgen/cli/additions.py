"""Options of ``run`` and ``infer`` that add to the result, as entries of the workflow."""

from __future__ import annotations

import json

from hepgen.errors import InputError


def added_entries(export: list[str] | None, fisher: bool) -> list[str]:
    """What ``--export`` and ``--fisher`` stand for.

    Raises:
        InputError: A format that is not known.

    >>> added_entries(["pyhf"], fisher=True)
    ['exchange.formats=["pyhf"]', 'statements.fisher=true']
    """
    known = ("pyhf", "hs3")
    for name in export or ():
        if name not in known:
            raise InputError(f"--export {name!r}: expected one of {', '.join(known)}")
    asked = [f"exchange.formats={json.dumps(export)}"] if export else []
    return asked + (["statements.fisher=true"] if fisher else [])
