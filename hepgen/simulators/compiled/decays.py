"""Decays into two bodies (:class:`~hepgen.simulators.decays.DecayChain`), compiled."""

from __future__ import annotations

import math

import numpy as np

from hepgen.simulators.compiled.jets import BINS, KIND, LAST, E, X, Y, Z
from hepgen.simulators.compiled.kernel import Array, circle, grown, kernel, uniform

#: More than the particles in the tree of any decay, the parent with all that come of it.
TREE = 128
#: Events for which there is room at once.
SOME = 16


@kernel
def _put(
    rows: Array, ids: Array, at: int, kind: int, e: float, x: float, y: float, z: float
) -> None:
    """A particle into a row, its kind as the bits of an integer."""
    ids[at, KIND] = kind
    rows[at, E], rows[at, X], rows[at, Y], rows[at, Z] = e, x, y, z


@kernel
def decay(
    state: Array,
    hadrons: Array,
    numbers: Array,
    menu: tuple[Array, Array, Array, Array, Array, Array],
    kinds: tuple[Array, Array, Array, Array],
    recorded: tuple[Array, Array, Array],
    counts: Array,
    left: Array,
    charged: Array,
    drawing: bool,
    decays: Array,
    final: Array,
    terms: Array,
) -> tuple[Array, Array]:
    """Let the hadrons of N events decay, generation after generation.

    Arguments:
        state: Of the random numbers.
        hadrons: Rows (species, E, x, y, z).
        numbers: How many of them each event has, shape ``(N,)``.
        menu: Ends and guide of the channels; of each channel the two daughters, their momentum,
            the energy of the first, and the logarithm of its chance.
        kinds: By species the mass, whether it is stable, the PDG id, and whether it is charged.
        recorded: Channel, cosine and azimuth, shape ``(N, K)`` each.
        counts: The number of decays of each event: read, or written where they are drawn.
        left: Written: the number of particles that are left of each.
        charged: Written: how many of these are charged.
        drawing: Whether they are.
        decays: Room for rows (channel, cosine, azimuth).
        final: Room for the rows of what is left, with the bits of the id for the species.
        terms: Written: the logarithms of the chances of the channels, shape ``(N,)``.

    Returns:
        The decays, where they are drawn; what is left.
    """
    ends, begin_at, daughters, momenta, energies, log_chance = menu
    mass, is_stable, pdg, charge = kinds
    channels, cosines, azimuths = recorded
    queue = np.empty((1024 * TREE, 5))
    at = out = start = 0
    events = len(counts)
    for some in range(0, events, SOME):
        after = min(some + SOME, events)
        rows = numbers[some:after].sum() * TREE
        # Here, and not where they are written: an array that may change is counted each time.
        while rows > len(queue):
            queue = grown(queue)
        while out + rows > len(final):
            final = grown(final)
        while at + rows > len(decays):
            decays = grown(decays)
        queue_ids, ids = queue.view(np.int64), final.view(np.int64)
        for event in range(some, after):
            slot = waiting = visible = 0
            begin = out
            for i in range(start, start + numbers[event]):
                h = hadrons[i]
                species = int(h[KIND])
                if is_stable[species]:
                    _put(final, ids, out, pdg[species], h[E], h[X], h[Y], h[Z])
                    visible += charge[species]
                    out += 1
                else:
                    _put(queue, queue_ids, waiting, species, h[E], h[X], h[Y], h[Z])
                    waiting += 1
            start += numbers[event]
            while slot < waiting:
                parent = queue[slot]
                species, e = queue_ids[slot, KIND], parent[E]
                px, py, pz = parent[X], parent[Y], parent[Z]
                if drawing:
                    u = species + min(uniform(state), LAST)
                    channel = begin_at[int(u * BINS)]
                    while ends[channel] <= u:
                        channel += 1
                    cosine = 2 * uniform(state) - 1
                    azimuth = (2 * uniform(state) - 1) * math.pi
                    decays[at, 0], decays[at, 1], decays[at, 2] = channel, cosine, azimuth
                else:
                    channel = int(channels[event, slot])
                    cosine, azimuth = cosines[event, slot], azimuths[event, slot]
                    terms[event] += log_chance[channel]
                at += 1
                slot += 1
                momentum, energy, m = momenta[channel], energies[channel], mass[species]
                across = momentum * math.sqrt(max(1 - cosine * cosine, 0.0))
                cos, sin = circle(azimuth)
                x, y, z = across * cos, across * sin, momentum * cosine
                projection = x * px + y * py + z * pz
                factor = (projection / (e + m) + energy) / m
                e1 = (e * energy + projection) / m
                x1, y1, z1 = x + factor * px, y + factor * py, z + factor * pz
                for i in range(2):
                    if i == 1:
                        e1, x1, y1, z1 = e - e1, px - x1, py - y1, pz - z1
                    species = daughters[channel, i]
                    if is_stable[species]:
                        _put(final, ids, out, pdg[species], e1, x1, y1, z1)
                        visible += charge[species]
                        out += 1
                    else:
                        _put(queue, queue_ids, waiting, species, e1, x1, y1, z1)
                        waiting += 1
            counts[event], left[event], charged[event] = slot, out - begin, visible
    return decays[: at if drawing else 0], final[:out]
