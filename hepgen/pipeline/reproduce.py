"""Reproduce: a result again from what it says of itself, and whether it is the same."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hepgen.compute import Workers
from hepgen.config import parse, parse_combination
from hepgen.errors import FileError
from hepgen.files import parse_json
from hepgen.pipeline.channels import Combination, near, workspace
from hepgen.pipeline.combine import combine
from hepgen.pipeline.data import DataRequest
from hepgen.pipeline.infer import infer
from hepgen.pipeline.monitor import Monitor
from hepgen.pipeline.session import Session
from hepgen.results import to_json
from hepgen.store import digest

TIMES = frozenset({"seconds", "key"})
"""Entries of a provenance that tell when, and where, and not what."""


_TEXT = (str, type(None)), "text, or null"
_REQUESTED: Mapping[str, tuple[Any, str]] = {
    "files": ((list, tuple), "a list of names"),
    "branches": ((list, tuple), "a list of names"),
    "tree": _TEXT,
    "layout": _TEXT,
    "cut": _TEXT,
    "weights": _TEXT,
    "method": _TEXT,
    "drop_invalid": (bool, "true or false"),
    "entry_stop": ((int, type(None)), "a whole number, or null"),
    "workflow": (str, "the name of a file"),
}
"""What a result says of the request that it answers: the types of :class:`DataRequest`."""
_USUAL = {field.name: field.default for field in fields(DataRequest)}


@dataclass(frozen=True)
class Reproduction:
    """A result that was made again.

    Arguments:
        differences: The entries that are not the same, each as ``name: before, now``.
        versions: The packages that have another version now, likewise.
    """

    differences: tuple[str, ...]
    versions: tuple[str, ...]

    def words(self) -> str:
        """For people."""
        lines = [f"{len(self.differences)} entries differ"] if self.differences else ["the same"]
        lines += [f"  {line}" for line in self.differences[:20]]
        if self.versions:
            lines += ["other versions:", *(f"  {line}" for line in self.versions)]
        return "\n".join(lines)


def reproduce(
    results: Path,
    files: Sequence[str] = (),
    *,
    workers: Workers = Workers(),  # noqa: B008 (frozen)
    monitor: Monitor,
    device: str = "auto",
    allow_code: bool = False,
) -> Reproduction:
    """Simulate, train and infer again, in an empty run folder, and compare.

    Arguments:
        results: The folder of a result, or of a combination, or its ``result.json``.
        files: The data, where they are elsewhere now; not of a combination.
        workers: Who simulates.
        monitor: Shows progress.
        device: Where networks are trained.
        allow_code: Whether stages that the workflow names may be imported.

    Raises:
        FileError: There is no result, or it does not say enough.
    """
    before = _result(results)
    noted = before["provenance"]
    with tempfile.TemporaryDirectory(prefix="hepgen-") as folder:

        def again(workflow: Any, source: Any) -> Session:
            content = _toml(results, "workflow", workflow)
            # Channels that shared a run folder share one again.
            place = str(Path(folder) / digest(content.get("folder")))
            return Session(
                parse(content | {"folder": place}, str(results)), Path(_path(source)), workers,
                monitor, device, allow_code,
            )  # fmt: skip

        if "combination" in noted:
            opened = _combination(results, noted, files, again)
            opened = replace(opened, workers=workers, monitor=monitor)
            result = combine(opened).result
        else:
            request, method = _request(noted, files), noted["request"].get("method")
            session = again(noted["workflow"], noted["request"]["workflow"])
            result = infer(session, request, method).result
    return compared(before, parse_json(to_json(result.to_dict())))


def compared(before: Mapping[str, Any], now: Mapping[str, Any]) -> Reproduction:
    """What differs between two results, apart from times, places and versions.

    >>> one = {"events": 3, "provenance": {"seconds": 1.0, "seeds": {"nle": 0}}}
    >>> two = {"events": 3, "provenance": {"seconds": 2.0, "seeds": {"nle": 1}}}
    >>> compared(one, two).differences
    ('provenance.seeds.nle: 0, 1',)
    """
    # An earlier version noted no digests of its inputs.
    unknown = {"inputs"} - before.get("provenance", {}).keys()
    known = [_leaves(_without_times(result, unknown)) for result in (before, now)]
    first, second = (dict(leaves) for leaves in known)
    names = [*first, *(name for name in second if name not in first)]
    differ = [
        f"{name}: {first.get(name, 'missing')!r}, {second.get(name, 'missing')!r}"
        for name in names
        if first.get(name, KeyError) != second.get(name, KeyError)
    ]
    versions = [line for line in differ if line.startswith("provenance.versions.")]
    return Reproduction(tuple(d for d in differ if d not in versions), tuple(versions))


def _result(path: Path) -> dict[str, Any]:
    file = path / "result.json" if path.is_dir() else path
    try:
        content = parse_json(file.read_text("utf-8"))
    except OSError as error:
        raise FileError(
            f"no result {file}; expected the folder that `hepgen infer -o FOLDER` has written"
        ) from error
    except ValueError as error:
        raise FileError(f"{file} cannot be read as JSON: {error}") from error
    noted = content.get("provenance") if isinstance(content, dict) else None
    if isinstance(noted, dict) and "combination" in noted:
        return dict(content)
    if not isinstance(noted, dict) or not isinstance(noted.get("workflow"), str):
        raise FileError(f"{file} is no result: it has no provenance with a workflow")
    if not isinstance(noted.get("request"), dict):
        raise FileError(
            f"{file} does not say how its data were asked for: it is of an earlier version of "
            "hepgen; run `hepgen infer` with the command that made it"
        )
    return dict(content)


def _combination(
    results: Path,
    noted: Mapping[str, Any],
    files: Sequence[str],
    again: Callable[[Any, Any], Session],
) -> Combination:
    """What was combined, each workflow as the result says it was.

    Raises:
        FileError: The provenance is of an earlier version, or was edited; or a workspace was.
    """
    if files:
        raise FileError(
            f"{results} is of a combination, whose file names the data of each channel: no others "
            f"can be given ({', '.join(files)}); put them where they were"
        )
    file = parse_combination(_toml(results, "combination", noted["combination"]), str(results))
    channels, known = noted.get("channels"), noted.get("workspaces")
    if not isinstance(channels, dict) or not isinstance(known, dict):
        raise FileError(
            f"{results} does not say how its channels were read: it is of an earlier version of "
            "hepgen, or was edited; run `hepgen combine` again"
        )
    source = Path(_path(noted.get("source")))
    sessions, workspaces = {}, {}
    for one in file.channels:
        if one.pyhf is None:
            entry = channels.get(one.name)
            if not isinstance(entry, dict):
                raise FileError(
                    f"{results} says nothing of the channel {one.name!r}; it was edited"
                )
            sessions[one.name] = again(entry.get("workflow"), entry.get("source"))
            continue
        path = near(source, one.pyhf)
        workspaces[one.name] = workspace(path)
        if digest(dict(workspaces[one.name])) != known.get(one.name):
            raise FileError(
                f"{path} is not the workspace that {results} is of: it has changed since; put the "
                "old one there, or run `hepgen combine` again"
            )
    return Combination(file, source, sessions, workspaces)


def _toml(results: Path, name: str, text: Any) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FileError(
            f"{results}: its provenance.{name} is no TOML ({error}); the result was edited, make "
            "it again"
        ) from error


def _path(value: Any) -> str:
    if not isinstance(value, str):
        raise FileError(
            f"a workflow from {value!r}; expected the name of a file: the result was edited, make "
            "it again"
        )
    return value


def _request(provenance: Mapping[str, Any], files: Sequence[str]) -> DataRequest:
    entries = provenance["request"]
    for name, (kind, words) in _REQUESTED.items():
        value = entries.get(name, _USUAL.get(name))
        if not isinstance(value, kind) or not _names(value):
            raise FileError(
                f"provenance.request.{name} = {value!r}; expected {words}: the result was edited, "
                "run `hepgen infer` again"
            )
    request = DataRequest(**{k: v for k, v in entries.items() if k in _USUAL})
    return request if not files else DataRequest(**{**vars(request), "files": list(files)})


def _names(value: Any) -> bool:
    """Whether a list, if it is one, is of names."""
    return not isinstance(value, (list, tuple)) or all(isinstance(one, str) for one in value)


def _without_times(result: Mapping[str, Any], unknown: Collection[str] = ()) -> dict[str, Any]:
    noted = {k: v for k, v in result.get("provenance", {}).items() if k not in TIMES}
    # The workflow was told another run folder; a request, perhaps other files.
    for name in ("workflow", "channels", "source", "request", "data", *unknown):
        noted.pop(name, None)
    return {**result, "provenance": noted}


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{name}[{number}]")
    else:
        yield name, value
