"""The dipole shower of :class:`~hepgen.simulators.dipole_cascade.DipoleCascade`, compiled."""

from __future__ import annotations

import math

import numpy as np

from hepgen.simulators.compiled.kernel import ROOM, Array, circle, grown, kernel, uniform

GLUON = 21
RATE = 3.0 / (2 * math.pi)
CLOSED = -1e9
D, S, C, B = (4 * m**2 for m in (0.33, 0.5, 1.5, 4.8))
#: Columns of a parton, and of a dipole to the right of one.
E, X, Y, Z, ID, LOG_S, REACH = range(7)


@kernel
def _next(clock: Array, t: float, length: float, dipoles: float, area: float) -> float:
    """``Coupling.next_scale``; a slope of zero does not run."""
    slope, pole, alpha = clock
    if slope == 0.0:
        target = area / alpha
        return t - 2 * target / (length + math.sqrt(length * length + 2 * dipoles * target))
    u = t - pole
    curve, target = dipoles * u, area * slope
    # The root with e^{-y} - 1 + y = y²/2/(1 + y/3), and from there by Halley's method.
    linear, square = length - target / 3, length / 3 + 0.5 * curve
    y = 2 * target / (linear + math.sqrt(linear * linear + 4 * square * target))
    fall = math.exp(-y)
    for _ in range(6):
        excess = length * y + curve * (fall - 1 + y) - target
        rise = length + curve * (1 - fall)
        step = excess * rise / (rise * rise - 0.5 * excess * curve * fall)
        y -= step
        if abs(step) < 3e-3:
            # To fourth order in the step: the rest is below 1e-14.
            fall *= 1 + step * (1 + step * (0.5 + step * (1 / 6 + step / 24)))
        else:
            fall = math.exp(-y)
        if abs(step) < 1e-5:
            break
    return pole + u * fall


@kernel
def _integral(clock: Array, t: float, lower: float, length: float, dipoles: float) -> float:
    """``Coupling.integral``."""
    slope, pole, alpha = clock
    if slope == 0.0:
        return alpha * (t - lower) * (length + 0.5 * dipoles * (t - lower))
    y = math.log((t - pole) / (lower - pole))
    return (length * y + dipoles * (t - pole) * (math.expm1(-y) + y)) / slope


@kernel
def _none(clock: Array, t: float, lower: float, length: float, dipoles: float) -> float:
    """The logarithm of the chance of no trial from a scale to a lower one."""
    if lower > t:
        return -math.inf
    return -RATE * _integral(clock, t, lower, length, dipoles)


@kernel
def _over(clock: Array, t: float) -> float:
    slope, pole, alpha = clock
    return alpha if slope == 0.0 else 1 / (slope * (t - pole))


@kernel
def _ratio(clock: Array, alpha_s: float, reference: float, t: float) -> float:
    """``Coupling.ratio``."""
    slope, pole, alpha = clock
    if slope == 0.0:
        return alpha_s / alpha
    return slope * (t - pole) / (1 / alpha_s + slope * (t - reference))


@kernel
def _flavours(mass2: float) -> float:
    """How many flavours a pair of this squared mass can have."""
    if mass2 <= D:
        return 0.0
    return 2.0 + (mass2 > S) + (mass2 > C) + (mass2 > B)


@kernel
def _spinor(energy: float, x: float, y: float, z: float) -> tuple[float, float, float]:
    """``dipole_kinematics._spinor``."""
    transverse2 = x * x + y * y
    along = energy + z if z > 0 else transverse2 / max(energy - z, 1e-300)
    root = math.sqrt(max(along, 1e-300))
    first = x / root if transverse2 > 0 else math.sqrt(max(energy - z, 0.0))
    return root, first, y / root


@kernel
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


@kernel
def _insert(p: Array, n: int, d: int) -> None:
    """Room for a parton after place d of n, and a dipole beside the one there."""
    for i in range(n, d + 1, -1):
        for c in range(LOG_S):
            p[i, c] = p[i - 1, c]
    for i in range(n - 1, d, -1):
        p[i, LOG_S] = p[i - 1, LOG_S]


@kernel
def _apply(
    p: Array, n: int, d: int, t: float, left: float, right: float, outcome: int, azimuth: float
) -> float:
    """Let a trial between the partons d and d + 1 of n happen; the rapidity that is open then."""
    emission = outcome == 1
    from_left = left > right if emission else outcome >= 7
    kept = 1 - (right if from_left else left)
    _insert(p, n, d)
    emitter, spectator = (d, d + 2) if from_left else (d + 2, d)
    _branch(p, emitter, spectator, d + 1, kept, (1 - left - right) / kept, azimuth)
    old = p[d, LOG_S]
    p[d, LOG_S], p[d + 1, LOG_S] = old + math.log(right), old + math.log(left)
    if emission:
        p[d + 1, ID] = GLUON
    else:
        flavour = outcome - 6.0 if from_left else 1.0 - outcome
        p[d + 1, ID], p[emitter, ID] = flavour, -flavour
        p[d if from_left else d + 1, LOG_S] = CLOSED
    for outer in (d - 1, d + 2):
        if not 0 <= outer < n:
            continue
        if (outer > d) == from_left:
            p[outer, LOG_S] += math.log(kept)
        elif p[outer, LOG_S] > 0.5 * CLOSED:
            product = p[outer, E] * p[outer + 1, E]
            for c in range(X, Z + 1):
                product -= p[outer, c] * p[outer + 1, c]
            p[outer, LOG_S] = math.log(max(2 * product, 1e-30))
    length = 0.0
    for i in range(n):
        log_s = p[i, LOG_S]
        p[i, REACH] = max(log_s, t) if log_s > 0.5 * CLOSED else CLOSED
        length += max(p[i, REACH] - t, 0.0)
    return length


@kernel
def run(
    state: Array,
    pairs: Array,
    clock: Array,
    reference: float,
    recorded: tuple[Array, Array, Array, Array],
    counts: Array,
    made: Array,
    drawing: bool,
    trials: Array,
    partons: Array,
    terms: Array,
) -> tuple[Array, Array]:
    """Shower N pairs, drawing the trials or following those that are recorded.

    Arguments:
        state: Of the random numbers.
        pairs: √s, flavour, direction (3), α_s and ln k_T,min² of each, shape ``(N, 7)``.
        clock: β, t_Λ and α_max of the overestimate; β is 0 where it does not run.
        reference: ln m_Z².
        recorded: ln k_T², position, azimuth and outcome, shape ``(N, K)`` each.
        counts: The number of trials of each: read, or written where they are drawn.
        made: Written: the number of partons of each.
        drawing: Whether they are.
        trials: Room for their rows.
        partons: Room for rows (id, E, x, y, z), the id as the bits of an integer.
        terms: Written where they are not drawn: the logarithms of the densities of the counts
            and of the scales, shape ``(2, N)``.

    Returns:
        The trials, what is recorded where they are drawn, and else (event, t, whether it is
        vetoed, weight of what happened, or of anything where it is vetoed); the partons in the
        order of colour.
    """
    scales, positions, azimuths, outcomes = recorded
    p = np.empty((ROOM, 7))
    at = final = 0
    for event in range(len(pairs)):
        # Here, and not where they are written: an array that may change is counted each time.
        while at + ROOM > len(trials):
            trials = grown(trials)
        while final + ROOM > len(partons):
            partons = grown(partons)
        ids = partons.view(np.int64)
        energy, alpha_s, cutoff = pairs[event, 0], pairs[event, 5], pairs[event, 6]
        p[0, E] = p[1, E] = 0.5 * energy
        for c in range(3):
            p[0, X + c] = 0.5 * energy * pairs[event, 2 + c]
            p[1, X + c] = -p[0, X + c]
        p[0, ID], p[1, ID] = pairs[event, 1], -pairs[event, 1]
        t, length, dipoles = 2 * math.log(energy), 0.0, 1.0
        p[0, LOG_S] = p[0, REACH] = t
        n, step = 2, 0
        while True:
            before = t
            if drawing:
                t = _next(clock, t, length, dipoles, -math.log(uniform(state)) / RATE)
                if t <= cutoff:
                    break
                position = uniform(state)
            else:
                if step == counts[event]:
                    terms[0, event] += _none(clock, before, cutoff, length, dipoles)
                    break
                t, position = scales[event, step], positions[event, step]
                terms[0, event] += _none(clock, before, t, length, dipoles)
            length = 0.0
            for i in range(n - 1):
                length += max(p[i, REACH] - t, 0.0)
            along = position * length
            d, end = 0, max(p[0, REACH] - t, 0.0)
            own = end
            while end < along and d < n - 2:
                d += 1
                own = max(p[d, REACH] - t, 0.0)
                end += own
            y, scale = 0.5 * own - (along - (end - own)), 0.5 * (t - p[d, LOG_S])
            left, right = math.exp(scale + y), math.exp(scale - y)
            emission = weight_right = weight_left = open_right = open_left = 0.0
            if left + right < 1:
                is_left, is_right = p[d, ID] == GLUON, p[d + 1, ID] == GLUON
                x_left, x_right, other = 1 - left, 1 - right, (1 - left - right) ** 2
                near = is_left if left > right else is_right
                emission = x_left * x_left * (x_left if is_left else 1.0)
                emission += x_right * x_right * (x_right if is_right else 1.0)
                emission *= 0.5 if near else 4.0 / 9.0
                mass2 = math.exp(p[d, LOG_S]) if is_left or is_right else 0.0
                if is_right:
                    weight_right = right * (other + right * right) / 12
                    open_right = _flavours(left * mass2)
                if is_left:
                    weight_left = left * (other + left * left) / 12
                    open_left = _flavours(right * mass2)
            if step == ROOM or n == len(p):
                raise RuntimeError("a shower without end")
            if drawing:
                v = uniform(state) / _ratio(clock, alpha_s, reference, t)
                azimuth = (2 * uniform(state) - 1) * math.pi
                outcome = 0
                if v < emission:
                    outcome = 1
                elif v < emission + weight_right * open_right:
                    outcome = 2 + min(int((v - emission) / weight_right), int(open_right) - 1)
                else:
                    v -= emission + weight_right * open_right
                    if v < weight_left * open_left:
                        outcome = 7 + min(int(v / weight_left), int(open_left) - 1)
                trials[at, 0], trials[at, 1] = t, position
                trials[at, 2], trials[at, 3] = azimuth, outcome
            else:
                azimuth, outcome = azimuths[event, step], int(outcomes[event, step])
                terms[1, event] += math.log(RATE * _over(clock, t) * length)
                weight = emission
                if outcome == 0:
                    weight += weight_right * open_right + weight_left * open_left
                elif outcome > 1:
                    weight = weight_right if outcome < 7 else weight_left
                trials[at, 0], trials[at, 1] = event, t
                trials[at, 2], trials[at, 3] = outcome == 0, weight
            at += 1
            step += 1
            if outcome != 0:
                length = _apply(p, n, d, t, left, right, outcome, azimuth)
                dipoles += outcome == 1
                n += 1
        counts[event], made[event] = step, n
        for i in range(n):
            ids[final, 0] = int(p[i, ID])
            for c in range(E, Z + 1):
                partons[final, 1 + c] = p[i, c]
            final += 1
    return trials[:at], partons[:final]
