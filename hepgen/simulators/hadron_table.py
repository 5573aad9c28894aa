"""Hadrons: masses, what each end of a jet turns into, and decays as chains of two bodies.

Masses are those of the Review of Particle Physics, in GeV, without widths. A decay to more than
two is a chain through states of fixed mass: real ones, and the ones below 9910000, which stand
for a pair or a cluster. Branching fractions are rounded, those of charm and beauty are
inclusive models; each row is normalised.
"""

from __future__ import annotations

PAIR, NEUTRAL_PAIR, CHARM_W, BEAUTY_W, CLUSTER = 9900111, 9900112, 9900024, 9900025, 9900213

MASS: dict[int, float] = {
    22: 0.0, 11: 0.000511, 12: 0.0, 13: 0.10566, 14: 0.0,
    111: 0.13498, 211: 0.13957, 221: 0.54786, 331: 0.95778,
    113: 0.77526, 213: 0.77511, 223: 0.78266, 333: 1.01946, 20213: 1.23,
    321: 0.49368, 130: 0.49761, 310: 0.49761, 323: 0.89167, 313: 0.89555,
    2212: 0.93827, 2112: 0.93957, 3122: 1.11568,
    411: 1.86966, 421: 1.86484, 431: 1.96835, 413: 2.01026, 423: 2.00685, 433: 2.1122,
    4122: 2.28646, 511: 5.27966, 521: 5.27934, 531: 5.36692,
    513: 5.32471, 523: 5.32471, 533: 5.4154, 5122: 5.6196,
    PAIR: 0.34, NEUTRAL_PAIR: 0.32, CHARM_W: 0.8, BEAUTY_W: 2.2, CLUSTER: 2.4,
}  # fmt: skip

#: Charge in units of e, of those that have one.
CHARGE: dict[int, int] = {
    11: -1, 13: -1, 211: 1, 213: 1, 20213: 1, 321: 1, 323: 1, 2212: 1, 411: 1, 413: 1, 431: 1,
    433: 1, 4122: 1, 521: 1, 523: 1, CHARM_W: 1, BEAUTY_W: 1, CLUSTER: 1,
}  # fmt: skip

#: Their own antiparticles.
NEUTRAL = frozenset({22, 111, 221, 331, 113, 223, 333, 130, 310, PAIR, NEUTRAL_PAIR})

Channels = list[tuple[float, int, int]]

DECAYS: dict[int, Channels] = {
    111: [(1, 22, 22)],
    PAIR: [(1, 211, -211)],
    NEUTRAL_PAIR: [(1, 111, 111)],
    221: [(0.394, 22, 22), (0.327, 111, NEUTRAL_PAIR), (0.230, 111, PAIR), (0.049, 22, PAIR)],
    331: [
        (0.426, 221, PAIR), (0.228, 221, NEUTRAL_PAIR), (0.289, 22, 113), (0.026, 22, 223),
        (0.022, 22, 22),
    ],
    113: [(1, 211, -211)],
    213: [(1, 211, 111)],
    223: [(0.892, 111, PAIR), (0.083, 22, 111), (0.015, 211, -211)],
    333: [
        (0.492, 321, -321), (0.340, 130, 310), (0.051, 213, -211), (0.051, -213, 211),
        (0.051, 113, 111), (0.013, 221, 22),
    ],
    323: [(0.667, 311, 211), (0.333, 321, 111)],
    313: [(0.667, 321, -211), (0.333, 311, 111)],
    20213: [(0.5, 113, 211), (0.5, 213, 111)],
    310: [(0.692, 211, -211), (0.307, 111, 111)],
    3122: [(0.639, 2212, -211), (0.358, 2112, 111)],
    413: [(0.677, 421, 211), (0.307, 411, 111), (0.016, 411, 22)],
    423: [(0.647, 421, 111), (0.353, 421, 22)],
    433: [(1, 431, 22)],
    411: [
        (0.30, -313, 213), (0.17, -311, 213), (0.08, -311, 211), (0.17, -311, 20213),
        (0.15, -311, CHARM_W), (0.13, -313, CHARM_W),
    ],
    421: [
        (0.22, -321, 213), (0.12, -323, 213), (0.10, -313, 113), (0.18, -321, 20213),
        (0.10, -311, 223), (0.08, -311, 113), (0.06, -321, 211), (0.09, -321, CHARM_W),
        (0.05, -323, CHARM_W),
    ],
    431: [
        (0.27, 333, 213), (0.25, 221, 213), (0.20, 331, 213), (0.16, 323, -311),
        (0.12, 333, CHARM_W),
    ],
    4122: [(0.45, 3122, 213), (0.25, 2212, -313), (0.20, 2212, -311), (0.10, 3122, CHARM_W)],
    513: [(1, 511, 22)],
    523: [(1, 521, 22)],
    533: [(1, 531, 22)],
    511: [
        (0.22, -413, BEAUTY_W), (0.15, -413, 213), (0.25, -413, 20213), (0.23, -411, CLUSTER),
        (0.15, -413, 431),
    ],
    521: [
        (0.22, -423, BEAUTY_W), (0.15, -423, 213), (0.25, -423, 20213), (0.23, -421, CLUSTER),
        (0.15, -423, 431),
    ],
    531: [
        (0.22, -431, BEAUTY_W), (0.15, -433, 213), (0.25, -433, 20213), (0.23, -431, CLUSTER),
        (0.15, -433, 431),
    ],
    5122: [
        (0.20, 4122, -BEAUTY_W), (0.20, 4122, -213), (0.30, 4122, -20213),
        (0.30, 4122, -CLUSTER),
    ],
    CHARM_W: [(0.5, -11, 12), (0.5, -13, 14)],
    BEAUTY_W: [(0.5, -11, 12), (0.5, -13, 14)],
    CLUSTER: [(0.5, 20213, 113), (0.25, 20213, 223), (0.25, 213, 221)],
}  # fmt: skip

#: Codes of what is left at the end of a jet: quarks 1 to 5, 6 for an antidiquark, which has the
#: colour of a quark; negative for the opposite. A gluon, 0, begins as a light quark.
ANTIDIQUARK, OF_GLUON = 6, 0
STRANGE, DIQUARK = 0.217, 0.081
#: Shares of vector mesons by the heavier flavour: 1/(1 + PS/V) of Pythia's defaults.
VECTOR = {1: 0.5 / 1.5, 2: 0.5 / 1.5, 3: 0.55 / 1.55, 4: 0.88 / 1.88, 5: 2.2 / 3.2}
#: Shares of flavourless mesons; η and η' are suppressed by 0.6 and 0.12.
LIGHT_SCALARS = {111: 0.5, 221: 0.25 * 0.6, 331: 0.25 * 0.12}
STRANGE_SCALARS = {221: 0.5 * 0.6, 331: 0.5 * 0.12}
BARYONS = {1: 2112, 2: 2212, 3: 3122, 4: 4122, 5: 5122}

Outcome = tuple[float, int, int]


def conjugate(particle: int) -> int:
    """The antiparticle.

    >>> conjugate(211), conjugate(111)
    (-211, 111)
    """
    return particle if abs(particle) in NEUTRAL else -particle


def charge(particle: int) -> int:
    """In units of e."""
    sign = 1 if particle > 0 else -1
    return sign * CHARGE.get(abs(particle), 0)


def channels(particle: int) -> Channels:
    """The decays of a particle, with K⁰ resolved into K_S and K_L; empty where it is stable.

    >>> channels(-323)[0]
    (0.3335, 310, -211)
    """
    of_particle = DECAYS.get(abs(particle), [])
    sign_is_kept = particle > 0 or conjugate(particle) == particle
    signed = [
        (p, *((a, b) if sign_is_kept else (conjugate(a), conjugate(b)))) for p, a, b in of_particle
    ]
    return [one for p, a, b in signed for one in _resolved(p, a, b)]


def _resolved(probability: float, first: int, second: int) -> Channels:
    return [
        (p * q * probability, a, b) for p, a in _kaons(1.0, first) for q, b in _kaons(1.0, second)
    ]


def outcomes(code: int) -> list[Outcome]:
    """What comes off a jet with this end: (probability, hadron, the code that is left)."""
    if code == OF_GLUON:
        return [
            (0.5 * p * q, hadron, left)
            for p, f in _light() for sign in (1, -1) for q, hadron, left in outcomes(sign * f)
        ]  # fmt: skip
    if code < 0:
        return [(p, conjugate(hadron), -left) for p, hadron, left in outcomes(-code)]
    if code == ANTIDIQUARK:
        return [(p, -BARYONS[f], f) for p, f in _light()]
    baryon = DIQUARK / (1 + DIQUARK)
    mesons = [
        ((1 - baryon) * p * q, hadron, f) for p, f in _light() for q, hadron in _mesons(code, f)
    ]
    return [*mesons, (baryon, BARYONS[code], ANTIDIQUARK)]


def _light() -> list[tuple[float, int]]:
    total = 2 + STRANGE
    return [(1 / total, 1), (1 / total, 2), (STRANGE / total, 3)]


def _mesons(quark: int, anti: int) -> list[tuple[float, int]]:
    """Mesons of a quark and an antiquark, with their shares."""
    vector = VECTOR[max(quark, anti)]
    if quark == anti:
        scalars = STRANGE_SCALARS if quark == 3 else LIGHT_SCALARS
        vectors = {333: 1.0} if quark == 3 else {113: 0.5, 223: 0.5}
        total = sum(scalars.values())
        found = [((1 - vector) * w / total, m) for m, w in scalars.items()]
        return found + [(vector * w, m) for m, w in vectors.items()]
    # The digits of a meson: the heavier flavour, the lighter, 1 or 3; the sign is that of an
    # up-type quark or a down-type antiquark in the heavier place.
    heavy, light = max(quark, anti), min(quark, anti)
    heavy_is_quark = heavy == quark
    sign = 1 if heavy_is_quark == (heavy % 2 == 0) else -1
    scalar, excited = (sign * (100 * heavy + 10 * light + spin) for spin in (1, 3))
    return [(w, m) for s, m in ((1 - vector, scalar), (vector, excited)) for w, m in _kaons(s, m)]


def _kaons(share: float, meson: int) -> list[tuple[float, int]]:
    """A K⁰ is half a K_S, half a K_L."""
    if abs(meson) != 311:
        return [(share, meson)]
    return [(0.5 * share, 310), (0.5 * share, 130)]
