"""Options of ``run`` and ``infer`` that add to the result, as entries of the workflow."""

from __future__ import annotations

import json
import math

from hepgen.errors import InputError


def added_entries(
    export: list[str] | None, fisher: bool, scan: str | None, rounds: int | None = None
) -> list[str]:
    """What ``--export``, ``--fisher``, ``--scan`` and ``--rounds`` stand for.

    Raises:
        InputError: A format that is not known, or a scan that is none.

    >>> added_entries(["pyhf"], fisher=True, scan=None)
    ['exchange.formats=["pyhf"]', 'statements.fisher=true']
    """
    known = ("pyhf", "hs3")
    for name in export or ():
        if name not in known:
            raise InputError(f"--export {name!r}: expected one of {', '.join(known)}")
    asked = [f"exchange.formats={json.dumps(export)}"] if export else []
    asked += ["statements.fisher=true"] if fisher else []
    asked += [f"inference.rounds={rounds}"] if rounds is not None else []
    if scan is not None:
        name, values = scanned(scan)
        asked.append(f'statements.scan={{parameter="{name}", values={values}}}')
    return asked


def scanned(text: str) -> tuple[str, list[float]]:
    """A parameter and its values.

    Raises:
        InputError: Neither ``NAME=LOW:HIGH:NUMBER`` nor ``NAME=VALUE,VALUE,…``.

    >>> scanned("m_x=1500:2000:3"), scanned("m_x=1500,1600")
    (('m_x', [1500.0, 1750.0, 2000.0]), ('m_x', [1500.0, 1600.0]))
    """
    name, _, words = text.partition("=")
    try:
        numbers = [float(word) for word in words.replace(":", ",").split(",")]
    except ValueError:
        numbers = []
    good = bool(numbers) and all(map(math.isfinite, numbers)) and name.isidentifier()
    if good and ":" in words:
        good = len(numbers) == 3 and numbers[2] >= 2 and numbers[2] == int(numbers[2])
        good = good and numbers[0] < numbers[1] and "," not in words
        if good:
            low, high, number = numbers
            steps = int(number) - 1
            numbers = [low + (high - low) * i / steps for i in range(steps + 1)]
    if not good:
        raise InputError(
            f"--scan {text!r}: expected NAME=LOW:HIGH:NUMBER, e.g. m_x=1500:3000:31, or "
            "NAME=VALUE,VALUE"
        )
    return name, numbers
