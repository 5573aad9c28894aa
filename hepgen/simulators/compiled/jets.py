"""Independent fragmentation (:class:`~hepgen.simulators.fragmentation.Fragmentation`), compiled."""

from __future__ import annotations

import math

import numpy as np

from hepgen.simulators.compiled.kernel import ROOM, Array, grown, kernel, normal, uniform

SIGMA = 0.335 / math.sqrt(2)
HEAVY = 1.5
BINS = 64
#: Of the guide to each table of f(z).
PARTS = 256
#: No draw from a list reaches into the next.
LAST = 1 - 1e-9
#: Columns of a hadron.
KIND, E, X, Y, Z = range(5)


@kernel
def guide(cumulative: Array) -> Array:
    """For each table, and each of the equal parts of its range, where to begin to look.

    Arguments:
        cumulative: Increasing from 0, shape ``(R, B)``.
    """
    out = np.empty((len(cumulative), PARTS), np.uint8)
    last = cumulative.shape[1] - 2
    for row in range(len(cumulative)):
        i = 0
        for part in range(PARTS):
            below = part / PARTS * cumulative[row, -1]
            while i < last and cumulative[row, i + 1] <= below:
                i += 1
            out[row, part] = i
    return out


@kernel
def share(u: float, row: int, nodes: Array, values: Array, area: Array, start: Array) -> float:
    """``LundSampler.draw`` from one table."""
    target = u * area[row, -1]
    i = int(start[row, int(u * PARTS)])
    while i < len(nodes) - 2 and area[row, i + 1] <= target:
        i += 1
    step = nodes[i + 1] - nodes[i]
    rest = (target - area[row, i]) / step
    low, rise = values[row, i], values[row, i + 1] - values[row, i]
    root = math.sqrt(max(low * low + 2 * rise * rest, 0.0))
    within = 2 * rest / max(low + root, 1e-300)
    return nodes[i] + step * min(max(within, 0.0), 1.0)


@kernel
def fragment(
    state: Array,
    partons: tuple[Array, Array, Array, Array, Array],
    number: Array,
    point: Array,
    menu: tuple[Array, Array, Array, Array, Array],
    mass: Array,
    lund: tuple[Array, Array, Array, Array],
    rows: tuple[float, float, int],
    stop: float,
    recorded: tuple[Array, Array, Array, Array],
    counts: Array,
    kept: Array,
    drawing: bool,
    fragments: Array,
    hadrons: Array,
    final: int,
    terms: Array,
) -> tuple[Array, Array, int]:
    """Fragment N events, drawing the fragments or following those that are recorded.

    Arguments:
        state: Of the random numbers.
        partons: E, x, y, z and id, shape ``(N, K)`` each.
        number: Of the partons, shape ``(N,)``.
        point: The parameter point of each event.
        menu: Ends and guide of the choices at the ends of a jet; of each choice the hadron,
            the end that is left and the logarithm of its chance.
        mass: Of the hadrons by index.
        lund: Nodes, values, areas and guide of f(z).
        rows: The lowest ln m_T² of its tables, their number for each unit of it, and how many
            there are at a parameter point.
        stop: GeV.
        recorded: Kind, x, y and share, shape ``(N, K)`` each.
        counts: The number of fragments of each event: read, or written where they are drawn.
        kept: Written: the number of hadrons of each.
        drawing: Whether they are.
        fragments: Room for their rows.
        hadrons: Rows (species, E, x, y, z), and room for more.
        final: How many of them there are.
        terms: Written where they are not drawn: the logarithms of the densities of kinds, x and
            y, shape ``(3, N)``.

    Returns:
        The fragments, what is recorded where they are drawn, and else (event, share, ln m_T²);
        the hadrons, and how many there are now.
    """
    energies, xs, ys, zs, ids = partons
    ends, begin_at, hadron_of, left_of, log_chance = menu
    nodes, values, area, start = lund
    lowest, scale, tables = rows
    kinds, first_x, first_y, shares = recorded
    width = energies.shape[1]
    cone, kick_x, kick_y = np.empty(width), np.empty(width), np.empty(width)
    end, jet = np.empty(width, np.int64), np.empty(width, np.int64)
    axes = np.empty((width, 5))
    at = 0
    for event in range(len(counts)):
        # Here, and not where they are written: an array that may change is counted each time.
        while at + ROOM > len(fragments):
            fragments = grown(fragments)
        while final + ROOM > len(hadrons):
            hadrons = grown(hadrons)
        on = 0
        for i in range(number[event]):
            energy = energies[event, i]
            nz = zs[event, i] / energy
            sign = 1.0 if nz >= 0 else -1.0
            axes[i, 0], axes[i, 1] = xs[event, i] / energy, ys[event, i] / energy
            axes[i, 2], axes[i, 3], axes[i, 4] = nz, sign, -1 / (sign + nz)
            if 2 * energy > stop:
                pdg = ids[event, i]
                cone[on], kick_x[on], kick_y[on], jet[on] = 2 * energy, 0.0, 0.0, i
                end[on] = (pdg if -6 <= pdg <= 6 else 0) + 6
                on += 1
        slot, first, begin = 0, True, final
        while on > 0:
            still = 0
            if slot + on > ROOM:
                raise RuntimeError("a jet without end")
            for j in range(on):
                if drawing:
                    u = end[j] + min(uniform(state), LAST)
                    kind = begin_at[int(u * BINS)]
                    while ends[kind] <= u:
                        kind += 1
                    x, y = SIGMA * normal(state), SIGMA * normal(state)
                else:
                    kind = int(kinds[event, slot])
                    x, y = first_x[event, slot], first_y[event, slot]
                tx, ty = kick_x[j] + x, kick_y[j] + y
                hadron = hadron_of[kind]
                m = mass[hadron]
                mt2 = m * m + tx * tx + ty * ty
                log_mt2 = math.log(mt2)
                if drawing:
                    place = min(max((log_mt2 - lowest) * scale, 0.0), tables - 1 - 1e-9)
                    row = int(place) + point[event] * tables
                    row += int(uniform(state) < place - int(place))
                    z = share(uniform(state), row, nodes, values, area, start)
                    fragments[at, 0], fragments[at, 1] = kind, x
                    fragments[at, 2], fragments[at, 3] = y, z
                else:
                    z = shares[event, slot]
                    fragments[at, 0], fragments[at, 1], fragments[at, 2] = event, z, log_mt2
                    terms[0, event] += log_chance[kind]
                    terms[1, event] += _normal(x)
                    terms[2, event] += _normal(y)
                at += 1
                slot += 1
                plus = z * cone[j]
                along = 0.5 * (plus - mt2 / plus)
                if along > 0 or (first and m > HEAVY):
                    along = abs(along)
                    i = jet[j]
                    nx, ny, sign = axes[i, 0], axes[i, 1], axes[i, 3]
                    sideways = sign * tx * nx + ty * ny
                    common = along + axes[i, 4] * sideways
                    px, py = nx * common + tx, ny * common + sign * ty
                    pz = axes[i, 2] * along - sideways
                    hadrons[final, KIND] = hadron
                    hadrons[final, E] = math.sqrt(m * m + px * px + py * py + pz * pz)
                    hadrons[final, X], hadrons[final, Y], hadrons[final, Z] = px, py, pz
                    final += 1
                left = cone[j] - plus
                if left > stop:
                    cone[still], kick_x[still], kick_y[still] = left, -x, -y
                    end[still], jet[still] = left_of[kind], jet[j]
                    still += 1
            on, first = still, False
        counts[event], kept[event] = slot, final - begin
    return fragments[:at], hadrons, final


@kernel
def _normal(value: float) -> float:
    """Log-density of one component of a pair's transverse momentum."""
    return -0.5 * (value / SIGMA) ** 2 - math.log(SIGMA * math.sqrt(2 * math.pi))


@kernel
def restore(hadrons: Array, counts: Array, energy: Array, mass: Array) -> Array:
    """``fragmentation.restored``, in place; the excess of energy that is left in each event."""
    excess = np.zeros(len(counts))
    p2 = np.empty(64)
    m2 = np.empty(64)
    at = 0
    for event in range(len(counts)):
        n = counts[event]
        if n > len(p2):
            p2, m2 = np.empty(2 * n), np.empty(2 * n)
        own = hadrons[at : at + n]
        at += n
        e = x = y = z = 0.0
        for i in range(n):
            e, x, y, z = e + own[i, E], x + own[i, X], y + own[i, Y], z + own[i, Z]
        m = math.sqrt(max(e * e - x * x - y * y - z * z, 1e-12))
        x, y, z = x / m, y / m, z / m
        factor = 1 / (e / m + 1)
        for i in range(n):
            h = own[i]
            back = (h[X] * x + h[Y] * y + h[Z] * z) * factor - h[E]
            h[X], h[Y], h[Z] = h[X] + back * x, h[Y] + back * y, h[Z] + back * z
            p2[i] = h[X] * h[X] + h[Y] * h[Y] + h[Z] * h[Z]
            m2[i] = mass[int(h[KIND])] ** 2
        k = 1.0
        for _ in range(8):
            total = slope = 0.0
            for i in range(n):
                each = math.sqrt(k * k * p2[i] + m2[i])
                total += each
                slope += p2[i] / each
            excess[event] = total - energy[event]
            k = min(max(k - excess[event] / max(k * slope, 1e-12), 1e-3), 1e3)
            if abs(excess[event]) < 1e-4:
                break
        for i in range(n):
            h = own[i]
            h[E] = math.sqrt(k * k * p2[i] + m2[i])
            h[X], h[Y], h[Z] = k * h[X], k * h[Y], k * h[Z]
    return excess
