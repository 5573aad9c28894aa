"""Boosts and directions: invariants, inverse, unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from hepgen.simulators.kinematics import FourVector, ThreeVector, around, boost_from_rest


def draw(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, generator=generator, dtype=torch.float64)


def momentum(mass: Tensor, seed: int) -> FourVector:
    x, y, z = (5 * draw(len(mass), seed + i) for i in range(3))
    return (mass.square() + x**2 + y**2 + z**2).sqrt(), x, y, z


def product(a: FourVector, b: FourVector) -> Tensor:
    return a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3]


MASS = draw(200, 1).abs() + 0.5


def test_a_boost_keeps_products() -> None:
    frame, a, b = momentum(MASS, 10), momentum(MASS * 0.1, 20), momentum(MASS * 0.7, 30)

    boosted = product(boost_from_rest(a, frame, MASS), boost_from_rest(b, frame, MASS))

    torch.testing.assert_close(boosted, product(a, b), rtol=1e-10, atol=1e-9)


def test_what_rests_takes_the_momentum_of_the_frame() -> None:
    frame, zero = momentum(MASS, 10), torch.zeros_like(MASS)

    boosted = boost_from_rest((MASS, zero, zero, zero), frame, MASS)

    for component, expected in zip(boosted, frame, strict=True):
        torch.testing.assert_close(component, expected)


def test_the_opposite_frame_undoes_a_boost() -> None:
    frame, a = momentum(MASS, 10), momentum(MASS * 0.3, 20)
    opposite = (frame[0], -frame[1], -frame[2], -frame[3])

    back = boost_from_rest(boost_from_rest(a, frame, MASS), opposite, MASS)

    for component, expected in zip(back, a, strict=True):
        torch.testing.assert_close(component, expected, rtol=1e-9, atol=1e-9)


def directions(n: int) -> ThreeVector:
    """Random axes, and the six along the coordinate axes: no direction is special."""
    vectors = torch.cat(
        [torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64),
         torch.stack([draw(n, i) for i in (1, 2, 3)], dim=-1)]
    )  # fmt: skip
    x, y, z = (vectors / vectors.norm(dim=-1, keepdim=True)).unbind(-1)
    return x, y, z


def dot(a: ThreeVector, b: ThreeVector) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def test_around_is_a_unit_vector_at_the_angle() -> None:
    axis = directions(100)
    cosine = torch.linspace(-1, 1, 106, dtype=torch.float64)
    direction = around(axis, cosine, 3 * draw(106, 9))

    torch.testing.assert_close(dot(direction, direction), torch.ones_like(cosine))
    torch.testing.assert_close(dot(direction, axis), cosine)


def test_azimuth_turns_around_the_axis() -> None:
    """Directions at azimuths a and b, both at 90° to the axis, are b − a apart."""
    axis = directions(100)
    zero = torch.zeros(106, dtype=torch.float64)
    a, b = 3 * draw(106, 4), 3 * draw(106, 5)

    between = dot(around(axis, zero, a), around(axis, zero, b))

    torch.testing.assert_close(between, torch.cos(b - a))
