"""Decays into two bodies (:class:`~hepgen.simulators.decays.DecayChain`), compiled."""

from __future__ import annotations

import math

import numpy as np

from hepgen.simulators.compiled.jets import LAST, choice
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


@inner
def _put(
    particles: tuple[Array, Array, Array, Array, Array],
    ids: Array,
    event: int,
    at: int,
    pdg: int,
    momentum: tuple[float, float, float, float],
) -> None:
    """A particle of an event, at a place that counts if it is stable."""
    _, e, x, y, z = particles
    ids[event, at] = pdg
    e[event, at], x[event, at], y[event, at], z[event, at] = momentum


@inner
def _wait(
    queue: Array, waits: Array, at: int, kind: int, momentum: tuple[float, float, float, float]
) -> None:
    """The same particle among those that wait for their decay, where it counts if it is not."""
    waits[at] = kind
    queue[at, 0], queue[at, 1], queue[at, 2], queue[at, 3] = momentum


@kernel
def decay(
    state: Array,
    begin: int,
    hadrons: tuple[Array, Array, Array, Array, Array],
    numbers: Array,
    menu: tuple[Array, Array, Array, Array, Array, Array],
    kinds: tuple[Array, Array, Array, Array],
    drawing: bool,
    columns: tuple[Array, Array, Array],
    counts: Array,
    particles: tuple[Array, Array, Array, Array, Array],
    left: Array,
    charged: Array,
    terms: Array,
) -> int:
    """Let the hadrons of N events decay, generation after generation.

    Arguments:
        state: Of the random numbers.
        begin: The first event of these.
        hadrons: Species, E, x, y, z, of one event after the other.
        numbers: How many of them each event has, shape ``(N,)``.
        menu: Ends and guide of the channels; of each channel the two daughters, their momentum,
            the energy of the first, and the logarithm of its chance.
        kinds: By species the mass, whether it is stable, the PDG id, and whether it is charged.
        drawing: Whether the decays are drawn.
        columns: Channel, cosine and azimuth, shape ``(N, K)`` each: written where they are drawn,
            and else read, as are
        counts: the number of decays of each event.
        particles: Written: what is left, shape ``(N, K)`` each: the PDG id, its bits those of an
            integer, E, x, y and z.
        left: Written: the number of particles that are left of each.
        charged: Written: how many of these are charged.
        terms: Written where they are not drawn: the logarithms of the chances of the channels,
            shape ``(N,)``.

    Returns:
        The first event for which there is no room, its counts what it needs, or N.
    """
    ends, begin_at, daughters, momenta, energies, log_chance = menu
    mass, is_stable, pdg, charge = kinds
    channels, cosines, azimuths = columns
    species, es, xs, ys, zs = hadrons
    ids = particles[0].view(np.int64)
    queue, waits = np.empty((ROOM, 4)), np.empty(ROOM, np.int64)
    before, room = np.empty_like(state), ids.shape[1]
    at = numbers[:begin].sum()
    for event in range(begin, len(counts)):
        if event == begin or event % PART == 0:
            clear(particles, event)
            if drawing:
                clear(columns, event)
        before[:] = state
        out = visible = waiting = slot = 0
        chances = 0.0
        for i in range(min(numbers[event], room)):
            h = at + i
            kind = int(species[h])
            own = es[h], xs[h], ys[h], zs[h]
            _put(particles, ids, event, out, pdg[kind], own)
            _wait(queue, waits, waiting, kind, own)
            out += is_stable[kind]
            waiting += not is_stable[kind]
            visible += charge[kind] * is_stable[kind]
        while slot < waiting and out + 2 <= room and slot < channels.shape[1]:
            kind, e = waits[slot], queue[slot, 0]
            px, py, pz = queue[slot, 1], queue[slot, 2], queue[slot, 3]
            if drawing:
                channel = choice(kind + min(uniform(state), LAST), ends, begin_at)
                cosine = 2 * uniform(state) - 1
                azimuth = (2 * uniform(state) - 1) * math.pi
                channels[event, slot] = channel
                cosines[event, slot], azimuths[event, slot] = cosine, azimuth
            else:
                channel = int(channels[event, slot])
                cosine, azimuth = cosines[event, slot], azimuths[event, slot]
                chances += log_chance[channel]
            slot += 1
            momentum, energy, m = momenta[channel], energies[channel], mass[kind]
            across = momentum * math.sqrt(max(1 - cosine * cosine, 0.0))
            cos, sin = circle(azimuth)
            x, y, z = across * cos, across * sin, momentum * cosine
            projection = x * px + y * py + z * pz
            inverse = 1 / (m * (e + m))
            factor = (projection + energy * (e + m)) * inverse
            e1 = (e * energy + projection) * (e + m) * inverse
            x1, y1, z1 = x + factor * px, y + factor * py, z + factor * pz
            for i in range(2):
                own = (e - e1, px - x1, py - y1, pz - z1) if i else (e1, x1, y1, z1)
                kind = daughters[channel, i]
                _put(particles, ids, event, out, pdg[kind], own)
                _wait(queue, waits, waiting, kind, own)
                out += is_stable[kind]
                waiting += not is_stable[kind]
                visible += charge[kind] * is_stable[kind]
            if waiting + 2 > ROOM:
                raise RuntimeError("decays without end")
        lacking = slot < waiting or numbers[event] > room
        left[event], charged[event] = max(out, numbers[event]) + 2 * lacking, visible
        if drawing:
            counts[event] = slot + lacking
        else:
            terms[event] = chances
        if lacking:
            state[:] = before
            return event
        at += numbers[event]
    return len(counts)
