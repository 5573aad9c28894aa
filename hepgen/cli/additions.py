"""Options of ``run`` and ``infer`` that add to the result, as entries of the workflow."""

from __future__ import annotations

import json

from hepgen.errors import InputError


def added_entries(export: list[str] | None) -> list[str]:
    """What ``--export`` stands for.

    Raises:
        InputError: A format that is not known.

    >>> added_entries(["pyhf"])
    ['exchange.formats=["pyhf"]']
    """
    known = ("pyhf", "hs3")
    for name in export or ():
        if name not in known:
            raise InputError(f"--export {name!r}: expected one of {', '.join(known)}")
    return [f"exchange.formats={json.dumps(export)}"] if export else []
