"""A sampler in one to eight steps, learned from a diffusion that takes many.

The probability flow of a trained diffusion, the teacher, is a map from noise to events. The
student learns that map in k pieces, between k noise levels at equal steps of the angle φ and
φ = 0: the teacher solves the flow once for many noises, and the student's velocity v at level φ_i
is fitted so that the turn

    x_{i+1} = cos(φ_{i+1} − φ_i) x_i + sin(φ_{i+1} − φ_i) v(x_i, φ_i)

ends where the teacher does. The turn is the DDIM step, so this is the student of progressive
distillation (Salimans and Ho, arXiv:2202.00512) without its halvings: in few dimensions the whole
flow is cheap to solve, and no error of one student is handed to the next. For k = 1 it is the
regression of Luhman and Luhman (arXiv:2101.02388).

The student has no density. Its map is not known to be invertible, and the density of its teacher
is not that of its samples: :meth:`Distilled.log_prob` refuses, and says whom to ask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import SurrogateError, TrainingError
from hepgen.nn.device import choose, trained_on
from hepgen.nn.rows import Table
from hepgen.nn.train import train
from hepgen.results import TrainingCurve
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality
from hepgen.surrogates.diffusion import bound
from hepgen.surrogates.diffusion.log_snr import LogSNR
from hepgen.surrogates.diffusion.model import Diffusion
from hepgen.surrogates.diffusion.networks import network as build_network
from hepgen.surrogates.diffusion.prediction import Velocity
from hepgen.surrogates.diffusion.samplers import denoised, flow
from hepgen.surrogates.diffusion.whitening import Whitening
from hepgen.surrogates.families import build, family
from hepgen.surrogates.surrogate import Surrogate, unfinished

_CHUNK = 2**14


class Distilled(ConditionalDensity):
    """A student of a diffusion; made by :func:`distil`.

    Arguments:
        features: d.
        context: C.
        steps: k.
        network, hidden, blocks, architecture, whiten: As of the teacher.
        high: γ₁ of the teacher, where it starts.

    >>> student = Distilled(2, 0, steps=1, hidden=8, blocks=1)
    >>> student.generate(torch.ones(3, 2), torch.zeros(3, 0)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        features: int,
        context: int,
        steps: int = 4,
        network: str = "mlp",
        hidden: int = 128,
        blocks: int = 3,
        high: float = 10.0,
        architecture: Mapping[str, Any] | None = None,
        whiten: bool = True,
    ) -> None:
        super().__init__(features, context)
        if steps < 1:
            raise SurrogateError(f"steps = {steps}: expected one at least")
        self._options = {
            "steps": steps, "network": network, "hidden": hidden, "blocks": blocks, "high": high,
            "architecture": dict(architecture or {}), "whiten": whiten,
        }  # fmt: skip
        self.angles = [math.atan(math.exp(high / 2)) * (1 - i / steps) for i in range(steps + 1)]
        self.whitening = Whitening(features, on=whiten)
        self.network = build_network(
            network, features, context, features, hidden=hidden, blocks=blocks,
            **(architecture or {}),
        )  # fmt: skip

    @property
    def options(self) -> dict[str, Any]:
        """What rebuilds it."""
        return self._options

    @property
    def quality(self) -> Quality:
        """It has no density."""
        return Quality("none", "distilled; the density is its teacher's")

    @property
    def levels(self) -> list[float]:
        """γ of its k levels, falling."""
        return [2 * math.log(math.tan(angle)) for angle in self.angles[:-1]]

    def prepare(self, u: Tensor, context: Tensor) -> None:  # noqa: ARG002
        """Measure the mean and covariance of the events."""
        self.whitening.measure(u)

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        """‖v − v̂‖² at its levels, shape ``(B,)``: what a student without a teacher would learn."""
        x0 = self.whitening.forward(u)
        i = torch.randint(len(self.levels), (len(u),), device=u.device)
        gamma = torch.tensor(self.levels).to(u)[i]
        return bound.velocity_error(self._velocity(context), x0, torch.randn_like(x0), gamma)

    def imitation(self, path: Tensor, context: Tensor) -> Tensor:
        """The squared distance from a teacher's path after one step of it, shape ``(B,)``.

        Arguments:
            path: The points at the levels, and at no noise: shape ``(B, k + 1, d)``.
            context: Shape ``(B, C)``.
        """
        i = torch.randint(len(self.levels), (len(path),), device=path.device)
        rows = torch.arange(len(path), device=path.device)
        gamma = torch.tensor(self.levels).to(path)[i]
        turn = torch.tensor([b - a for a, b in pairwise(self.angles)]).to(path)[i]
        x = path[rows, i]
        arrived = _turned(x, self._velocity(context)(x, gamma), turn[:, None])
        return (arrived - path[rows, i + 1]).square().sum(-1)

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """Events in k steps, shape ``(B, d)``."""
        x, velocity = noise, self._velocity(context)
        for gamma, (before, after) in zip(self.levels, pairwise(self.angles), strict=True):
            turn = torch.full_like(x[:, :1], after - before)
            x = _turned(x, velocity(x, torch.full_like(x[:, 0], gamma)), turn)
        return self.whitening.inverse(x)

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:  # noqa: ARG002
        """It has none.

        Raises:
            SurrogateError: Always.
        """
        raise SurrogateError(
            "a distilled sampler has no density: ask the diffusion from which it was distilled"
        )

    def _velocity(self, context: Tensor) -> Velocity:
        return lambda x, gamma: self.network(x, gamma, context)


def distil(
    surrogate: Surrogate,
    steps: int = 4,
    *,
    events: int = 50_000,
    context: Tensor | None = None,
    teacher_steps: int = 0,
    seed: int = 0,
    device: str = "auto",
    rescue: Path | None = None,
    **training: Any,
) -> Surrogate:
    """A surrogate that samples in ``steps`` evaluations of a network, from one that takes many.

    Arguments:
        surrogate: A trained diffusion.
        steps: 1 to 8, say.
        events: How many paths of the teacher it learns from.
        context: Contexts of these, physical, shape ``(M, C)``, drawn with replacement; by
            default uniform over the domain of the surrogate.
        teacher_steps: Of Heun's rule along a path, in all; by default what the teacher samples
            with, and two for each step of the student at least.
        seed: Of noise, contexts and training.
        device: Where to train.
        rescue: Where to save the last good state of a training that fails.
        training: Settings, progress and checkpoint of :func:`hepgen.nn.train.train`; by default
            the family's.

    Raises:
        SurrogateError: The surrogate is not a diffusion.
        TrainingError: The loss became NaN or infinite; see ``rescue``.
    """
    teacher = surrogate.model
    if not isinstance(teacher, Diffusion):
        raise SurrogateError(
            f"a surrogate of {type(teacher).__name__} cannot be distilled; expected one of the "
            "family 'diffusion' over plain continuous variables"
        )
    same = ("network", "hidden", "blocks", "architecture", "whiten")
    options = {name: teacher.options[name] for name in same} | {"high": _ends(teacher)[1]}
    model = build("distilled", teacher.features, teacher.context, {"steps": steps, **options}, seed)
    assert isinstance(model, Distilled)
    model.whitening.load_state_dict(teacher.whitening.state_dict())
    _inherit(model, teacher)
    c = _contexts(surrogate, events, context, seed)
    learned = paths(teacher, model, c, teacher_steps or teacher.steps, seed)

    def made(curve: TrainingCurve) -> Surrogate:
        return Surrogate(
            model, "distilled", surrogate.features, surrogate.inputs, surrogate.domain, curve,
            {**surrogate.manifest, "teacher": teacher.options},
        )  # fmt: skip

    try:
        with trained_on(model, choose(device)):
            curve = train(
                model, lambda batch: model.imitation(*batch), Table(learned, c), seed=seed,
                **{**family("distilled").training, **training},
            )  # fmt: skip
    except TrainingError as error:
        u = model.whitening.inverse(learned[:, -1])
        parts = (surrogate.features, u), (surrogate.inputs, c)
        raise unfinished(error, made, rescue, *parts) from error
    return made(curve)


@torch.no_grad()
def paths(teacher: Diffusion, student: Distilled, context: Tensor, steps: int, seed: int) -> Tensor:
    """The teacher's flow at the student's levels, and at no noise: shape ``(B, k + 1, d)``."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(context), teacher.features, generator=generator)
    each = max(2, math.ceil(steps / len(student.levels)))
    parts = zip(torch.split(noise, _CHUNK), torch.split(context, _CHUNK), strict=True)
    return torch.cat([_path(teacher, student, x, c, each) for x, c in parts])


def _path(teacher: Diffusion, student: Distilled, x: Tensor, c: Tensor, steps: int) -> Tensor:
    """Heun's rule, with ``steps`` in each piece, down to γ₀, and the last denoising."""
    velocity, points = teacher.velocity(c), [x]
    for high, low in pairwise([*student.levels, _ends(teacher)[0]]):
        piece = LogSNR(teacher.options["solver"], low, high).nodes(steps + 1, x)
        points.append(flow(velocity, points[-1], piece))
    points[-1] = denoised(velocity, points[-1], piece)
    return torch.stack(points, 1)


def _ends(teacher: Diffusion) -> tuple[float, float]:
    """γ₀ and γ₁: where they were trained, too, no longer those of the options."""
    if teacher.schedule.ends is None:
        return teacher.options["low"], teacher.options["high"]
    return teacher.schedule.low.item(), teacher.schedule.high.item()


def _turned(x: Tensor, v: Tensor, turn: Tensor) -> Tensor:
    return torch.cos(turn) * x + torch.sin(turn) * v


def _inherit(student: Distilled, teacher: Diffusion) -> None:
    """Begin with the teacher's network, where it predicts the same from the same."""
    weights = teacher.network.state_dict()
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    same = shapes == {name: tensor.shape for name, tensor in student.network.state_dict().items()}
    if same and teacher.prediction == "v":
        student.network.load_state_dict(weights)


def _contexts(surrogate: Surrogate, n: int, context: Tensor | None, seed: int) -> Tensor:
    """Contexts as the model takes them, shape ``(n, C)``."""
    generator = torch.Generator().manual_seed(seed + 1)
    low, high = (
        torch.tensor(ends).double() for ends in (surrogate.domain.low, surrogate.domain.high)
    )
    if surrogate.inputs is None:
        return torch.zeros(n, 0)
    if context is None:
        uniform = torch.rand(n, len(low), generator=generator, dtype=torch.float64)
        context = torch.lerp(low, high, uniform)
    else:
        surrogate.domain.check(context)
        context = context[torch.randint(len(context), (n,), generator=generator)]
    return surrogate.inputs.forward(context).float()
