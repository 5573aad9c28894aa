"""Linear-Gaussian chains for the contract tests."""

from __future__ import annotations

from hepgen.simulators.gaussian import GaussianLink, GaussianMeasurement, GaussianSource
from hepgen.simulators.linear_gaussian import LinearGaussian
from hepgen.simulators.processes.registry import process
from hepgen.simulators.stage import Stage
from tests.contracts.case import Case

POINT = {"theta_0": 0.7, "theta_1": -0.4, "noise_scale": 1.3}
MOVED = {"theta_0": 0.9, "theta_1": -0.5, "noise_scale": 1.35}
MODEL = LinearGaussian.standard(3, 2)


def case(scored: bool = True, **options: int) -> Case:
    chain = process("gaussian", **options)
    own = chain.parameters.names
    return Case(
        chain, {n: POINT[n] for n in own}, {n: MOVED[n] for n in own}, "z_1", "x_0",
        {"theta_0": (-1.5, 0.7, 3.0)}, scored, events=20_000, kinks=1e-6,
    )  # fmt: skip


CASES: dict[str, Case] = {
    "gaussian": case(),
    "gaussian, one latent": case(scored=False, depth=1, dimension=1, parameters=1),
    "gaussian, deep": case(depth=5, dimension=4),
}
#: Each stage, and those that must come before it.
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    "gaussian source": (GaussianSource(MODEL), ()),
    "gaussian link": (GaussianLink(MODEL, 2), (GaussianSource(MODEL),)),
    "gaussian measurement": (
        GaussianMeasurement(MODEL),
        (GaussianSource(MODEL), GaussianLink(MODEL, 2), GaussianLink(MODEL, 3)),
    ),
}
