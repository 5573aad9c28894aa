r"""The maxima of many smooth functions in a box, at once.

A projected Newton method (Bertsekas, SIAM J. Control Optim. 20 (1982) 221): coordinates that the
gradient presses against a bound are held, the others make a Newton step, and what would leave the
box is clamped to it. Curvature of the wrong sign is turned (Nocedal and Wright, Numerical
Optimization, section 3.4), and a search that comes to rest where the function curves upwards, in a
minimum or at a saddle, goes on along that curve. Where that does not arrive, because the Hessian
does not say how the gradient changes (a network of straight pieces), the curvature is learned from
the gradients (BFGS, there section 6.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Function = Callable[[Tensor, Tensor], Tensor]
"""Rows, shape ``(R,)`` of integers, and points, shape ``(R, K, D)``, to values ``(R, K)``."""

TOLERANCE = 1e-8
"""The expected distance to the maximum at which a search ends."""

STEPS = 40
"""Of Newton at most."""

_NOISE = 1e-4
"""Below this expected distance, a step that gains less than half of it met rounding errors."""

_LENGTHS = (0.5, 0.2, 0.05, 0.01, 1e-3, 0.0)
_LONGEST_STEP = 2.0
_WAYS = (2.0, 1.0, 0.3, 0.1, 0.03, 1e-2, 1e-3, 1e-4)
"""How far to look for a way out of a minimum, in units of the scale."""
_SMALLEST_CURVATURE = 1e-8
_UPWARDS = (1e-4, 1e-6)
"""An upward curvature that counts: in units of the scale, and of the largest curvature there."""
_PRESSED = 1e-5
"""A smaller gradient, in units of the scale, presses nothing against a bound."""
_DIFFERENCE = 1e-4
_STICKY = 1e-10


@dataclass(frozen=True)
class Maximum:
    """Where R × K searches ended.

    Arguments:
        point: Shape ``(R, K, D)``.
        value: Of the function there, shape ``(R, K)``.
        gradient: Shape ``(R, K, D)``.
        hessian: Shape ``(R, K, D, D)``; zero in what was held from the start.
        free: Which coordinates are neither held nor pressed against a bound, ``(R, K, D)``.
        distance: ½ gᵀ(−H)⁻¹g over the free coordinates: how much higher the maximum may be.
        converged: Whether that is small, shape ``(R, K)``.
    """

    point: Tensor
    value: Tensor
    gradient: Tensor
    hessian: Tensor
    free: Tensor
    distance: Tensor
    converged: Tensor


@dataclass(frozen=True)
class Box:
    """Bounds, shapes ``(D,)``, the scale of a step, ``(D,)``, and what is held, ``(R, K, D)``."""

    low: Tensor
    high: Tensor
    scale: Tensor
    held: Tensor

    def clamp(self, point: Tensor, origin: Tensor) -> Tensor:
        """The nearest point in the box, walls being sticky; held coordinates as in ``origin``."""
        held = self.held.reshape(*self.held.shape[:2], *[1] * (point.dim() - 3), -1)
        inside = torch.where(point < self.low + _STICKY * self.scale, self.low, point)
        inside = torch.where(inside > self.high - _STICKY * self.scale, self.high, inside)
        return torch.where(held, origin, inside)

    def fixed(self, point: Tensor, gradient: Tensor) -> Tensor:
        """Which coordinates are held, or pressed against a bound by an ascent direction."""
        below = (point <= self.low) & (gradient < 0)
        above = (point >= self.high) & (gradient > 0)
        return self.held | below | above

    def part(self, rows: Tensor, columns: Tensor) -> Box:
        """Of some searches."""
        return Box(self.low, self.high, self.scale, self.held[rows][:, columns])


def maximise(
    function: Function, start: Tensor, box: Box, *, steps: int = STEPS, quasi_steps: int = 150
) -> Maximum:
    """The maximum near each start, shape ``(R, K, D)``.

    Arguments:
        function: Evaluated for the rows that are not done yet.
        start: Inside of the box, with finite values of the function.
        box: With what is held.
        steps: Of Newton at most; none at all: the derivatives at the start.
        quasi_steps: Of BFGS after those.
    """
    search = _Search(function, start, box)
    search.run(steps, quasi=False)
    if steps and not bool(search.done.all()):
        search.run(quasi_steps, quasi=True)
    return search.result()


class _Search:
    """The state of all searches; those that are done are not evaluated again."""

    def __init__(self, function: Function, start: Tensor, box: Box) -> None:
        self.function, self.box = function, box
        r, k, d = start.shape
        self.point = box.clamp(start.detach().double(), start.detach().double())
        self.value = start.new_full((r, k), -torch.inf, dtype=torch.float64)
        self.gradient = torch.zeros(r, k, d, dtype=torch.float64)
        self.hessian = torch.zeros(r, k, d, d, dtype=torch.float64)
        self.distance = torch.full((r, k), torch.inf, dtype=torch.float64)
        self.done = torch.zeros(r, k, dtype=torch.bool)
        self.varied = [i for i in range(d) if not bool(box.held[..., i].all())]

    def run(self, steps: int, quasi: bool) -> None:
        curvature: Tensor | None = None
        before: tuple[Tensor, Tensor] | None = None
        pending = ~self.done
        rows, columns = self._left()
        for step in range(steps + 1):
            if not quasi or step == 0:
                rows, columns = self._left()
            if not len(rows):
                return
            box, at = self.box.part(rows, columns), (rows[:, None], columns)
            point = self.point[at]
            call = _Part(self.function, rows, box.scale)
            value, gradient, hessian = call.derivatives(
                point, self.varied, second=not quasi or step == 0
            )
            usable = torch.isfinite(gradient).all(-1) & torch.isfinite(value)
            gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
            if not quasi:
                curvature = -hessian
            elif curvature is None or before is None:
                curvature = _positive(-hessian)
            else:
                curvature = _bfgs(curvature, (point - before[0]) / box.scale, before[1] - gradient)
            before = point, gradient
            self.value[at], self.gradient[at] = value, gradient
            if not quasi:
                self.hessian[at] = hessian
            direction, distance = _direction(curvature, gradient, point, box)
            distance = torch.where(usable, distance, torch.inf)
            self.distance[at] = torch.where(self.done[at], self.distance[at], distance)
            arrived = distance < TOLERANCE
            left, out = torch.zeros_like(arrived), point
            if not quasi and bool((arrived & ~self.done[at]).any()):
                upwards, ways = _ways_up(curvature, gradient, point, box)
                out, rise = call.out_of_rest(point, value, ways, box, upwards & arrived)
                left = rise > TOLERANCE
                arrived = arrived & ~left
            rest = self.done[at] | arrived | left
            if step < steps and not bool((self.done[at] | arrived).all()):
                moved, gain = call.along(
                    point,
                    value,
                    direction,
                    box,
                    enough=torch.where(rest, -torch.inf, 0.25 * distance),
                )
                noisy = (distance < _NOISE) & (gain < 0.5 * distance) & ~left
                stay = (self.done[at] | arrived | noisy)[..., None]
                moved = torch.where(left[..., None], out, moved)
                self.point[at] = torch.where(stay, point, moved)
                arrived = arrived | noisy
            self.done[at] |= arrived
            stuck = bool((self.point[at] == point).all())  # the next step would be the same
            if stuck or bool(self.done[at].all()):
                break
        if quasi:
            self._renew(rows, columns, pending)

    def _left(self) -> tuple[Tensor, Tensor]:
        left = ~self.done
        return left.any(1).nonzero()[:, 0], left.any(0).nonzero()[:, 0]

    def _renew(self, rows: Tensor, columns: Tensor, wanted: Tensor) -> None:
        """Second derivatives as differences of gradients: they see the joints of the pieces."""
        at = (rows[:, None], columns)
        call = _Part(self.function, rows, self.box.scale)
        found = call.differences(self.point[at], self.varied)
        self.hessian[at] = torch.where(wanted[at][..., None, None], found, self.hessian[at])

    def result(self) -> Maximum:
        scale = self.box.scale
        return Maximum(
            self.point, self.value, self.gradient / scale,
            self.hessian / (scale[:, None] * scale), ~self.box.fixed(self.point, self.gradient),
            self.distance, self.done,
        )  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """The function of some rows, with derivatives by θ in units of the scale."""

    function: Function
    rows: Tensor
    scale: Tensor

    def derivatives(
        self, point: Tensor, varied: list[int], second: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The value ``(R, K)``, the gradient ``(R, K, D)``, the Hessian ``(R, K, D, D)``."""
        hessian = torch.zeros(*point.shape, point.shape[-1], dtype=torch.float64)
        with torch.enable_grad():
            theta = point.detach().requires_grad_(True)
            value = self.function(self.rows, theta)
            (gradient,) = torch.autograd.grad(value.sum(), theta, create_graph=second)
            if second and not gradient.requires_grad:
                hessian = self.differences(point, varied)
            elif second:
                for i in varied:
                    (row,) = torch.autograd.grad(
                        gradient[..., i].sum(), theta, retain_graph=True,
                        allow_unused=True, materialize_grads=True,
                    )  # fmt: skip
                    hessian[..., i, :] = row * self.scale[i] * self.scale
        hessian = (0.5 * (hessian + hessian.mT)).nan_to_num(0.0, 0.0, 0.0)
        return value.detach().double(), gradient.detach() * self.scale, hessian

    def differences(self, point: Tensor, varied: list[int]) -> Tensor:
        """The Hessian by central differences of the gradient."""
        hessian = torch.zeros(*point.shape, point.shape[-1], dtype=torch.float64)
        for i in varied:
            shift = torch.zeros_like(point)
            shift[..., i] = _DIFFERENCE * self.scale[i]
            above = self.derivatives(point + shift, varied, second=False)[1]
            below = self.derivatives(point - shift, varied, second=False)[1]
            hessian[..., i, :] = (above - below) / (2 * _DIFFERENCE)
        return (0.5 * (hessian + hessian.mT)).nan_to_num(0.0, 0.0, 0.0)

    def along(
        self, point: Tensor, value: Tensor, direction: Tensor, box: Box, enough: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A higher point along a direction, and the gain there, shape ``(R, K)``.

        The whole step where it gains enough, else the highest of several, down to none.
        """
        moved = box.clamp(point + direction, point)
        gain = self._height(self.rows, moved[:, :, None])[..., 0] - value
        poor = ~(gain >= enough)
        if bool(poor.any()):
            rows, columns = poor.any(1).nonzero()[:, 0], poor.any(0).nonzero()[:, 0]
            at, part = (rows[:, None], columns), box.part(rows, columns)
            trial, top = self._highest(rows, point[at], direction[at], part)
            better = top - value[at] > gain[at].nan_to_num(nan=-torch.inf)
            moved[at] = torch.where(better[..., None], trial, moved[at])
            gain[at] = torch.where(better, top - value[at], gain[at])
        up = gain > 0
        return torch.where(up[..., None], moved, point), torch.where(up, gain, 0.0)

    def out_of_rest(
        self, point: Tensor, value: Tensor, ways: Tensor, box: Box, which: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The highest of points along J ways for those asked for, and how much higher, ``(R, K)``.

        Arguments:
            point: Shape ``(R, K, D)``.
            value: There, shape ``(R, K)``.
            ways: In units of the scale, shape ``(R, K, J, D)``.
            box: Of the search.
            which: Shape ``(R, K)``.
        """
        best, rise = point.clone(), torch.zeros_like(value)
        if not bool(which.any()):
            return best, rise
        rows, columns = which.any(1).nonzero()[:, 0], which.any(0).nonzero()[:, 0]
        at, part = (rows[:, None], columns), box.part(rows, columns)
        lengths = torch.tensor(_WAYS, dtype=torch.float64)[:, None, None]
        steps = (lengths * (ways[at] * self.scale)[:, :, None]).flatten(2, 3)
        origin = point[at][:, :, None].expand_as(steps)
        trial = part.clamp(origin + steps, origin)
        top, where = self._height(self.rows[rows], trial).max(-1)
        index = where[..., None, None].expand(*where.shape, 1, trial.shape[-1])
        best[at] = torch.gather(trial, 2, index)[:, :, 0]
        rise[at] = torch.where(which[at], top - value[at], 0.0)
        return best, rise

    def _highest(
        self, rows: Tensor, point: Tensor, direction: Tensor, box: Box
    ) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor(_LENGTHS, dtype=torch.float64).expand(*point.shape[:2], -1)
        lengths = torch.cat([lengths, _to_the_wall(point, direction, box)], dim=-1)
        trial = point[..., None, :] + lengths[..., None] * direction[..., None, :]
        trial = box.clamp(trial, point[..., None, :].expand_as(trial))
        top, best = self._height(self.rows[rows], trial).max(-1)
        where = best[..., None, None].expand(*trial.shape[:2], 1, trial.shape[-1])
        return torch.gather(trial, 2, where)[:, :, 0], top

    def _height(self, rows: Tensor, trial: Tensor) -> Tensor:
        """Of points ``(R, K, M, D)``, shape ``(R, K, M)``, without a graph."""
        r, k, m, d = trial.shape
        with torch.no_grad():
            height = self.function(rows, trial.reshape(r, k * m, d)).double()
        return height.reshape(r, k, m).nan_to_num(nan=-torch.inf)


def _direction(
    curvature: Tensor, gradient: Tensor, point: Tensor, box: Box
) -> tuple[Tensor, Tensor]:
    """A step in θ, shape ``(R, K, D)``, and how much it is expected to gain, ``(R, K)``."""
    fixed = box.fixed(point, gradient)
    step, gain = newton_step(curvature, gradient, fixed)
    outward = box.fixed(point, step) & ~fixed
    if bool(outward.any()):
        # A coordinate at its bound that only its neighbours would push out stays there.
        step, _ = newton_step(curvature, gradient, fixed | outward)
    longest = step.norm(dim=-1, keepdim=True).clamp(min=1e-300)
    return step * (_LONGEST_STEP / longest).clamp(max=1.0) * box.scale, gain


def _ways_up(curvature: Tensor, gradient: Tensor, point: Tensor, box: Box) -> tuple[Tensor, Tensor]:
    """Whether the function curves upwards, shape ``(R, K)``, and ways to try, ``(R, K, J, D)``.

    Both along the largest upward curvature, and along each coordinate: at a bound there may be
    room in these alone.
    """
    gradient = torch.where(gradient.abs() < _PRESSED, 0.0, gradient)
    values, vectors = torch.linalg.eigh(reduced(curvature, box.fixed(point, gradient)))
    least, relative = _UPWARDS
    upwards = values[..., 0] < -(relative * values.abs().amax(-1)).clamp(min=least)
    axes = torch.eye(point.shape[-1], dtype=torch.float64).expand(*upwards.shape, -1, -1)
    ways = torch.cat([vectors[..., :1].mT, axes], dim=-2)
    return upwards, torch.cat([ways, -ways], dim=-2)


def newton_step(curvature: Tensor, gradient: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
    """|A|⁻¹g over what is not fixed, shape ``(*, D)``, and ½ gᵀ|A|⁻¹g, for A ``(*, D, D)``."""
    values, vectors = torch.linalg.eigh(reduced(curvature, fixed))
    values = values.abs()
    floor = (1e-12 * values.amax(-1, keepdim=True)).clamp(min=_SMALLEST_CURVATURE)
    values = torch.maximum(values, floor)
    along = (vectors.mT @ gradient.masked_fill(fixed, 0.0)[..., None])[..., 0]
    step = (vectors @ (along / values)[..., None])[..., 0].masked_fill(fixed, 0.0)
    return step, 0.5 * (along.square() / values).sum(-1)


def reduced(matrix: Tensor, fixed: Tensor) -> Tensor:
    """The matrix with the rows and columns of what is fixed those of the identity."""
    either = fixed[..., :, None] | fixed[..., None, :]
    identity: Tensor = torch.diag_embed(fixed.to(matrix.dtype))
    return matrix.masked_fill(either, 0.0) + identity


def _to_the_wall(point: Tensor, direction: Tensor, box: Box) -> Tensor:
    """The length at which the first coordinate meets its bound, at most 1, ``(R, K, 1)``."""
    room = torch.where(direction > 0, box.high - point, box.low - point)
    length = torch.where(direction == 0, torch.inf, room / direction)
    length = length.masked_fill(length <= 0, torch.inf)
    return length.amin(-1, keepdim=True).clamp(max=1.0)


def _positive(curvature: Tensor) -> Tensor:
    """The matrix with the absolute values of its eigenvalues, none much below the largest."""
    values, vectors = torch.linalg.eigh(curvature)
    values = values.abs()
    values = torch.maximum(values, (1e-3 * values.amax(-1, keepdim=True)).clamp(min=1e-3))
    positive: Tensor = (vectors * values[..., None, :]) @ vectors.mT
    return positive


def _bfgs(curvature: Tensor, moved: Tensor, change: Tensor) -> Tensor:
    """The curvature after a step and the fall of the gradient over it."""
    product = (curvature @ moved[..., None])[..., 0]
    old = (moved * product).sum(-1)
    new = (moved * change).sum(-1)
    use = (new > 1e-12 * change.norm(dim=-1) * moved.norm(dim=-1)) & (old > 1e-300) & (new > 1e-300)
    safe_old, safe_new = torch.where(use, old, 1.0), torch.where(use, new, 1.0)
    update: Tensor = (
        change[..., :, None] * change[..., None, :] / safe_new[..., None, None]
        - product[..., :, None] * product[..., None, :] / safe_old[..., None, None]
    )
    return curvature + update.masked_fill(~use[..., None, None], 0.0)
