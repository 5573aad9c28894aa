"""What Pythia's settings are called, and which values each of them takes.

Pythia takes a word that it cannot read for "off", a line that begins with no letter for a
comment, and ``include = FILE`` for more settings. So it is only told names that it has, with
values of their kind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from hepgen.errors import WorkflowError, nearest

#: The kinds of settings: of one value, and of several.
SINGLE, SEVERAL = ("Flag", "Mode", "Parm", "Word"), ("FVec", "MVec", "PVec", "WVec")
#: The properties of a particle, and of one of its decay channels, by the kind of their values.
PARTICLE = {
    "Flag": "isResonance mayDecay tauCalc doExternalDecay varWidth isVisible doForceWidth",
    "Mode": "spinType chargeType colType",
    "Parm": "m0 mWidth mMin mMax tau0 rescaleBR",
    "Word": "name antiName names all new addChannel oneChannel",
    "OnMode": "onMode",
    "List": "onIfAny onPosIfAny onNegIfAny offIfAny onIfAll onPosIfAll onNegIfAll offIfAll "
    "onIfMatch onPosIfMatch onNegIfMatch offIfMatch",
}
CHANNEL = {"OnMode": "onMode", "Parm": "bRatio", "Mode": "meMode", "List": "products"}
ON_OFF = "on|off|true|false|yes|no|ok|0|1"


def line(pythia: Any, name: str, value: Any) -> str:
    """The line that tells Pythia a setting.

    Arguments:
        pythia: An instance of it.
        name: As in its manual, in any case; ``ID:property`` for a particle.
        value: True or false, a number, or text.

    Raises:
        WorkflowError: Pythia has no such setting, or it does not take the value.
    """
    plain, text = name.strip().lower(), _text(name, value)
    kind = _kind(pythia.settings, plain) or _kind_of_particle(pythia.particleData, plain)
    if kind is None:
        raise WorkflowError(f"Pythia has no setting {name!r}; {nearest(name, names(pythia))}")
    expected = _fault(kind, text) or _out_of_range(pythia.settings, kind, plain, text)
    if expected:
        raise WorkflowError(
            f"Pythia setting {name!r} does not take the value {value!r}; expected {expected}"
        )
    return f"{name.strip()} = {text}"


def refuse_taken(settings: Mapping[str, Any], meaning: Mapping[str, str]) -> None:
    """Refuse settings that something else sets.

    Arguments:
        settings: By Pythia's names.
        meaning: Parameter → the setting that it is.

    Raises:
        WorkflowError: There is one.
    """
    taken = {setting.lower(): f"the parameter {name!r}" for name, setting in meaning.items()}
    seed = dict.fromkeys(("random:seed", "random:setseed"), "the seed of the simulation")
    for name, value in settings.items():
        if who := (taken | seed).get(name.strip().lower()):
            raise WorkflowError(
                f"Pythia setting {name!r} = {value!r}: {who} sets it; remove it and set that"
            )


def names(pythia: Any) -> list[str]:
    """All settings of Pythia, as its manual writes them."""
    maps = (getattr(pythia.settings, f"get{kind}Map")("") for kind in (*SINGLE, *SEVERAL))
    return [entry.name for known in maps for entry in known.values()]


def changed_words(pythia: Any) -> dict[str, str]:
    """The settings of text that are not as Pythia has them by default, whoever set them."""
    words = pythia.settings.getWordMap("").values()
    return {word.name: word.valNow for word in words if word.valNow != word.valDefault}


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if not isinstance(value, (int, float, str)):
        raise WorkflowError(
            f"Pythia setting {name!r} = {value!r}: expected true or false, a number, or text"
        )
    return repr(value) if isinstance(value, float) else str(value).strip()


def _kind(settings: Any, name: str) -> str | None:
    found = (kind for kind in (*SINGLE, *SEVERAL) if getattr(settings, f"is{kind}")(name))
    return next(found, None) if name and not name.isspace() else None


def _kind_of_particle(particles: Any, name: str) -> str | None:
    found = re.fullmatch(r"([1-9][0-9]{0,9}):([0-9]{1,6}:)?([a-z0-9]+)", name)
    if found is None:
        return None
    number, channel, word = found.groups()
    kinds = CHANNEL if channel else PARTICLE
    kind = next((k for k, words in kinds.items() if word in words.lower().split()), None)
    return kind if word in ("all", "new") or particles.isParticle(int(number)) else None


def _fault(kind: str, text: str) -> str:
    """What was expected, where a text is no value of the kind; else nothing."""
    if kind in SEVERAL:
        inner = re.fullmatch(r"\{([^{}]*)\}|([^{}]*)", text)
        parts = (inner[1] or inner[2] or "").split(",") if inner else ["{"]
        single = SINGLE[SEVERAL.index(kind)]
        empty = inner is not None and not "".join(parts).strip()
        faults = [fault for part in parts if (fault := _fault(single, part.strip()))]
        return "" if empty or not faults else f"{{…}} with {faults[0]}, between commas"
    known, words = KINDS[kind]
    return "" if known(text) else words


def _out_of_range(settings: Any, kind: str, name: str, text: str) -> str:
    """What was expected, where a number is outside the range that Pythia gives; else nothing."""
    if kind not in ("Mode", "Parm") or not getattr(settings, f"is{kind}")(name):
        return ""
    entry, value = getattr(settings, f"get{kind}Map")(name)[name], float(text)
    low = entry.valMin if entry.hasMin else -math.inf
    high = entry.valMax if entry.hasMax else math.inf
    return "" if low <= value <= high else f"a number from {low:g} to {high:g}"


def _finite(text: str) -> bool:
    number = re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?", text, re.I)
    return number is not None and math.isfinite(float(text))


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text, re.I) is not None


KINDS: dict[str, tuple[Callable[[str], bool], str]] = {
    "Flag": (_matches(ON_OFF), "true or false"),
    "Mode": (_matches("[-+]?[0-9]{1,10}"), "a whole number"),
    "Parm": (_finite, "a finite number"),
    "Word": (_matches(r"[^{}\x00-\x1f\x7f]*"), "text on one line without braces"),
    "OnMode": (_matches(f"{ON_OFF}|[2-9]"), "true, false, or a number from 0 to 9"),
    "List": (_matches(r"[-+0-9 ]*[0-9][-+0-9 ]*"), "whole numbers between blanks"),
}
