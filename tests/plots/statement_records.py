"""Statements to draw, of known content."""

from __future__ import annotations

import math

import numpy as np

from hepgen.statements import (
    Breakdown,
    CoverageMap,
    Impact,
    Impacts,
    Interval,
    Limit,
    LimitScan,
    ProfileContour,
    ProfileScan,
)


def parabola(best: float = 91.05, error: float = 0.2, points: int = 81) -> ProfileScan:
    """A Gaussian likelihood, scanned over ± 3.5σ."""
    values = best + error * np.linspace(-3.5, 3.5, points)
    intervals = tuple(
        Interval("m_z", level, best, ((best - z * error, best + z * error),), "profile", unit="GeV")
        for level, z in ((0.68, 0.994458), (0.95, 1.959964))
    )
    return ProfileScan(
        "m_z", values, ((values - best) / error) ** 2, best, error, intervals, unit="GeV",
        label="$m_Z$",
    )  # fmt: skip


def ellipse(best: tuple[float, float] = (91.0, 0.001)) -> ProfileContour:
    """A Gaussian likelihood of two parameters with a correlation of −0.6."""
    errors, rho = np.array([0.2, 0.002]), -0.6
    covariance = np.outer(errors, errors) * np.array([[1, rho], [rho, 1]])
    x = best[0] + errors[0] * np.linspace(-5, 5, 101)
    y = best[1] + errors[1] * np.linspace(-5, 5, 91)
    away = np.stack(np.meshgrid(x - best[0], y - best[1], indexing="ij"), axis=-1)
    statistic = np.einsum("abi,ij,abj->ab", away, np.linalg.inv(covariance), away)
    return ProfileContour(
        ("m_z", "scale"), x, y, statistic, best, covariance, (0.68, 0.95), (2.2789, 5.9915),
        ("GeV", ""), ("$m_Z$", r"$\delta_\mathrm{s}$"),
    )  # fmt: skip


def impacts(count: int = 3) -> Impacts:
    """Nuisance parameters with impacts of 0.3, 0.15, 0.1, …; the last one is unconstrained."""
    ranking = []
    for i in range(count):
        free = i == count - 1
        size = 0.3 / (i + 1)
        ranking.append(
            Impact(
                f"nu_{i}", 0.5 * i, 0.8, math.nan if free else 0.0, math.nan if free else 1.0,
                (0.8 * size, -0.8 * size), (math.nan, math.nan) if free else (size, -size),
                label=rf"$\nu_{{{i}}}$",
            )
        )  # fmt: skip
    return Impacts("mu", 1.2, tuple(ranking), Breakdown(0.5, 0.4, 0.3), label=r"$\mu$")


def limit(at: float, scale: float = 1.0, observed: float = 1.1) -> Limit:
    """An expected limit of ``scale``."""
    expected = scale * np.array([0.5, 0.7, 1.0, 1.4, 2.0])
    return Limit("mu", 0.95, observed, expected, "CLs asymptotics", at=at, label=r"$\mu$")


def cls_scan() -> LimitScan:
    """CLs that falls exponentially: 0.05 at 3 for the data, at the expected limits for the rest."""
    values = np.linspace(0, 6, 31)
    ends = np.array([1.5, 2.0, 2.8, 3.9, 5.4])
    return LimitScan(
        Limit("mu", 0.95, 3.0, ends, "CLs toys", label=r"$\mu$"),
        values,
        0.05 ** (values / 3.0),
        0.05 ** (values[:, None] / ends),
        np.full(31, 0.01),
    )


def coverage(level: float, method: str, points: np.ndarray, off: float = 0.0) -> CoverageMap:
    """Coverage that is the same everywhere."""
    found = np.full(len(points), level + off)
    error = np.sqrt(found * (1 - found) / 1000)
    names = ("m_z", "scale")[: points.shape[1]]
    return CoverageMap(names, points, level, found, error, 1000, method)
