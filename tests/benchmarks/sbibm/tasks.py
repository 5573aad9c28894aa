"""Seven tasks of the benchmark suite of simulation-based inference (Lueckmann et al.,
arXiv:2101.04653, appendix T), and their published observations and reference posteriors.

The priors and simulators are written from the paper. What they need of the suite's files (the
stimulus of the GLM, the observations, the true parameters, the reference samples) is read from
the wheel ``sbibm`` 1.1.0, which is not installed:

    pip download --no-deps sbibm==1.1.0 -d FOLDER
"""

from __future__ import annotations

import bz2
import io
import math
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from hepgen.features import Feature
from hepgen.parameters import Normal, Parameter, ParameterSet, Prior, Uniform

OBSERVATIONS = 10


class Wheel:
    """The files of the suite, read from its wheel.

    Arguments:
        path: The wheel, or the folder it is in.
    """

    def __init__(self, path: Path) -> None:
        found = sorted(path.glob("sbibm-1.1.0-*.whl")) if path.is_dir() else [path]
        if not found or not found[0].is_file():
            raise SystemExit(
                f"no wheel of sbibm 1.1.0 at {path}; get it by "
                f"'pip download --no-deps sbibm==1.1.0 -d {path}'"
            )
        self.archive = zipfile.ZipFile(found[0])

    def table(self, task: str, observation: int, name: str) -> Tensor:
        """A file of one observation, from 1 to 10, shape ``(rows, columns)``."""
        path = f"sbibm/tasks/{task}/files/num_observation_{observation}/{name}"
        data = self.archive.read(path)
        text = bz2.decompress(data) if name.endswith(".bz2") else data
        rows = np.loadtxt(io.BytesIO(text), delimiter=",", skiprows=1, ndmin=2)
        return torch.from_numpy(rows)

    def tensor(self, path: str) -> Tensor:
        """A tensor that the suite saved."""
        data = io.BytesIO(self.archive.read(f"sbibm/tasks/{path}"))
        loaded: Tensor = torch.load(data, weights_only=True)
        return loaded.double()


class Task(ABC):
    """A prior, a simulator, and ten observations.

    hepgen's parameters have independent uniform or Gaussian priors. Where the suite's prior is
    another, :meth:`published` maps them to its parameters.
    """

    name: str
    data: int
    kind: str = "continuous"

    def __init__(self, wheel: Wheel | None = None) -> None:
        self.wheel = wheel

    @property
    @abstractmethod
    def priors(self) -> list[Prior]:
        """One a parameter."""

    @abstractmethod
    def simulate(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        """x at each θ, shape ``(N, d)``."""

    @property
    def parameters(self) -> ParameterSet:
        """As hepgen has them."""
        return ParameterSet(
            [
                Parameter(f"theta_{i + 1}", 0.0, role="interest", prior=prior)
                for i, prior in enumerate(self.priors)
            ]
        )

    @property
    def features(self) -> tuple[Feature, ...]:
        """The columns of x."""
        return tuple(Feature(f"x_{i + 1}", kind=self.kind) for i in range(self.data))  # type: ignore[arg-type]

    def published(self, theta: Tensor) -> Tensor:
        """hepgen's parameters as the suite's."""
        return theta

    def observed(self, number: int) -> Tensor:
        """x of observation 1 to 10, shape ``(1, d)``."""
        return self._files.table(self.name, number, "observation.csv")

    def true_parameters(self, number: int) -> Tensor:
        """The suite's θ that made it, shape ``(1, D)``."""
        return self._files.table(self.name, number, "true_parameters.csv")

    def reference(self, number: int) -> Tensor:
        """10,000 draws from its posterior, shape ``(10000, D)``."""
        return self._files.table(self.name, number, "reference_posterior_samples.csv.bz2")

    @property
    def _files(self) -> Wheel:
        if self.wheel is None:
            raise SystemExit(f"task {self.name} needs the wheel of sbibm")
        return self.wheel


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


class TwoMoons(Task):
    """A crescent of radius 0.1 at (−|θ₁ + θ₂|, θ₂ − θ₁)/√2 + (0.25, 0)."""

    name, data = "two_moons", 2

    @property
    def priors(self) -> list[Prior]:
        return [Uniform(-1.0, 1.0)] * 2

    def simulate(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        a = math.pi * (torch.rand(len(theta), generator=generator, dtype=torch.float64) - 0.5)
        r = 0.1 + 0.01 * _normal((len(theta),), generator)
        x = r * a.cos() + 0.25 - theta.sum(-1).abs() / math.sqrt(2)
        y = r * a.sin() + (theta[:, 1] - theta[:, 0]) / math.sqrt(2)
        return torch.stack([x, y], -1)


class GaussianMixture(Task):
    """x ~ ½ N(θ, 1) + ½ N(θ, 0.1²) in two dimensions."""

    name, data = "gaussian_mixture", 2

    @property
    def priors(self) -> list[Prior]:
        return [Uniform(-10.0, 10.0)] * 2

    def simulate(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        narrow = torch.rand(len(theta), 1, generator=generator) < 0.5
        return theta + torch.where(narrow, 0.1, 1.0) * _normal((len(theta), 2), generator)


class GaussianLinear(Task):
    """x ~ N(θ, 0.1) with θ ~ N(0, 0.1), variances both, in ten dimensions."""

    name, data = "gaussian_linear", 10

    @property
    def priors(self) -> list[Prior]:
        return [Normal(0.0, math.sqrt(0.1))] * 10

    def simulate(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        return theta + math.sqrt(0.1) * _normal((len(theta), 10), generator)


class GaussianLinearUniform(GaussianLinear):
    """The same with θ ~ U(−1, 1)."""

    name = "gaussian_linear_uniform"

    @property
    def priors(self) -> list[Prior]:
        return [Uniform(-1.0, 1.0)] * 10


class SLCP(Task):
    """Four draws from a Gaussian in two dimensions, with standard deviations θ₃² and θ₄²."""

    name, data = "slcp", 8

    @property
    def priors(self) -> list[Prior]:
        return [Uniform(-3.0, 3.0)] * 5

    def simulate(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        z = _normal((len(theta), 4, 2), generator)
        m1, m2, s1, s2, rho = (column[:, None] for column in theta.unbind(-1))
        s1, s2, rho = s1.square(), s2.square(), rho.tanh()
        # 1e-6 is added to the variances.
        a = (s1.square() + 1e-6).sqrt()
        b = rho * s1 * s2 / a
        c = (s2.square() + 1e-6 - b.square()).sqrt()
        x = torch.stack([m1 + a * z[..., 0], m2 + b * z[..., 0] + c * z[..., 1]], -1)
        return x.reshape(len(theta), 8)


class BernoulliGLM(Task):
    """Sufficient statistics of 100 spikes or none, with log-odds linear in θ.

    The prior is N(0, P⁻¹) with P = RRᵀ, so that θ = R⁻ᵀη with η ~ N(0, 1).
    """

    name, data = "bernoulli_glm", 10

    def __init__(self, wheel: Wheel | None = None) -> None:
        super().__init__(wheel)
        self.stimulus = self._files.tensor("bernoulli_glm/files/stimulus_I.pt").flatten()
        self.design = self._files.tensor("bernoulli_glm/files/design_matrix.pt")
        differences = torch.eye(9, dtype=torch.float64) - torch.eye(9, dtype=torch.float64).roll(
            1, 0
        ).tril(-1)
        smooth = differences @ differences + (torch.arange(9) / 9).sqrt().diag()
        precision = torch.zeros(10, 10, dtype=torch.float64)
        precision[0, 0], precision[1:, 1:] = 0.5, smooth.T @ smooth
        self.factor = torch.linalg.cholesky(precision)

    @property
    def priors(self) -> list[Prior]:
        return [Normal(0.0, 1.0)] * 10

    @property
    def features(self) -> tuple[Feature, ...]:
        return (Feature("x_1", kind="discrete"), *super().features[1:])

    def published(self, theta: Tensor) -> Tensor:
        solved: Tensor = torch.linalg.solve_triangular(self.factor.T, theta.T, upper=True)
        return solved.T

    def simulate(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        odds = self.published(theta) @ self.design.T
        chance = torch.rand(odds.shape, generator=generator, dtype=torch.float64)
        spikes = (chance < odds.sigmoid()).double()
        triggered = torch.nn.functional.conv1d(
            spikes[:, None], self.stimulus[None, None], padding=8
        )[:, 0, -9:]
        return torch.cat([spikes.sum(-1, keepdim=True), triggered], -1)


class SIR(Task):
    """Infected people among 1,000 on ten days of an epidemic among 10⁶: rates β and γ.

    hepgen's parameters are the logarithms of β ~ LogNormal(log 0.4, 0.5) and
    γ ~ LogNormal(log 0.125, 0.2).
    """

    name, data, kind = "sir", 10, "discrete"

    @property
    def priors(self) -> list[Prior]:
        return [Normal(math.log(0.4), 0.5), Normal(math.log(0.125), 0.2)]

    def published(self, theta: Tensor) -> Tensor:
        return theta.exp()

    def simulate(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**62, (), generator=generator))
        infected = self.infected(theta.exp().numpy())
        counts = np.random.default_rng(seed).binomial(1000, infected.clip(0, 1))
        return torch.from_numpy(counts).double()

    @staticmethod
    def infected(rates: np.ndarray, together: int = 250) -> np.ndarray:
        """The fraction of infected people on days 0, 17, …, 153, shape ``(N, 10)``.

        ``together`` points are one system of equations, with the steps of the stiffest.
        """
        parts = []
        for part in np.array_split(rates, max(1, len(rates) // together)):
            beta, gamma = part.T

            def slope(_: float, y: np.ndarray, beta=beta, gamma=gamma) -> np.ndarray:  # type: ignore[no-untyped-def]
                susceptible, infected = y.reshape(2, -1)
                flow = beta * susceptible * infected
                return np.concatenate([-flow, flow - gamma * infected])

            start = np.repeat([1 - 1e-6, 1e-6], len(part))
            solution = solve_ivp(
                slope, (0, 160), start, t_eval=np.arange(0, 160, 17), rtol=1e-6, atol=1e-10
            )
            parts.append(solution.y[len(part) :])
        return np.concatenate(parts)


TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        TwoMoons,
        GaussianMixture,
        GaussianLinear,
        GaussianLinearUniform,
        BernoulliGLM,
        SLCP,
        SIR,
    )
}
