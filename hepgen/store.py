"""The run folder: which steps are done, and with what."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from hepgen import __version__
from hepgen.errors import FileError
from hepgen.files import locked, parse_json, write_atomically

MANIFEST = "manifest.json"


class RunFolder:
    """A folder with the products of a workflow and a manifest of the steps that made them.

    A step is up to date when its key, a hash of all it depends on, is the one in the
    manifest, and its files have the content that is noted there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"cannot make the folder {path}: {error.strerror}") from error

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def _manifest(self) -> dict[str, dict[str, Any]]:
        path = self.path / MANIFEST
        try:
            content = parse_json(path.read_bytes())
            entries = content if isinstance(content, dict) else {}
            for step, entry in entries.items():
                _check(step, entry)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise FileError(
                f"{path} is damaged ({error}); remove it and run again: finished blocks are kept"
            ) from error
        return entries

    def is_current(self, step: str, key: str) -> bool:
        """Whether ``step`` was done with this key and its files are still those of then."""
        entry = self._manifest().get(step, {})
        if entry.get("key") != key:
            return False
        digests = entry.get("digests", {})  # records of earlier versions have none
        return all(self._is_as_noted(name, digests.get(name)) for name in entry.get("files", []))

    def _is_as_noted(self, name: str, noted: str | None) -> bool:
        path = self.path / name
        return path.exists() and (noted is None or _content_digest(path) == noted)

    @contextmanager
    def renewed(
        self, step: str, key: str, files: list[str], facts: Mapping[str, Any]
    ) -> Iterator[None]:
        """Write the files of ``step`` in here; it is done when all of them are there.

        Whoever is stopped in between leaves a step that is not done, whatever is in its files;
        others who record in this folder wait.
        """
        with locked(self.path / f".{MANIFEST}.lock"):
            manifest = self._manifest()
            if manifest.pop(step, None) is not None:
                self._write(manifest)
            yield
            digests = {name: _content_digest(self.path / name) for name in files}
            self._write(
                manifest | {step: {"key": key, "files": files, "digests": digests, **facts}}
            )

    def record(self, step: str, key: str, files: list[str], facts: Mapping[str, Any]) -> None:
        """Note that ``step`` is done, with files that are there."""
        with self.renewed(step, key, files, facts):
            pass

    def _write(self, manifest: Mapping[str, Any]) -> None:
        write_atomically(self.path / MANIFEST, json.dumps(manifest, indent=1).encode())

    def facts(self, step: str) -> dict[str, Any]:
        """What was noted with ``step``; empty where it was not done."""
        return self._manifest().get(step, {})


def _check(step: str, entry: Any) -> None:
    """Refuse what :meth:`RunFolder.record` has not written.

    Raises:
        ValueError: Names the step.
    """
    known = entry if isinstance(entry, dict) else {"files": None}
    files, digests = known.get("files", []), known.get("digests", {})
    if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        raise ValueError(f"the step {step!r} has no list of files")
    if not isinstance(digests, dict):
        raise ValueError(f"the step {step!r} has no digests of its files")


def _content_digest(path: Path) -> str:
    """The SHA-256 of a file.

    Raises:
        FileError: It cannot be read.
    """
    try:
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}; run again") from error


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
