"""Versions of what makes events: another one may make others from the same seed."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata

_EVERY = ("hepgen", "torch", "pyro-ppl", "numpy", "awkward", "safetensors")
_SOME = ("zuko", "pythia8mc", "pylhe", "pyhepmc")


@cache
def versions_of_all() -> tuple[tuple[str, str], ...]:
    """Of Python, and of what every chain needs; ``missing`` where there is none."""
    python = ".".join(platform.python_version_tuple()[:2])
    return (("python", python), *((name, _version(name) or "missing") for name in _EVERY))


@cache
def versions_of_events() -> dict[str, str]:
    """The same, with what a surrogate or a foreign generator in a chain needs, where it is there.

    >>> "torch" in versions_of_events()
    True
    """
    some = ((name, _version(name)) for name in _SOME)
    return {**dict(versions_of_all()), **{name: version for name, version in some if version}}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
