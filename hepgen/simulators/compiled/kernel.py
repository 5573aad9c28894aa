"""What kernels share: how they are compiled, their random numbers, and where they write.

numba compiles a kernel again when its own file changes, not when this one does: whoever changes a
function here deletes what is kept (``*.nbi`` and ``*.nbc`` in ``__pycache__``).
"""

from __future__ import annotations

import inspect
import math
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Function = Callable[..., Any]
#: π/2, as a number with few enough bits that small multiples are exact, and the rest of it.
RIGHT = 1.5707963267341256
REST = 6.077100506506192e-11

#: More than the partons, trials, hadrons or particles of any event.
ROOM = 16384
#: Events that are cleared at once: what they write then is still in the cache.
PART = 64


def kernel(function: Function) -> Function:
    """A function as machine code, kept on disk where there is a folder for it."""
    return _compiled(function, fastmath={"contract"})


def inner(function: Function) -> Function:
    """What a kernel calls, if it makes no array: it counts no references to those it is given.

    Each count is locked against other threads and takes longer than a random number.
    """
    return _compiled(function, fastmath={"contract"}, _nrt=False)


def reduction(function: Function) -> Function:
    """The same, with sums in any order: several terms at a time."""
    return _compiled(function, fastmath={"contract", "reassoc"}, _nrt=False)


def _compiled(function: Function, **options: Any) -> Function:
    # A checker of annotations may have wrapped it.
    plain = inspect.unwrap(function)
    try:
        compiled: Function = njit(cache=True, error_model="numpy", **options)(plain)
    except RuntimeError:  # no folder can be written
        compiled = njit(error_model="numpy", **options)(plain)
    return compiled


@kernel
def seeded(seed: int) -> Array:
    """The state of xoshiro256++ for a seed, by SplitMix64 (Blackman and Vigna, ACM TOMS 2021)."""
    state = np.empty(4, np.uint64)
    x = np.uint64(seed)
    for i in range(4):
        x += np.uint64(0x9E3779B97F4A7C15)
        z = x
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state[i] = z ^ (z >> np.uint64(31))
    return state


@inner
def bits(state: Array) -> Any:
    """The next 64 bits."""
    a, b, c, d = state[0], state[1], state[2], state[3]
    x = a + d
    result = ((x << np.uint64(23)) | (x >> np.uint64(41))) + a
    shifted = b << np.uint64(17)
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d = (d << np.uint64(45)) | (d >> np.uint64(19))
    state[0], state[1], state[2], state[3] = a, b, c, d
    return result


@inner
def uniform(state: Array) -> float:
    """A number in (0, 1), neither end."""
    return (np.float64(bits(state) >> np.uint64(12)) + 0.5) * 2.0**-52


def _layers() -> tuple[Array, Array]:
    """The edges x₀ > … > x₂₅₆ = 0 of layers of equal area below e^{-x²/2}, and its values there.

    The lowest has the tail beyond x₁, and x₀ is as wide as its area is at its height.
    """
    edge = 3.6541528853610088
    tail = math.sqrt(math.pi / 2) * math.erfc(edge / math.sqrt(2))
    area = edge * math.exp(-0.5 * edge * edge) + tail
    x = [area * math.exp(0.5 * edge * edge), edge]
    while len(x) < 256:
        x.append(math.sqrt(-2 * math.log(area / x[-1] + math.exp(-0.5 * x[-1] ** 2))))
    edges = np.array([*x, 0.0])
    return edges, np.exp(-0.5 * edges * edges)


EDGES, HEIGHTS = _layers()


@inner
def normal(state: Array) -> float:
    """A standard normal number, from layers (Marsaglia and Tsang, J. Stat. Softw. 5 (2000) 8)."""
    layer, x = _in_a_layer(state)
    return x if abs(x) < EDGES[layer + 1] else _outside(state, layer, x)


@inner
def _in_a_layer(state: Array) -> tuple[Any, float]:
    drawn = bits(state)
    layer = np.int64(drawn & np.uint64(255))
    return layer, ((np.float64(drawn >> np.uint64(12)) + 0.5) * 2.0**-51 - 1.0) * EDGES[layer]


@inner
def _outside(state: Array, layer: int, x: float) -> float:
    """The same, where x may be above the curve: once in a hundred."""
    while abs(x) >= EDGES[layer + 1]:
        if layer == 0:
            beyond = -math.log(uniform(state)) / EDGES[1]
            if -2 * math.log(uniform(state)) > beyond * beyond:
                return math.copysign(EDGES[1] + beyond, x)
            continue
        low, high = HEIGHTS[layer], HEIGHTS[layer + 1]
        if low + uniform(state) * (high - low) < math.exp(-0.5 * x * x):
            return x
        layer, x = _in_a_layer(state)
    return x


@inner
def circle(angle: float) -> tuple[float, float]:
    """Cosine and sine of an angle in [−π, π], by their series within π/4 of a right angle."""
    turns = math.floor(angle * (2 / math.pi) + 0.5)
    x = (angle - turns * RIGHT) - turns * REST
    s = x * x
    s2 = s * s
    s4 = s2 * s2
    # Products with constants: a division takes as long as ten of them.
    cos = ((1 - s * 0.5) + s2 * (1 / 24 - s * (1 / 720))) + s4 * (
        (1 / 40320 - s * (1 / 3628800))
        + s2 * (1 / 479001600 - s * (1 / 87178291200))
        + s4 * (1 / 20922789888000)
    )
    sin = ((1 - s * (1 / 6)) + s2 * (1 / 120 - s * (1 / 5040))) + s4 * (
        (1 / 362880 - s * (1 / 39916800))
        + s2 * (1 / 6227020800 - s * (1 / 1307674368000))
        + s4 * (1 / 355687428096000)
    )
    sin *= x
    quarter = int(turns) & 3
    if quarter & 1:
        cos, sin = -sin, cos
    if quarter & 2:
        cos, sin = -cos, -sin
    return cos, sin


@inner
def clear(columns: tuple[Array, ...], event: int) -> None:
    """Zeros in the rows from an event to the end of its part, just before they are written."""
    after = min(event - event % PART + PART, len(columns[0]))
    for column in columns:
        column[event:after].reshape(-1)[:] = 0.0


class Memory:
    """Arrays that are used again: new pages of the system cost as much as filling them."""

    def __init__(self) -> None:
        self._spare: dict[str, Array] = {}

    def take(self, name: str, *shape: int) -> Array:
        """An array of any values; its memory comes back when it, and all tensors of it, are gone.

        Arguments:
            name: Of its use: one array is kept for each.
            shape: Of the array.
        """
        size = math.prod(shape)
        spare = self._spare.pop(name, None)
        if spare is None or len(spare) < size:
            spare = np.empty(size)
        lent = spare[:size].reshape(shape)
        weakref.finalize(lent, self._spare.__setitem__, name, spare).atexit = False
        return lent


MEMORY = Memory()


class Columns:
    """Columns of N events, of any values: a kernel writes them, and zeros beyond each event.

    It does not know how much room the events need: where one has too little, the kernel says
    which, and goes on with it when there is more.

    Arguments:
        name: Of what they are.
        number: How many columns there are.
        events: N.
    """

    #: The width that each has needed so far: what the next begins with.
    widths: ClassVar[dict[str, int]] = {}

    def __init__(self, name: str, number: int, events: int) -> None:
        self.name = name
        self.out = MEMORY.take(name, number, events, self.widths.get(name, 8))

    def reserve(self, width: int, done: int = 0) -> None:
        """Room for so many of each event, with the first events as they are."""
        if width <= self.width:
            return
        old = self.out
        width += width // 8 + 2
        self.widths[self.name] = width
        self.out = MEMORY.take(self.name, *old.shape[:2], width)
        self.out[:, :done, : old.shape[2]] = old[:, :done]
        self.out[:, :done, old.shape[2] :] = 0.0

    @property
    def width(self) -> int:
        """How much room each event has."""
        return self.arrays[0].shape[1]

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Each column, shape ``(N, K)``."""
        return tuple(self.out)

    def tensor(self, counts: Array) -> Tensor:
        """All of them as wide as the longest event, shape ``(C, N, K)``."""
        return torch.from_numpy(self.out)[:, :, : int(counts.max(initial=1))]


class Recorded(Columns):
    """Columns that are there already, shape ``(N, K)`` each."""

    def __init__(self, *columns: Array) -> None:
        self._columns = columns

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Themselves."""
        return self._columns
