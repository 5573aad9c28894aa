"""The run folder: which steps are done, and with what."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from hepgen import __version__
from hepgen.errors import FileError
from hepgen.files import parse_json, write_atomically

MANIFEST = "manifest.json"


class RunFolder:
    """A folder with the products of a workflow and a manifest of the steps that made them.

    A step is up to date when its key, a hash of all it depends on, is the one in the
    manifest and its files are there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"cannot make the folder {path}: {error.strerror}") from error

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def _manifest(self) -> dict[str, Any]:
        path = self.path / MANIFEST
        if not path.exists():
            return {}
        try:
            content = parse_json(path.read_text())
        except ValueError as error:
            raise FileError(
                f"{path} is damaged ({error}); remove it and run again: finished blocks are kept"
            ) from error
        return content if isinstance(content, dict) else {}

    def is_current(self, step: str, key: str) -> bool:
        """Whether ``step`` was done with this key and its files are still there."""
        entry = self._manifest().get(step, {})
        files = entry.get("files", [])
        return entry.get("key") == key and all((self.path / f).exists() for f in files)

    def record(self, step: str, key: str, files: list[str], facts: Mapping[str, Any]) -> None:
        """Note that ``step`` is done."""
        manifest = self._manifest()
        manifest[step] = {"key": key, "files": files, **facts}
        write_atomically(self.path / MANIFEST, json.dumps(manifest, indent=1).encode())

    def facts(self, step: str) -> dict[str, Any]:
        """What was noted with ``step``; empty where it was not done."""
        entry = self._manifest().get(step, {})
        return entry if isinstance(entry, dict) else {}


def digest(*parts: Any) -> str:
    """A key for everything in ``parts``: plain values, or paths whose content counts.

    >>> digest("a", {"b": 1}) == digest("a", {"b": 1}) != digest("a", {"b": 2})
    True
    """
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as content:
                sha.update(hashlib.file_digest(content, "sha256").digest())
        else:
            sha.update(json.dumps(part, sort_keys=True, default=str).encode() + b"\0")
    return sha.hexdigest()[:20]


def versions() -> dict[str, str]:
    """The versions that an output depends on, and the git revision where there is one."""
    names = ("torch", "pyro-ppl", "sbi", "zuko", "numpy", "awkward", "uproot",
             "pythia8mc", "pylhe", "pyhepmc")  # fmt: skip
    found = {"hepgen": __version__, "python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    revision = _git_revision()
    return found | ({"git": revision} if revision else {})


def _git_revision() -> str:
    here = Path(__file__).resolve().parent
    # Only a checkout of hepgen itself counts, not a repository it happens to be installed in.
    if not (here.parent / ".git").exists():
        return ""
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
