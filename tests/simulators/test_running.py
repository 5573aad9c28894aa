"""What anybody's stage may do, and how a chain answers what it may not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Normal
from torch import Tensor

from hepgen.errors import SimulationError
from hepgen.events import Events
from hepgen.parameters import Parameter
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain, Trace, _generators_kept, _seed_generators
from hepgen.simulators.stage import Stage, State

Function = Callable[[State, Mapping[str, Tensor]], Any]


class First(Stage):
    """x: standard normal."""

    name = "first"
    parameters = (Parameter("mu", 1.0),)
    provides = ("x",)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        mean = parameters["mu"].expand(state["event"].shape)
        return state | {"x": pyro.sample("x", Normal(mean, torch.ones_like(mean)))}


class Mine(Stage):
    """Does what it is told to."""

    name = "mine"
    requires = ("x",)
    provides: tuple[str, ...] = ("y",)

    def __init__(self, function: Function, **words: Any) -> None:
        self.function = function
        for name, value in words.items():
            setattr(self, name, value)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        new: State = self.function(state, parameters)
        return new


def chain(function: Function, **words: Any) -> Chain:
    return Chain([First(), Mine(function, **words)], {"y": ("", "y")})


def simulate(function: Function, seed: int = 1, **words: Any) -> Trace:
    made = chain(function, **words)
    return made.simulate(made.parameters.values(), 10, seed)


def adding(make: Callable[[Tensor], Any], name: str = "y") -> Function:
    return lambda state, _: state | {name: make(state["x"])}


def raising(error: BaseException) -> Function:
    def function(_state: State, _parameters: Mapping[str, Tensor]) -> State:
        raise error

    return function


def drawing(name: str, values: Callable[[Tensor], Any]) -> Function:
    def function(state: State, _parameters: Mapping[str, Tensor]) -> State:
        pyro.sample(name, values(state["x"]))
        return state | {"y": state["x"]}

    return function


# --- what it raises -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no such table\nsecond line"), "ValueError: no such table;"),
        (KeyError("pt"), "KeyError: 'pt'"),
        (ImportError("No module named 'lost'"), "ImportError: No module"),
        (ZeroDivisionError(), "ZeroDivisionError;"),
        (RuntimeError("sizes differ"), "RuntimeError: sizes differ"),
        (SystemExit(0), "SystemExit: 0"),
    ],
)
def test_an_error_of_a_stage_names_it_and_keeps_its_cause(error: Exception, words: str) -> None:
    with pytest.raises(SimulationError, match=r"stage 'mine' failed \(line \d+ of .*") as caught:
        simulate(raising(error))
    assert words in str(caught.value)
    assert "second line" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_other_ends_are_passed_on(error: BaseException) -> None:
    with pytest.raises(type(error)):
        simulate(raising(error))


def test_an_error_that_says_enough_stays_as_it_is() -> None:
    with pytest.raises(SimulationError, match=r"^mine alone$"):
        simulate(raising(SimulationError("mine alone")))


def test_out_of_memory_is_said_so() -> None:
    with pytest.raises(MemoryError, match="stage 'mine'"):
        simulate(adding(lambda _: torch.empty(10**15, dtype=torch.float64)))


# --- what it returns ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda _s, _p: None, "returned NoneType; expected the state"),
        (lambda s, _p: s, r"returned no column \['y'\]"),
        (lambda s, _p: {"y": s["x"]}, r"dropped the columns \['event', 'x'\]"),
        (adding(lambda _: 1.0), r"'y' as builtins.float; expected a torch.Tensor"),
        (adding(lambda x: x.numpy()), r"'y' as numpy.ndarray; expected a torch.Tensor"),
        (adding(lambda x: x.bfloat16()), r"'y' as torch.bfloat16"),
        (adding(lambda x: x.to(torch.complex128)), r"'y' as torch.complex128"),
        (adding(lambda x: x.to_sparse()), "torch.sparse_coo; expected a dense"),
        (adding(lambda _: torch.tensor(1.0)), r"shape \(\); expected \(G, E\) or \(G, E, K\)"),
        (adding(lambda x: x[0]), r"the shape \(10,\)"),
        (adding(lambda x: x.T), r"the shape \(10, 1\).* G = 1 .* E = 10"),
        (adding(lambda x: x[:, :3]), r"the shape \(1, 3\)"),
    ],
)
def test_what_is_no_column_is_refused(function: Function, words: str) -> None:
    with pytest.raises(SimulationError, match=f"stage 'mine' .*{words}"):
        simulate(function)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64, torch.bool])
@pytest.mark.parametrize("more", [(), (3,), (3, 2)])
def test_columns_of_any_real_kind(dtype: torch.dtype, more: tuple[int, ...]) -> None:
    made = simulate(adding(lambda _: torch.ones((1, 10, *more), dtype=dtype)))
    assert made.state["y"].shape == (1, 10, *more)


def test_selection_and_weight_have_their_forms() -> None:
    with pytest.raises(SimulationError, match=r"'selected' as torch.float.*expected torch.bool"):
        simulate(adding(torch.ones_like, "selected"), provides=("selected",))
    for name in ("selected", "weight"):
        with pytest.raises(SimulationError, match=rf"'{name}' .*\(1, 10, 1\); expected \(G, E\) w"):
            simulate(adding(lambda x: x[..., None] > 0, name), provides=(name,))


# --- what is not its own --------------------------------------------------------------


def test_a_column_of_another_stage_is_not_overwritten() -> None:
    with pytest.raises(SimulationError, match="'mine' changed the column 'x'"):
        simulate(lambda s, _: s | {"x": 2 * s["x"], "y": s["x"]})


def test_nor_changed_in_place() -> None:
    def function(state: State, _parameters: Mapping[str, Tensor]) -> State:
        state["x"] += 1
        return state | {"y": 2 * state["x"]}

    with pytest.raises(SimulationError, match="'mine' changed the column 'x'"):
        simulate(function)


def test_nor_is_a_parameter() -> None:
    def function(state: State, parameters: Mapping[str, Tensor]) -> State:
        parameters["mu"].mul_(2)
        return state | {"y": state["x"]}

    with pytest.raises(SimulationError, match="'mine' changed the parameter 'mu'"):
        simulate(function)


def test_nor_is_what_was_drawn() -> None:
    def function(state: State, _parameters: Mapping[str, Tensor]) -> State:
        z = pyro.sample("z", Normal(state["x"], 1.0))
        z += 1
        return state | {"y": z}

    with pytest.raises(SimulationError, match="'mine' changed the value of the site 'z'"):
        simulate(function)


def test_a_state_may_be_filled_where_it_is() -> None:
    def function(state: State, _parameters: Mapping[str, Tensor]) -> State:
        state["y"] = 2 * state["x"]
        return state

    state = simulate(function).state
    assert torch.equal(state["y"], 2 * state["x"])


# --- sites ----------------------------------------------------------------------------


def test_a_site_is_used_once() -> None:
    with pytest.raises(SimulationError, match=r"stage 'mine' failed.*Multiple sample sites named"):
        simulate(drawing("x", lambda x: Normal(x, 1.0)))


@pytest.mark.parametrize(
    "values",
    [
        lambda x: Normal(x[:, :3], 1.0),
        lambda x: Normal(x[None].expand(2, -1, -1), 1.0),
        lambda x: Normal(x[..., None, None].expand(-1, -1, 2, 2), 1.0).to_event(2),
    ],
)
def test_a_site_of_another_shape_is_refused(values: Callable[[Tensor], Any]) -> None:
    with pytest.raises(SimulationError, match="stage 'mine' "):
        simulate(drawing("z", values))


# --- random numbers of other libraries ------------------------------------------------


DRAWS: list[Callable[[], float]] = [lambda: float(np.random.uniform()), random.random]


@pytest.mark.parametrize("draw", DRAWS)
def test_global_generators_are_seeded_for_each_stage(draw: Callable[[], float]) -> None:
    def made(seed: int) -> float:
        return float(simulate(adding(lambda x: x + draw()), seed).state["y"].sum())

    assert made(7) == made(7) != made(8)


@pytest.mark.parametrize("draw", DRAWS)
def test_global_generators_are_left_alone(draw: Callable[[], float]) -> None:
    # Not around a whole chain: under pytest beartype draws from Python's generator too.
    numpy, python = np.random.get_state(), random.getstate()
    expected = draw()
    np.random.set_state(numpy)
    random.setstate(python)
    with _generators_kept():
        _seed_generators(5)
        other = draw()
    assert draw() == expected != other


# --- what it says of itself -----------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"outputs": {"z": ("", "z")}}, r"outputs \['z'\] are none of the columns"),
        ({"outputs": {"y": "GeV"}}, r"expected name = \(unit, label\)"),
        ({"outputs": {"y": ("GeV",)}}, r"expected name = \(unit, label\)"),
        ({"outputs": {"y": ("GeV", 1)}}, r"expected name = \(unit, label\)"),
        ({"outputs": ["y"]}, r"expected name = \(unit, label\)"),
        ({"parameters": ("mu",)}, "expected hepgen.Parameter"),
        ({"parameters": Parameter("mu", 1.0)}, "expected hepgen.Parameter"),
        ({"provides": "y"}, "provides = 'y'; expected names of columns"),
        ({"requires": (1,)}, r"requires = \(1,\); expected names of columns"),
        ({"provides": ("event",)}, "'event'.*already"),
    ],
)
def test_words_that_make_no_sense_are_refused_when_it_is_wired(
    words: dict[str, Any], match: str
) -> None:
    with pytest.raises(SimulationError, match=f"stage 'mine'.*{match}"):
        chain(adding(lambda x: x), **words)


# --- what is written ------------------------------------------------------------------


def _first_event_nan(x: Tensor) -> Tensor:
    return torch.where(torch.arange(10) == 3, torch.nan, x)


@pytest.mark.parametrize("make", [_first_event_nan, lambda x: _first_event_nan(x)[..., None]])
def test_an_observable_that_is_not_finite_is_refused(make: Callable[[Tensor], Tensor]) -> None:
    made = chain(adding(make))
    with pytest.raises(SimulationError, match="column 'y' is nan in event 3 of parameter point 0"):
        Campaign(made, made.parameters, 10, block_size=10).simulate(0)


def test_what_is_not_selected_need_not_be_finite() -> None:
    def function(state: State, _parameters: Mapping[str, Tensor]) -> State:
        y = _first_event_nan(state["x"])
        return state | {"y": y, "selected": y.isfinite()}

    made = chain(function, provides=("y", "selected"))
    block = Campaign(made, made.parameters, 10, block_size=10, keep_all=True).simulate(0)
    assert np.isnan(np.asarray(block.events["y"])).sum() == 1
    assert block.selected == 9


@pytest.mark.parametrize(
    ("reconstruct", "words"),
    [
        (lambda _: 1 / 0, "stage 'mine' failed.* ZeroDivisionError"),
        (lambda _: None, "stage 'mine' reconstructed events as NoneType"),
    ],
)
def test_an_error_of_a_reconstruction_names_the_stage(
    reconstruct: Callable[[Events], Any], words: str
) -> None:
    made = chain(lambda state, _: state | {"y": state["x"]}, reconstruct=reconstruct)
    with pytest.raises(SimulationError, match=words):
        made.reconstruct(Events.from_columns({"x": [1.0]}))
