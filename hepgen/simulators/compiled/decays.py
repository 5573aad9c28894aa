"""Decays into two bodies (:class:`~hepgen.simulators.decays.DecayChain`), compiled."""

from __future__ import annotations

import math

import numpy as np

from hepgen.simulators.compiled.jets import BINS, KIND, LAST, E, X, Y, Z
from hepgen.simulators.compiled.kernel import Array, grown, kernel, seeded, uniform


@kernel
def decay(
    seed: int,
    hadrons: Array,
    numbers: Array,
    menu: tuple[Array, Array, Array, Array, Array, Array],
    mass: Array,
    is_stable: Array,
    recorded: tuple[Array, Array, Array],
    counts: Array,
    drawing: bool,
    decays: Array,
    final: Array,
    terms: Array,
) -> tuple[Array, Array, Array]:
    """Let the hadrons of N events decay, generation after generation.

    Arguments:
        seed: Of the block.
        hadrons: Rows (species, E, x, y, z).
        numbers: How many of them each event has, shape ``(N,)``.
        menu: Ends and guide of the channels; of each channel the two daughters, their momentum,
            the energy of the first, and the logarithm of its chance.
        mass: By species.
        is_stable: By species.
        recorded: Channel, cosine and azimuth, shape ``(N, K)`` each.
        counts: The number of decays of each event: read, or written where they are drawn.
        drawing: Whether they are.
        decays: Room for rows (channel, cosine, azimuth).
        final: Room for the rows of what is left.
        terms: Written: the logarithms of the chances of the channels, shape ``(N,)``.

    Returns:
        The decays, where they are drawn; what is left; how much of it each event has.
    """
    state = seeded(seed)
    left = np.zeros(len(counts), np.int64)
    queue = np.empty((256, 5))
    at = out = start = 0
    for event in range(len(counts)):
        filled = numbers[event]
        while filled + 2 > len(queue):
            queue = grown(queue)
        for i in range(filled):
            for c in range(5):
                queue[i, c] = hadrons[start + i, c]
        start += filled
        slot = head = 0
        while head < filled:
            p = queue[head]
            head += 1
            species = int(p[KIND])
            if is_stable[species]:
                if out == len(final):
                    final = grown(final)
                for c in range(5):
                    final[out, c] = p[c]
                out += 1
                left[event] += 1
                continue
            if filled + 2 > len(queue):
                queue = grown(queue)
                p = queue[head - 1]
            if drawing:
                u = species + min(uniform(state), LAST)
                channel = menu[1][int(u * BINS)]
                while menu[0][channel] <= u:
                    channel += 1
                cosine = 2 * uniform(state) - 1
                azimuth = (2 * uniform(state) - 1) * math.pi
                if at == len(decays):
                    decays = grown(decays)
                decays[at, 0], decays[at, 1], decays[at, 2] = channel, cosine, azimuth
            else:
                channel = int(recorded[0][event, slot])
                cosine, azimuth = recorded[1][event, slot], recorded[2][event, slot]
                terms[event] += menu[5][channel]
            at += 1
            slot += 1
            momentum, energy, m = menu[3][channel], menu[4][channel], mass[species]
            across = momentum * math.sqrt(max(1 - cosine * cosine, 0.0))
            x, y, z = across * math.cos(azimuth), across * math.sin(azimuth), momentum * cosine
            projection = x * p[X] + y * p[Y] + z * p[Z]
            factor = (projection / (p[E] + m) + energy) / m
            first, second = queue[filled], queue[filled + 1]
            first[KIND], second[KIND] = menu[2][channel, 0], menu[2][channel, 1]
            first[E] = (p[E] * energy + projection) / m
            first[X], first[Y], first[Z] = x + factor * p[X], y + factor * p[Y], z + factor * p[Z]
            for c in range(E, Z + 1):
                second[c] = p[c] - first[c]
            filled += 2
        counts[event] = slot
    return decays[: at if drawing else 0], final[:out], left


@kernel
def columns(
    particles: Array, counts: Array, pdg: Array, momenta: Array, ids: Array, charge: Array,
    charged: Array,
) -> None:  # fmt: skip
    """Rows (species, E, x, y, z) as columns with a row for each event, zero beyond its count."""
    at = 0
    for event in range(len(counts)):
        for k in range(counts[event]):
            species = int(particles[at, KIND])
            ids[event, k] = pdg[species]
            charged[event] += charge[species]
            for c in range(4):
                momenta[c, event, k] = particles[at, E + c]
            at += 1
