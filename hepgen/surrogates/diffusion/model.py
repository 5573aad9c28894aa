"""Diffusion as a family: the denoising network, its training, its samplers and its densities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hepgen.errors import SurrogateError, nearest
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality
from hepgen.surrogates.diffusion import bound, probability_flow, samplers
from hepgen.surrogates.diffusion.guidance import dropped, flagged, guided
from hepgen.surrogates.diffusion.log_snr import LogSNR
from hepgen.surrogates.diffusion.networks import network as build_network
from hepgen.surrogates.diffusion.prediction import PREDICTIONS, Velocity, velocity, view
from hepgen.surrogates.diffusion.process import VARIANCES, LogVariance, diffuse, fixed, interpolated
from hepgen.surrogates.diffusion.whitening import Whitening

WEIGHTINGS = ("velocity", "bound", "simple", "min-snr")
_VARIANCE_WEIGHT = 1e-3


class Diffusion(ConditionalDensity):
    """p(u | c) as what remains of noise once a network has taken it away.

    Arguments:
        features: d.
        context: C.
        network: Its name, see :data:`hepgen.surrogates.diffusion.networks.NETWORKS`.
        hidden, blocks: Of the network.
        architecture: What else the network takes, e.g. the shape of an image.
        whiten: Whether events are brought to covariance 1 first, see
            :class:`hepgen.surrogates.diffusion.whitening.Whitening`; not so for sets, whose
            points it would mix.
        prediction: What the network predicts: ``v``, ``noise``, ``x0`` or ``score``.
        weighting: The loss: ``velocity``, ``simple``, ``min-snr``, see
            :func:`hepgen.surrogates.diffusion.bound.weight`, or the ``bound`` itself, in nats.
        schedule: The clock of the training's times, see
            :class:`hepgen.surrogates.diffusion.log_snr.LogSNR`.
        low, high: Its ends γ₀ and γ₁.
        learned_ends: Whether they are trained, by the bound.
        variance: Of the ancestral steps back: ``posterior``, ``beta`` or ``learned``.
        sampler, steps: See :data:`hepgen.surrogates.diffusion.samplers.SAMPLERS`.
        eta: Of the sampler ``ddim``: how much noise is fresh.
        solver: The clock of the levels of sampler and likelihood.
        likelihood_steps: Runge–Kutta steps of log p.
        probes: Random vectors for the trace; 0 takes it exactly, at d times the price.
        drop: The share of rows that are trained without their context.
        guidance: The scale w; only 1 has a density.

    >>> model = Diffusion(2, 1, hidden=8, blocks=1, likelihood_steps=4)
    >>> origin = torch.zeros(1, 2)
    >>> round(model.log_prob(origin, torch.zeros(1, 1)).value.item(), 4)  # untrained: N(0, 1)
    -1.8379
    """

    def __init__(
        self,
        features: int,
        context: int,
        network: str = "mlp",
        hidden: int = 128,
        blocks: int = 3,
        architecture: Mapping[str, Any] | None = None,
        whiten: bool = True,
        prediction: str = "v",
        weighting: str = "velocity",
        schedule: str = "cosine",
        low: float = -12.0,
        high: float = 10.0,
        learned_ends: bool = False,
        variance: str = "posterior",
        sampler: str = "heun",
        steps: int = 16,
        eta: float = 0.0,
        solver: str = "flow-matching",
        likelihood_steps: int = 16,
        probes: int = 0,
        drop: float = 0.0,
        guidance: float = 1.0,
    ) -> None:
        super().__init__(features, context)
        self._options = {
            "network": network, "hidden": hidden, "blocks": blocks,
            "architecture": dict(architecture or {}), "whiten": whiten, "prediction": prediction,
            "weighting": weighting, "schedule": schedule, "low": low, "high": high,
            "learned_ends": learned_ends, "variance": variance, "sampler": sampler,
            "steps": steps, "eta": eta, "solver": solver, "likelihood_steps": likelihood_steps,
            "probes": probes, "drop": drop, "guidance": guidance,
        }  # fmt: skip
        _check(self._options, context)
        self.prediction, self.weighting, self.variance = prediction, weighting, variance
        self.sampler, self.steps, self.eta = sampler, steps, eta
        self.likelihood_steps, self.probes = likelihood_steps, probes
        self.drop, self.guidance = drop, guidance
        self.schedule = LogSNR(schedule, low, high, learned_ends)
        self._solver, self._linear = LogSNR(solver, low, high), LogSNR("linear", low, high)
        self.whitening = Whitening(features, on=whiten)
        self.network: nn.Module = build_network(
            network, features, context + bool(drop), features * (1 + (variance == "learned")),
            hidden=hidden, blocks=blocks, **(architecture or {}),
        )  # fmt: skip
        self.noise = features * self._draws()

    @property
    def solver(self) -> LogSNR:
        """The schedule of the sampler and the likelihood; with ends that are learned, theirs."""
        return self._solver if self.schedule.ends is None else self.schedule

    @property
    def _even(self) -> LogSNR:
        # At little noise ‖ε − ε̂‖² = d whatever the model: equal steps of γ scatter the least.
        return self._linear if self.schedule.ends is None else self.schedule

    @property
    def options(self) -> dict[str, Any]:
        """What rebuilds it."""
        return self._options

    @property
    def quality(self) -> Quality:
        """An estimate, unless there is guidance."""
        if self.guidance != 1:
            return Quality("none", f"guidance {self.guidance:g} has no density")
        trace = f"{self.probes} probes of the trace" if self.probes else "exact trace"
        words = f"probability-flow ODE, {self.likelihood_steps} Runge-Kutta steps, {trace}"
        return Quality("estimate", words)

    def prepare(self, u: Tensor, context: Tensor) -> None:  # noqa: ARG002
        """Measure the mean and covariance of the events."""
        self.whitening.measure(u)

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        """A weighted error of the velocity, or the bound, in nats; shape ``(B,)``."""
        x0 = self.whitening.forward(u)
        noise, t = torch.randn_like(x0), bound.stratified(len(x0), x0)
        c = dropped(context, self.drop) if self.drop else context
        if self.weighting == "bound":
            terms = bound.continuous(self._velocity(c), x0, noise, t, self.schedule)
            total = terms.total + self.whitening.log_volume
        else:
            gamma = self.schedule(t)
            error = bound.velocity_error(self._velocity(c), x0, noise, gamma)
            total = bound.weight(self.weighting, gamma) * error
        if self.variance == "learned":
            total = total + _VARIANCE_WEIGHT * self._variance_loss(x0, noise, c)
        return total

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """Events by the chosen sampler, shape ``(B, d)``."""
        z = noise.reshape(noise.shape[0], -1, self.features)
        levels = self.levels(noise)
        guide = self.velocity(context)
        match self.sampler:
            case "ancestral":
                x0 = samplers.ancestral(guide, z, levels, self._log_variance(context))
            case "ddim":
                x0 = samplers.ddim(guide, z, levels, self.eta)
            case _:
                x0 = samplers.SAMPLERS[self.sampler].run(guide, z, levels)
        return self.whitening.inverse(x0)

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        """log p(u | c) along the probability flow, shape ``(B,)``, with its error.

        Differentiable in u and c, where they require a gradient, but not in the weights.
        """
        if self.guidance != 1:
            raise SurrogateError(
                f"guidance = {self.guidance:g} has no density; set it to 1 for log_prob"
            )
        # The graph of some hundred evaluations is kept only for who asks for a derivative.
        asked = torch.is_grad_enabled() and (u.requires_grad or context.requires_grad)
        with torch.set_grad_enabled(asked):
            x0 = self.whitening.forward(u)
            slope = self._slope(x0, context)
            value, error = probability_flow.log_prob(slope, x0, self.solver, self.likelihood_steps)
        return LogDensity(value - self.whitening.log_volume.double(), error, self.quality)

    def bound(self, u: Tensor, context: Tensor, draws: int = 1, steps: int = 0) -> bound.Bound:
        """The variational bound on −log p(u | c), term by term, in nats.

        Arguments:
            u: Shape ``(B, d)``.
            context: Shape ``(B, C)``.
            draws: How often noise is drawn for each event, in continuous time at times that
                are stratified; the terms are averages.
            steps: T noise levels below the first; 0 for continuous time.
        """
        x0 = self.whitening.forward(u).repeat(draws, 1)
        c = self._conditions(context).repeat(draws, 1)
        noise = torch.randn_like(x0)
        if steps:
            levels = self.solver.nodes(steps + 1, x0).flip(0)
            terms = bound.discrete(
                self._velocity(c), x0, noise, levels, self._log_variance(context.repeat(draws, 1))
            )
        else:
            # Of the times of one event, one is in each draws-th part of [0, 1].
            part = torch.arange(draws, device=x0.device).repeat_interleave(len(u))
            t = (part + torch.rand(len(u), device=x0.device).repeat(draws)) / draws
            terms = bound.continuous(self._velocity(c), x0, noise, t.to(x0), self._even)
        mean = (term.unflatten(0, (draws, len(u))).mean(0) for term in vars(terms).values())
        first, inner, last = mean
        return bound.Bound(first + self.whitening.log_volume, inner, last)

    def velocity(self, context: Tensor) -> Velocity:
        """v(x, γ) given the contexts ``(B, C)``, with guidance."""
        conditional = self._velocity(self._conditions(context))
        if self.guidance == 1:
            return conditional
        return guided(conditional, self._velocity(flagged(context, 0.0)), self.guidance)

    def levels(self, like: Tensor) -> Tensor:
        """The noise levels of the sampler, falling, shape ``(steps,)``."""
        return self.solver.nodes(self.steps, like)

    def _slope(self, x0: Tensor, context: Tensor) -> probability_flow.Slope:
        velocity = self.velocity(context)
        if self.probes:
            signs = probability_flow.rademacher(self.probes, x0)
            return probability_flow.along(velocity, signs, exact=False)
        if self._options["network"] == "mlp":
            return probability_flow.by_dual_numbers(velocity)
        return probability_flow.along(velocity, probability_flow.unit_vectors(x0), exact=True)

    def _conditions(self, context: Tensor) -> Tensor:
        return flagged(context, 1.0) if self.drop else context

    def _velocity(self, c: Tensor) -> Velocity:
        """v(x, γ), for contexts as the network takes them."""

        def predicted(x: Any, gamma: Tensor) -> Any:  # tensors, or dual numbers
            output = self.network(x, gamma, c)[:, : self.features]
            return velocity(self.prediction, output, x, gamma)

        return predicted

    def _log_variance(self, context: Tensor) -> LogVariance:
        if self.variance != "learned":
            return fixed(self.variance)
        c = self._conditions(context)
        return lambda x, s, t: interpolated(self._fraction(x, t, c), s, t)

    def _fraction(self, x: Tensor, gamma: Tensor, c: Tensor) -> Tensor:
        return torch.sigmoid(self.network(x, gamma, c)[:, self.features :])

    def _variance_loss(self, x0: Tensor, noise: Tensor, c: Tensor) -> Tensor:
        """The bound's sum over the steps, from one of them drawn at random, shape ``(B,)``."""
        levels = self.levels(x0)
        i = torch.randint(1, self.steps, (len(x0),), device=x0.device)
        s, t = levels[i], levels[i - 1]
        x = diffuse(x0, noise, t)
        predicted = view("x0", self._velocity(c)(x, t), x, t)
        fraction = self._fraction(x, t, c)
        return (self.steps - 1) * bound.learned_variance(fraction, x0, predicted, s, t)

    def _draws(self) -> int:
        if self.sampler == "ddim" and self.eta:
            return self.steps
        return samplers.SAMPLERS[self.sampler].draws(self.steps)


def _check(options: dict[str, Any], context: int) -> None:
    for name, values in (
        ("prediction", PREDICTIONS), ("weighting", WEIGHTINGS), ("variance", VARIANCES),
        ("sampler", tuple(samplers.SAMPLERS)),
    ):  # fmt: skip
        if options[name] not in values:
            raise SurrogateError(f"no {name} {options[name]!r}; {nearest(options[name], values)}")
    if options["learned_ends"] and options["weighting"] != "bound":
        raise SurrogateError("learned_ends: only the bound trains them; set weighting = 'bound'")
    if options["guidance"] != 1 and not (options["drop"] > 0 and context):
        raise SurrogateError(
            f"guidance = {options['guidance']:g}: it needs a context, and drop > 0 in training"
        )
    if options["steps"] < 1:
        raise SurrogateError(f"steps = {options['steps']}: expected one at least")
    if options["likelihood_steps"] % 2:
        raise SurrogateError(
            f"likelihood_steps = {options['likelihood_steps']}; expected an even number, of which "
            "half give the error"
        )
    if options["variance"] == "learned" and options["steps"] < 2:
        raise SurrogateError("variance = 'learned': it is of the steps but the last; expected two")
