"""The dipole shower of :class:`~hepgen.simulators.dipole_cascade.DipoleCascade`, compiled."""

from __future__ import annotations

import math

import numpy as np

from hepgen.simulators.compiled.kernel import (
    PART,
    ROOM,
    Array,
    circle,
    clear,
    inner,
    kernel,
    uniform,
)

GLUON = 21
RATE = 3.0 / (2 * math.pi)
CLOSED = -1e9
D, S, C, B = (4 * m**2 for m in (0.33, 0.5, 1.5, 4.8))
#: Columns of a parton, and of the dipole to its right: s, ln s and how far it reaches.
E, X, Y, Z, ID, MASS2, LOG_S, REACH = range(8)


@inner
def _next(clock: Array, t: float, length: float, dipoles: float, area: float) -> float:
    """``Coupling.next_scale``; a slope of zero does not run."""
    slope, pole, alpha = clock
    if slope == 0.0:
        target = area / alpha
        return t - 2 * target / (length + math.sqrt(length * length + 2 * dipoles * target))
    u = t - pole
    curve, target = dipoles * u, area * slope
    # The root with e^{-y} - 1 + y = y²/2/(1 + y/3), and from there the inverse series.
    linear, square = length - target * (1 / 3), length * (1 / 3) + 0.5 * curve
    y = 2 * target / (linear + math.sqrt(linear * linear + 4 * square * target))
    while True:
        fall = math.exp(-y)
        rise = 1 / (length + curve * (1 - fall))
        h, a = rise * (length * y + curve * (fall - 1 + y) - target), 0.5 * rise * curve * fall
        step = h * (1 + h * (a + h * (2 * a + 1 / 3) * a))
        if abs(step) < 0.005 * y:
            # Of the fourth order in the step what is left is below 1e-9.
            return pole + u * fall * (1 + step * (1 + step * (0.5 + step * (1 / 6))))
        y -= step


@inner
def _integral(clock: Array, t: float, lower: float, length: float, dipoles: float) -> float:
    """``Coupling.integral``."""
    slope, pole, alpha = clock
    if slope == 0.0:
        return alpha * (t - lower) * (length + 0.5 * dipoles * (t - lower))
    y = math.log((t - pole) / (lower - pole))
    return (length * y + dipoles * (t - pole) * (math.expm1(-y) + y)) / slope


@inner
def _none(clock: Array, t: float, lower: float, length: float, dipoles: float) -> float:
    """The logarithm of the chance of no trial from a scale to a lower one."""
    if lower > t:
        return -math.inf
    return -RATE * _integral(clock, t, lower, length, dipoles)


@inner
def _over(clock: Array, t: float) -> float:
    slope, pole, alpha = clock
    return alpha if slope == 0.0 else 1 / (slope * (t - pole))


@inner
def _ratio(clock: Array, inverse: float, reference: float, t: float) -> float:
    """``Coupling.ratio``, of 1/α_s(m_Z)."""
    slope, pole, alpha = clock
    if slope == 0.0:
        return 1 / (alpha * inverse)
    return slope * (t - pole) / (inverse + slope * (t - reference))


@inner
def _flavours(mass2: float) -> float:
    """How many flavours a pair of this squared mass can have."""
    if mass2 <= D:
        return 0.0
    return 2.0 + (mass2 > S) + (mass2 > C) + (mass2 > B)


@inner
def _spinor(energy: float, x: float, y: float, z: float) -> tuple[float, float, float]:
    """``dipole_kinematics._spinor``."""
    transverse2 = x * x + y * y
    along = energy + z if z > 0 else transverse2 / max(energy - z, 1e-300)
    root = math.sqrt(max(along, 1e-300))
    first = x / root if transverse2 > 0 else math.sqrt(max(energy - z, 0.0))
    return root, first, y / root


@inner
def _branch(
    p: Array, emitter: int, spectator: int, new: int, kept: float, share: float, azimuth: float
) -> None:
    """``dipole_kinematics.branch``, in place."""
    e0, e1, e2 = _spinor(p[emitter, E], p[emitter, X], p[emitter, Y], p[emitter, Z])
    s0, s1, s2 = _spinor(p[spectator, E], p[spectator, X], p[spectator, Y], p[spectator, Z])
    taken, rest = 1 - kept, 1 - share
    kick = math.sqrt(share * rest * taken)
    cos, sin = circle(azimuth)
    cos, sin = kick * cos, kick * sin
    upper = e0 * s0 * cos
    lower = (e1 * s1 + e2 * s2) * cos - (e1 * s2 - e2 * s1) * sin
    n1 = e0 * (s1 * cos - s2 * sin) + s0 * (e1 * cos + e2 * sin)
    n2 = e0 * (s2 * cos + s1 * sin) - s0 * (e1 * sin - e2 * cos)
    for c, n in ((E, upper + lower), (X, n1), (Y, n2), (Z, upper - lower)):
        given = taken * p[spectator, c]
        p[new, c] = rest * p[emitter, c] + share * given + n
        p[emitter, c] += given - p[new, c]
        p[spectator, c] *= kept


@inner
def _apply(
    p: Array,
    n: int,
    d: int,
    t: float,
    logs: tuple[float, float],
    taken: tuple[float, float],
    outcome: int,
    azimuth: float,
) -> float:
    """Let a trial between the partons d and d + 1 of n happen; the rapidity that is open then."""
    left, right = taken
    emission = outcome == 1
    from_left = left > right if emission else outcome >= 7
    kept = 1 - (right if from_left else left)
    for i in range(n, d + 1, -1):
        for c in range(8):
            p[i, c] = p[i - 1, c]
    emitter, spectator = (d, d + 2) if from_left else (d + 2, d)
    _branch(p, emitter, spectator, d + 1, kept, (1 - left - right) / kept, azimuth)
    p[d + 1, MASS2], p[d + 1, LOG_S] = left * p[d, MASS2], p[d, LOG_S] + logs[0]
    p[d, MASS2], p[d, LOG_S] = right * p[d, MASS2], p[d, LOG_S] + logs[1]
    if emission:
        p[d + 1, ID] = GLUON
    else:
        flavour = outcome - 6.0 if from_left else 1.0 - outcome
        p[d + 1, ID], p[emitter, ID] = flavour, -flavour
        p[d if from_left else d + 1, LOG_S] = CLOSED
    for outer in (d - 1, d + 2):
        if not 0 <= outer < n or p[outer, LOG_S] == CLOSED:
            continue
        if (outer > d) == from_left:
            p[outer, MASS2] *= kept
        else:
            product = p[outer, E] * p[outer + 1, E]
            for c in range(X, Z + 1):
                product -= p[outer, c] * p[outer + 1, c]
            p[outer, MASS2] = max(2 * product, 1e-30)
        p[outer, LOG_S] = math.log(p[outer, MASS2])
    length = 0.0
    for i in range(n):
        log_s = p[i, LOG_S]
        reach = max(log_s, t)
        p[i, REACH] = reach if log_s > CLOSED else CLOSED
        length += reach - t if log_s > CLOSED else 0.0
    return length


@inner
def _place(p: Array, n: int, t: float, along: float) -> tuple[int, float]:
    """The dipole of n partons at a distance along all that is open, and the rapidity there."""
    d, own = 0, p[0, REACH] - t
    while along > own and d < n - 2:
        along -= own
        d += 1
        own = max(p[d, REACH] - t, 0.0)
    return d, 0.5 * own - along


@inner
def _emission(is_left: bool, is_right: bool, left: float, right: float) -> float:
    """The weight of a gluon between two partons, which may be gluons."""
    x_left, x_right = 1 - left, 1 - right
    shape = x_left * x_left * (x_left if is_left else 1.0)
    shape += x_right * x_right * (x_right if is_right else 1.0)
    return shape * (0.5 if (is_left if left > right else is_right) else 4.0 / 9.0)


@inner
def _pair(is_gluon: bool, taken: float, other: float, s: float) -> tuple[float, float]:
    """The weight of each flavour from the gluon at an end, and how many flavours are open."""
    if not is_gluon:
        return 0.0, 0.0
    return taken * ((1 - taken - other) ** 2 + taken * taken) * (1 / 12), _flavours(other * s)


@kernel
def run(
    state: Array,
    begin: int,
    pairs: Array,
    clock: Array,
    reference: float,
    drawing: bool,
    columns: tuple[Array, Array, Array, Array],
    counts: Array,
    partons: tuple[Array, Array, Array, Array, Array],
    made: Array,
    weights: Array,
    terms: Array,
) -> tuple[int, float]:
    """Shower N pairs, drawing the trials or following those that are recorded.

    Arguments:
        state: Of the random numbers.
        begin: The first pair of these.
        pairs: √s, flavour, direction (3), α_s and ln k_T,min² of each, shape ``(N, 7)``.
        clock: β, t_Λ and α_max of the overestimate; β is 0 where it does not run.
        reference: ln m_Z².
        drawing: Whether the trials are drawn.
        columns: ln k_T², position, azimuth and outcome, shape ``(N, K)`` each: written where they
            are drawn, and else read, as are
        counts: the number of trials of each.
        partons: Written: the id, its bits those of an integer, E, x, y and z in the order of
            colour, shape ``(N, K)`` each.
        made: Written: the number of partons of each.
        weights: Written where they are not drawn: of what happened in each trial, or of anything
            where it is vetoed, shape ``(N, K)``.
        terms: Written where they are not drawn: the logarithms of the densities of the counts
            and of the scales, shape ``(2, N)``.

    Returns:
        The first event for which there is no room, its counts what it needs, or N; a number that
        is finite where all that is drawn is.
    """
    scales, positions, azimuths, outcomes = columns
    kinds, energies, xs, ys, zs = partons
    ids = kinds.view(np.int64)
    p, before = np.empty((ROOM, 8)), np.empty_like(state)
    check = 0.0
    for event in range(begin, len(pairs)):
        if event == begin or event % PART == 0:
            clear(partons, event)
            if drawing:
                clear(columns, event)
        before[:] = state
        energy, inverse, cutoff = pairs[event, 0], 1 / pairs[event, 5], pairs[event, 6]
        p[0, E] = p[1, E] = 0.5 * energy
        for c in range(3):
            p[0, X + c] = 0.5 * energy * pairs[event, 2 + c]
            p[1, X + c] = -p[0, X + c]
        p[0, ID], p[1, ID] = pairs[event, 1], -pairs[event, 1]
        t, length, dipoles = 2 * math.log(energy), 0.0, 1.0
        p[0, MASS2], p[0, LOG_S], p[0, REACH] = energy * energy, t, t
        n, step, none, rates = 2, 0, 0.0, 0.0
        while True:
            last = t
            if drawing:
                t = _next(clock, t, length, dipoles, -math.log(uniform(state)) * (1 / RATE))
                if t <= cutoff or step == scales.shape[1]:
                    break
                position, azimuth = uniform(state), (2 * uniform(state) - 1) * math.pi
                v = uniform(state) / _ratio(clock, inverse, reference, t)
                scales[event, step], positions[event, step] = t, position
                azimuths[event, step] = azimuth
            else:
                if step == counts[event]:
                    none += _none(clock, last, cutoff, length, dipoles)
                    break
                t, position = scales[event, step], positions[event, step]
                azimuth, v = azimuths[event, step], 0.0
                none += _none(clock, last, t, length, dipoles)
            step += 1
            # All reach down to t at least: what is open grows by as much for each.
            length = max(length + dipoles * (last - t), 0.0)
            if v >= 1:
                continue
            d, y = _place(p, n, t, position * length)
            scale = 0.5 * (t - p[d, LOG_S])
            left, right = math.exp(scale + y), math.exp(scale - y)
            inside, s = left + right < 1, p[d, MASS2]
            is_left, is_right = p[d, ID] == GLUON, p[d + 1, ID] == GLUON
            emission = _emission(is_left, is_right, left, right) if inside else 0.0
            if drawing and v < emission:
                outcome = 1
            elif drawing and not (inside and (is_left or is_right)):
                continue
            else:
                weight_right, open_right = _pair(is_right and inside, right, left, s)
                weight_left, open_left = _pair(is_left and inside, left, right, s)
                both = weight_right * open_right
                if not drawing:
                    outcome = int(outcomes[event, step - 1])
                    rates += math.log(RATE * _over(clock, t) * length)
                    weight = emission
                    if outcome == 0:
                        weight += both + weight_left * open_left
                    elif outcome > 1:
                        weight = weight_right if outcome < 7 else weight_left
                    weights[event, step - 1] = weight
                    if outcome == 0:
                        continue
                elif v < emission + both:
                    outcome = 2 + min(int((v - emission) / weight_right), int(open_right) - 1)
                elif v < emission + both + weight_left * open_left:
                    v -= emission + both
                    outcome = 7 + min(int(v / weight_left), int(open_left) - 1)
                else:
                    continue
            if n == ROOM:
                raise RuntimeError("a shower without end")
            if drawing:
                outcomes[event, step - 1] = outcome
            length = _apply(p, n, d, t, (scale + y, scale - y), (left, right), outcome, azimuth)
            dipoles += outcome == 1
            n += 1
        made[event] = n
        if drawing:
            counts[event] = step + (t > cutoff)
        else:
            terms[0, event], terms[1, event] = none, rates
        if n > ids.shape[1] or counts[event] > scales.shape[1]:
            state[:] = before
            return event, check
        check += t
        for i in range(n):
            ids[event, i], energies[event, i] = int(p[i, ID]), p[i, E]
            xs[event, i], ys[event, i], zs[event, i] = p[i, X], p[i, Y], p[i, Z]
    return len(pairs), check
