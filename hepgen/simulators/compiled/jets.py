"""Independent fragmentation (:class:`~hepgen.simulators.fragmentation.Fragmentation`), compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hepgen.simulators.compiled.kernel import (
    PART,
    ROOM,
    Array,
    clear,
    inner,
    kernel,
    normal,
    reduction,
    uniform,
)

SIGMA = 0.335 / math.sqrt(2)
HEAVY = 1.5
#: Of the guide to each list of choices.
BINS = 128
#: Of the guide to each table of f(z).
PARTS = 256
#: No draw from a list reaches into the next.
LAST = 1 - 1e-9


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


@inner
def choice(u: float, ends: Array, begin_at: Array) -> int:
    """``Menus.draw``: the first of the ends above u, which is the number of a list and a share."""
    i = np.int64(begin_at[int(u * BINS)])
    # Mostly this or the next, which cannot be foreseen: no jump.
    i += ends[i] <= u
    while ends[i] <= u:
        i += 1
    return i


@inner
def share(
    u: float, row: int, nodes: Array, rests: Array, values: Array, area: Array, start: Array
) -> float:
    """``LundSampler.draw`` from one table; ``rests`` are 1/(z' - z) of its nodes z and the next."""
    target = u * area[row, -1]
    i: Any = np.int64(start[row, int(u * PARTS)])
    i += area[row, i + 1] <= target
    while i < len(nodes) - 2 and area[row, i + 1] <= target:
        i += 1
    i = min(i, len(nodes) - 2)
    rest = max(target - area[row, i], 0.0)
    low, rise = values[row, i], values[row, i + 1] - values[row, i]
    root = math.sqrt(max(low * low + 2 * rise * rest * rests[i], 0.0))
    return min(nodes[i] + 2 * rest / max(low + root, 1e-300), nodes[i + 1])


@reduction
def restore(
    hadrons: tuple[Array, Array, Array, Array, Array],
    first: int,
    n: int,
    energy: float,
    mass: Array,
    p2: Array,
    m2: Array,
) -> float:
    """``fragmentation.restored`` for the n hadrons of an event, in place.

    Returns:
        The energy that is left over. p² and m² are room for as many numbers as hadrons.
    """
    kinds, es, xs, ys, zs = (
        hadrons[0][first:], hadrons[1][first:], hadrons[2][first:], hadrons[3][first:],
        hadrons[4][first:],
    )  # fmt: skip
    e = x = y = z = 0.0
    for i in range(n):
        e, x, y, z = e + es[i], x + xs[i], y + ys[i], z + zs[i]
    inverse = 1 / math.sqrt(max(e * e - x * x - y * y - z * z, 1e-12))
    x, y, z = x * inverse, y * inverse, z * inverse
    factor = 1 / (e * inverse + 1)
    for i in range(n):
        px, py, pz = xs[i], ys[i], zs[i]
        back = (px * x + py * y + pz * z) * factor - es[i]
        px, py, pz = px + back * x, py + back * y, pz + back * z
        p2[i], m2[i] = px * px + py * py + pz * pz, mass[int(kinds[i])] ** 2
        xs[i], ys[i], zs[i] = px, py, pz
    k, excess = 1.0, 0.0
    for _ in range(8):
        total = slope = 0.0
        for i in range(n):
            each = math.sqrt(k * k * p2[i] + m2[i])
            total += each
            slope += p2[i] / each
        excess = total - energy
        k = min(max(k - excess / max(k * slope, 1e-12), 1e-3), 1e3)
        if abs(excess) < 1e-4:
            break
    for i in range(n):
        es[i] = math.sqrt(k * k * p2[i] + m2[i])
        xs[i], ys[i], zs[i] = k * xs[i], k * ys[i], k * zs[i]
    return excess


@kernel
def fragment(
    state: Array,
    begin: int,
    partons: tuple[Array, Array, Array, Array, Array],
    number: Array,
    energy: Array,
    point: Array,
    menu: tuple[Array, Array, Array, Array, Array],
    mass: Array,
    lund: tuple[Array, Array, Array, Array, Array],
    rows: tuple[float, float, int],
    stop: float,
    drawing: bool,
    columns: tuple[Array, Array, Array, Array],
    counts: Array,
    hadrons: tuple[Array, Array, Array, Array, Array],
    kept: Array,
    excess: Array,
    log_mt2: Array,
    terms: Array,
) -> tuple[int, float]:
    """Fragment N events, drawing the fragments or following those that are recorded.

    The hadrons get the energy of their events.

    Arguments:
        state: Of the random numbers.
        begin: The first event of these.
        partons: E, x, y, z and id, shape ``(N, K)`` each.
        number: Of the partons, shape ``(N,)``.
        energy: √s of each event, GeV.
        point: The parameter point of each event.
        menu: Ends and guide of the choices at the ends of a jet; of each choice the hadron,
            the end that is left and the logarithm of its chance.
        mass: Of the hadrons by index.
        lund: Nodes, what :func:`share` has of them, values, areas and guide of f(z).
        rows: The lowest ln m_T² of its tables, their number for each unit of it, and how many
            there are at a parameter point.
        stop: GeV.
        drawing: Whether the fragments are drawn.
        columns: Kind, x, y and share, shape ``(N, K)`` each: written where they are drawn, and
            else read, as are
        counts: the number of fragments of each event.
        hadrons: Written: species, E, x, y, z of one event after the other, and room for one of
            each fragment.
        kept: Written: how many of them there are of each.
        excess: Written: by how much their energy is not that of the event, GeV.
        log_mt2: Written where they are not drawn: ln m_T² of each fragment, shape ``(N, K)``.
        terms: Written where they are not drawn: the logarithms of the densities of kinds, x and
            y, shape ``(3, N)``.

    Returns:
        The first event for which there is no room, its count what it needs, or N; a number that
        is finite where all that is drawn is.
    """
    energies, xs, ys, zs, ids = partons
    ends, begin_at, hadron_of, left_of, log_chance = menu
    nodes, rests, values, area, start = lund
    lowest, scale, tables = rows
    kinds, first_x, first_y, shares = columns
    species, es, pxs, pys, pzs = hadrons
    room = energies.shape[1] + kinds.shape[1] + 1
    # The ends of jets, in the order in which fragments come off them.
    cone, kick_x, kick_y = np.empty(room), np.empty(room), np.empty(room)
    end, jet = np.empty(room, np.int64), np.empty(room, np.int64)
    axes, before = np.empty((room, 5)), np.empty_like(state)
    p2, m2 = np.empty(room), np.empty(room)
    at, check = kept[:begin].sum(), 0.0
    for event in range(begin, len(counts)):
        if drawing and (event == begin or event % PART == 0):
            clear(columns, event)
        before[:] = state
        last = 0
        for i in range(number[event]):
            light_cone = 2 * energies[event, i]
            inverse = 2 / light_cone
            nz = zs[event, i] * inverse
            sign = 1.0 if nz >= 0 else -1.0
            axes[i, 0], axes[i, 1] = xs[event, i] * inverse, ys[event, i] * inverse
            axes[i, 2], axes[i, 3], axes[i, 4] = nz, sign, -1 / (sign + nz)
            pdg = ids[event, i]
            cone[last], kick_x[last], kick_y[last], jet[last] = light_cone, 0.0, 0.0, i
            end[last] = (pdg if -6 <= pdg <= 6 else 0) + 6
            last += light_cone > stop
        slot = made = 0
        leading = last
        # What cannot be foreseen is no jump: it is written, and counts or is written over.
        while slot < last and slot < kinds.shape[1]:
            if drawing:
                kind = choice(end[slot] + min(uniform(state), LAST), ends, begin_at)
                x, y = SIGMA * normal(state), SIGMA * normal(state)
            else:
                kind = int(kinds[event, slot])
                x, y = first_x[event, slot], first_y[event, slot]
            tx, ty = kick_x[slot] + x, kick_y[slot] + y
            hadron = hadron_of[kind]
            m = mass[hadron]
            mt2 = m * m + tx * tx + ty * ty
            log = math.log(mt2)
            if drawing:
                place = min(max((log - lowest) * scale, 0.0), tables - 1 - 1e-9)
                row = int(place) + point[event] * tables
                row += uniform(state) < place - int(place)
                z = share(uniform(state), row, nodes, rests, values, area, start)
                check += z
                kinds[event, slot], first_x[event, slot] = kind, x
                first_y[event, slot], shares[event, slot] = y, z
            else:
                z = shares[event, slot]
                log_mt2[event, slot] = log
                terms[0, event] += log_chance[kind]
                terms[1, event] += _normal(x)
                terms[2, event] += _normal(y)
            plus, i = z * cone[slot], jet[slot]
            minus, left = mt2 / plus, cone[slot] - plus
            along = 0.5 * abs(plus - minus)
            nx, ny, sign = axes[i, 0], axes[i, 1], axes[i, 3]
            sideways = sign * tx * nx + ty * ny
            common = along + axes[i, 4] * sideways
            species[at + made], es[at + made] = hadron, 0.5 * (plus + minus)
            pxs[at + made], pys[at + made] = nx * common + tx, ny * common + sign * ty
            pzs[at + made] = axes[i, 2] * along - sideways
            made += (plus > minus) | ((slot < leading) & (m > HEAVY))
            cone[last], kick_x[last], kick_y[last], jet[last] = left, -x, -y, i
            end[last] = left_of[kind]
            last += left > stop
            slot += 1
        kept[event] = made
        if drawing:
            counts[event] = last
        if last > ROOM:
            raise RuntimeError("a jet without end")
        if slot < last:
            state[:] = before
            return event, check
        excess[event] = restore(hadrons, at, made, energy[event], mass, p2, m2)
        at += made
    return len(counts), check


@inner
def _normal(value: float) -> float:
    """Log-density of one component of a pair's transverse momentum."""
    return -0.5 * (value / SIGMA) ** 2 - math.log(SIGMA * math.sqrt(2 * math.pi))
