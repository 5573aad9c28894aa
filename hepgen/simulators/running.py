"""Running a stage of anybody's: an error has its name, and it returns what it promised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from hepgen.errors import HepgenError, SimulationError, out_of_memory
from hepgen.events import Events
from hepgen.simulators.stage import Stage, State

_DTYPES = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bool, torch.uint8}
    | {torch.int64, torch.int32, torch.int16, torch.int8}
)


def run(stage: Stage, state: State, parameters: Mapping[str, Tensor]) -> State:
    """The columns after a stage, checked.

    Raises:
        SimulationError: The stage failed, did not return what it provides as columns of shape
            ``(G, E)`` or ``(G, E, …)``, or changed what is not its own.
        MemoryError: There is too little.
    """
    shape = state["event"].shape
    columns, values = _versions(state), _versions(parameters)
    # So that an error can say which stage a site is of.
    with poutine.infer_config(config_fn=lambda _: {"stage": stage.name}), _Drawn() as drawn:
        try:
            new = stage(state, parameters)
        except (HepgenError, MemoryError):
            raise
        except (Exception, SystemExit) as error:
            _fail(stage, error)
    _check_returned(stage, new, columns)
    for name in stage.provides:
        _check_column(stage, name, new[name], shape)
    _check_untouched(stage, "column", columns, new, set(stage.provides))
    _check_untouched(stage, "parameter", values, parameters, set())
    _check_untouched(stage, "value of the site", drawn.versions, drawn.values, set())
    return new


def reconstruct(stage: Stage, events: Events) -> Events:
    """Measured events with what a stage adds to them.

    Raises:
        SimulationError: The stage failed, or did not return events.
        MemoryError: There is too little.
    """
    try:
        new = stage.reconstruct(events)
    except (HepgenError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        _fail(stage, error)
    if not isinstance(new, Events):
        raise SimulationError(
            f"stage {stage.name!r} reconstructed events as {type(new).__name__}; expected the "
            "events with what it adds"
        )
    return new


class _Drawn(Messenger):  # type: ignore[misc]
    """Notes the values of the sites of a stage as they are drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Tensor] = {}
        self.versions: dict[str, tuple[Tensor, int]] = {}

    def _pyro_post_sample(self, message: Any) -> None:
        name, value = message["name"], message["value"]
        self.values[name] = value
        self.versions |= _versions({name: value})


def _fail(stage: Stage, error: BaseException) -> NoReturn:
    if out_of_memory(error):
        raise MemoryError(f"stage {stage.name!r}: out of memory") from error
    lines = str(error).strip().splitlines()
    words = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    raise SimulationError(
        f"stage {stage.name!r} failed{_line(stage, error)}: {words}; correct the stage, or its "
        "options"
    ) from error


def _line(stage: Stage, error: BaseException) -> str:
    """Where in the module of the stage it happened, in words."""
    module, found, traceback = type(stage).__module__, "", error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__") == module:
            found = f" (line {traceback.tb_lineno} of {module})"
        traceback = traceback.tb_next
    return found


def _check_returned(stage: Stage, new: Any, before: Mapping[str, Any]) -> None:
    if not isinstance(new, dict):
        raise SimulationError(
            f"stage {stage.name!r} returned {type(new).__name__}; expected the state with what it "
            'adds: return state | {"x": x}'
        )
    missing = set(stage.provides) - set(new)
    if missing:
        raise SimulationError(
            f"stage {stage.name!r} returned no column {sorted(missing)}, "
            f"which it says it provides; it returned {sorted(set(new) - set(before), key=str)}"
        )
    dropped = set(before) - set(new)
    if dropped:
        raise SimulationError(
            f"stage {stage.name!r} dropped the columns {sorted(dropped)}; expected the state with "
            'what it adds: return state | {"x": x}'
        )


def _check_column(stage: Stage, name: str, value: Any, shape: torch.Size) -> None:
    what = f"stage {stage.name!r} provides {name!r}"
    if not isinstance(value, Tensor):
        raise SimulationError(
            f"{what} as {type(value).__module__}.{type(value).__name__}; expected a torch.Tensor, "
            "e.g. torch.as_tensor(…)"
        )
    if value.dtype not in _DTYPES or value.layout != torch.strided:
        raise SimulationError(
            f"{what} as {value.dtype}, {value.layout}; expected a dense tensor of real numbers, "
            "integers or bool, best torch.float64"
        )
    flat = name in ("selected", "weight")
    if value.shape[:2] != shape or (flat and value.dim() != 2):
        raise SimulationError(
            f"{what} with the shape {tuple(value.shape)}; expected "
            f"(G, E){'' if flat else ' or (G, E, K)'} with G = {shape[0]} parameter "
            f"points and E = {shape[1]} events"
        )
    if name == "selected" and value.dtype != torch.bool:
        raise SimulationError(f"{what} as {value.dtype}; expected torch.bool, e.g. x > 0")


def _versions(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, int]]:
    """The tensors, and how often each was written to."""
    return {name: (tensor, tensor._version) for name, tensor in tensors.items()}


def _check_untouched(
    stage: Stage,
    kind: str,
    before: Mapping[str, tuple[Tensor, int]],
    after: Mapping[str, Tensor],
    own: set[str],
) -> None:
    """Refuse another tensor, or other values in it, where it is not the stage's own."""
    for name, (tensor, version) in before.items():
        if name not in own and not (after.get(name) is tensor and tensor._version == version):
            raise SimulationError(
                f"stage {stage.name!r} changed the {kind} {name!r}, which it does not provide; "
                "expected a new tensor of another name, made without operations in place "
                "(x += 1, x[…] = …)"
            )
