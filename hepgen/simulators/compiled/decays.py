"""Decays into two bodies (:class:`~hepgen.simulators.decays.DecayChain`), compiled."""

from __future__ import annotations

import math

import numpy as np

from hepgen.simulators.compiled.jets import BINS, KIND, LAST, E, X, Y, Z
from hepgen.simulators.compiled.kernel import Array, circle, grown, kernel, uniform

#: More than the particles in the tree of any decay, the parent with all that come of it.
TREE = 128


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
    queue = np.empty((256 * TREE, 5))
    at = out = start = 0
    for event in range(len(counts)):
        filled = numbers[event]
        while filled * TREE > len(queue):
            queue = grown(queue)
        while out + filled * TREE > len(final):
            final = grown(final)
        ids = final.view(np.int64)
        while at + filled * TREE > len(decays):
            decays = grown(decays)
        for i in range(filled):
            for c in range(5):
                queue[i, c] = hadrons[start + i, c]
        start += filled
        slot = head = visible = 0
        begin = out
        while head < filled:
            species, e = int(queue[head, KIND]), queue[head, E]
            px, py, pz = queue[head, X], queue[head, Y], queue[head, Z]
            head += 1
            if is_stable[species]:
                ids[out, KIND], final[out, E] = pdg[species], e
                final[out, X], final[out, Y], final[out, Z] = px, py, pz
                visible += charge[species]
                out += 1
                continue
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
            first = (
                (e * energy + projection) / m, x + factor * px, y + factor * py, z + factor * pz,
            )  # fmt: skip
            queue[filled, KIND] = daughters[channel, 0]
            queue[filled, E], queue[filled, X] = first[0], first[1]
            queue[filled, Y], queue[filled, Z] = first[2], first[3]
            queue[filled + 1, KIND] = daughters[channel, 1]
            queue[filled + 1, E], queue[filled + 1, X] = e - first[0], px - first[1]
            queue[filled + 1, Y], queue[filled + 1, Z] = py - first[2], pz - first[3]
            filled += 2
        counts[event], left[event], charged[event] = slot, out - begin, visible
    return decays[: at if drawing else 0], final[:out]
