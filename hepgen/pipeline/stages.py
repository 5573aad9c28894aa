"""Stages of the user's: imported from the workflow's folder, checked, put in their places."""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import inspect
import pickle
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from hepgen.config import StageEntry
from hepgen.errors import HepgenError, SimulationError, WorkflowError, nearest
from hepgen.simulators.chain import Chain
from hepgen.simulators.stage import Stage
from hepgen.simulators.wiring import check_wiring

#: The files of the modules that were imported for workflows, with their digests.
_IMPORTED: dict[str, tuple[str, str]] = {}


def with_stages(chain: Chain, entries: Sequence[StageEntry], folder: Path) -> Chain:
    """A chain with the stages of ``entries`` in their places, one after the other.

    Observables that no stage provides any more are left out.

    Arguments:
        chain: The process.
        entries: What the workflow says.
        folder: Of the workflow: it is on the import path while they are imported.

    Raises:
        WorkflowError: One cannot be imported, is no stage, or has no such place, or the stages
            do not fit together.
    """
    folder = folder.resolve()
    stages, observables, own, notes = list(chain.stages), dict(chain.observables), [], []
    for entry in entries:
        cls = _imported(entry.where, folder)
        stage = _made(cls, entry)
        _place(stages, stage, entry)
        own.append(stage)
        source = {"import": entry.where, "options": entry.options, "sha256": _digest(cls)}
        notes.append(source)
    try:
        check_wiring(stages)
    except SimulationError as error:
        raise WorkflowError(f"[[stages]]: {error}") from error
    for stage in own:
        observables |= stage.outputs
    provided = {column for stage in stages for column in stage.provides}
    return Chain(
        stages,
        {name: words for name, words in observables.items() if name in provided},
        chain.name,
        chain.options | {"stages": notes},
        image=chain.image,
        import_path=str(folder),
    )


@contextmanager
def importing(folder: str | None) -> Iterator[None]:
    """A folder on the import path."""
    if folder is None:
        yield
        return
    # Without bytecode an edited module is never taken for the one before.
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        sys.dont_write_bytecode = bytecode


def _imported(where: str, folder: Path) -> type[Stage]:
    module, colon, name = where.partition(":")
    if not (colon and name.isidentifier() and all(map(str.isidentifier, module.split(".")))):
        raise WorkflowError(f"stages.import = {where!r}: expected 'module:Class'")
    with importing(str(folder)):
        importlib.invalidate_caches()
        _forget_others(module)
        try:
            loaded = importlib.import_module(module)
            _remember(module)
        # A module may leave the program by sys.exit(), which nobody would notice.
        except (Exception, SystemExit) as error:
            raise WorkflowError(
                f"stages.import = {where!r} cannot be imported: {type(error).__name__}: {error}; "
                f"modules are looked for in {folder}, and where Python looks"
            ) from error
    found = getattr(loaded, name, None)
    if found is None:
        classes = [n for n, v in vars(loaded).items() if inspect.isclass(v)]
        raise WorkflowError(f"stages.import = {where!r}: no {name!r}; {nearest(name, classes)}")
    if not (inspect.isclass(found) and issubclass(found, Stage)):
        raise WorkflowError(
            f"stages.import = {where!r} is {found!r}; expected a class derived from hepgen.Stage"
        )
    return found


def _forget_others(module: str) -> None:
    """Forget modules of this name of another workflow, or as they were before they were edited."""
    top = module.partition(".")[0]
    known = {name: _IMPORTED[name] for name in _package(module) if name in _IMPORTED}
    spec = importlib.machinery.PathFinder.find_spec(top)
    here = spec and (spec.origin or next(iter(spec.submodule_search_locations or ()), None))
    moved = top in known and known[top][0] != here
    if moved or any(_file_digest(place) != digest for place, digest in known.values()):
        for name in known:
            del sys.modules[name], _IMPORTED[name]


def _remember(module: str) -> None:
    for name, loaded in _package(module).items():
        # A package without __init__.py has a folder in the place of a file.
        place = getattr(loaded, "__file__", None) or next(iter(getattr(loaded, "__path__", ())), "")
        _IMPORTED[name] = (place, _file_digest(place))


def _package(module: str) -> dict[str, ModuleType]:
    """The modules of a package that are imported."""
    top = module.partition(".")[0]
    return {n: m for n, m in sys.modules.items() if n.partition(".")[0] == top}


def _made(cls: type[Stage], entry: StageEntry) -> Stage:
    try:
        inspect.signature(cls).bind(**entry.options)
        stage = cls(**entry.options)
    except HepgenError:
        raise
    except (Exception, SystemExit) as error:
        raise WorkflowError(
            f"stage {entry.where!r} cannot be made with the options {entry.options}: "
            f"{type(error).__name__}: {error}; it "
            f"takes {inspect.signature(cls)}"
        ) from error
    if not isinstance(getattr(stage, "name", None), str):
        raise WorkflowError(f"stage {entry.where!r} has no name; expected a text, name = '…'")
    try:
        pickle.dumps(stage)
    except (Exception, SystemExit) as error:
        raise WorkflowError(
            f"stage {entry.where!r} cannot be sent to worker processes: {error}; make what it "
            "keeps picklable, e.g. functions of a module in the place of lambdas"
        ) from error
    return stage


def _place(stages: list[Stage], stage: Stage, entry: StageEntry) -> None:
    """Put a stage into a row of stages."""
    if entry.replace is not None:
        names = [entry.replace] if isinstance(entry.replace, str) else entry.replace
        first, last = _index(stages, names[0]), _index(stages, names[-1])
        if [s.name for s in stages[first : last + 1]] != names:
            raise WorkflowError(
                f"stages.replace = {names}: expected stages in a row, of {[s.name for s in stages]}"
            )
        stages[first : last + 1] = [stage]
    elif entry.before is not None:
        stages.insert(_index(stages, entry.before), stage)
    elif entry.after is not None:
        stages.insert(_index(stages, entry.after) + 1, stage)
    else:
        stages.append(stage)


def _index(stages: Sequence[Stage], name: str) -> int:
    names = [stage.name for stage in stages]
    if name not in names:
        raise WorkflowError(f"stages: no stage {name!r} in the chain; {nearest(name, names)}")
    return names.index(name)


def _digest(cls: type[Stage]) -> str:
    """Of the file that the class is in, so that another version is another simulation."""
    return _file_digest(inspect.getsourcefile(cls))


def _file_digest(file: Any) -> str:
    readable = file is not None and Path(file).is_file()
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if readable else ""
