"""The density of a surrogate as the likelihood of event sets.

It answers as :class:`hepgen.inference.nle.NLE` does, so that posteriors, grids and Markov chains
work with any family whose density is exact, or good enough to be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from hepgen.errors import SurrogateError
from hepgen.inference.event_sets import EventSets, pad
from hepgen.parameters import ParameterSet
from hepgen.simulators.chain import stream
from hepgen.surrogates.surrogate import Surrogate

_PAIRS = 2**17
"""How many (event, θ) pairs are evaluated at once."""


class SurrogateLikelihood:
    r"""log L(θ) = Σ wᵢ log p(xᵢ | θ) under a surrogate.

    Outside of the surrogate's domain it is −∞: the posterior is confined to where the surrogate
    was trained. A density that is a bound or an estimate is used as it is, with the same random
    numbers for every θ.

    Arguments:
        surrogate: Its context columns are parameters, and all free ones are among them.
        parameters: The free ones make θ; the others stand at their defaults.
        seed: Of what a Monte Carlo estimate of the density draws.

    Raises:
        SurrogateError: It has no density, or is conditional on something else.
    """

    def __init__(self, surrogate: Surrogate, parameters: ParameterSet, seed: int = 0) -> None:
        names = surrogate.domain.names
        if surrogate.quality.kind == "none":
            raise SurrogateError(
                f"the {surrogate.method} surrogate has no density, so there is no likelihood of "
                "it; train a family that has one, e.g. flow"
            )
        missing = [name for name in parameters.free_names if name not in names]
        unknown = [name for name in names if name not in parameters.names]
        if missing or unknown:
            raise SurrogateError(
                f"a surrogate given {', '.join(names) or 'nothing'}, for a likelihood of "
                f"{', '.join(parameters.free_names)}: expected all of the latter among the former, "
                f"and parameters only; at odds are {', '.join(missing + unknown)}"
            )
        self.surrogate, self.parameters, self.seed = surrogate, parameters, seed

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """log p(xᵢ | θₖ), shape ``(N, K)``, for x ``(N, d)`` and θ ``(K, D)``."""
        sets = self.encode([x], [None])
        constant = self._log_jacobian(x, sets.events[0])
        return self._pairs(sets.events, theta[None])[0] + constant[:, None]

    def log_likelihood(self, x: Tensor, theta: Tensor, weight: Tensor | None = None) -> Tensor:
        """log L of one data set, shape ``(K,)``, for x ``(N, d)`` and θ ``(K, D)``."""
        return self.log_likelihoods(self.encode([x], [weight]), theta[None])[0]

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        """Data sets, each of shape ``(N, d)``, checked, in the space of the network."""
        space = self.surrogate.features
        for one in x:
            space.check(one)
        events = [space.forward(one).float() for one in x]
        return pad(events, weight, list(map(self._log_jacobian, x, events)))

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """Log-likelihoods of S data sets at K points each, shape ``(S, K)``, float64.

        Arguments:
            sets: From :meth:`encode`.
            theta: Shape ``(S, K, D)``; the result is differentiable in it.
        """
        at_once = theta.shape[1] if self._exact else 1
        rows = max(1, _PAIRS // (len(sets) * at_once))
        total = sets.constant[:, None].expand(theta.shape[:2])
        for block, (events, weight) in enumerate(
            zip(torch.split(sets.events, rows, 1), torch.split(sets.weight, rows, 1), strict=True)
        ):
            if torch.is_grad_enabled() and theta.requires_grad:
                part = recompute(self._sum, events, weight, theta, block, use_reentrant=False)
            else:
                part = self._sum(events, weight, theta, block)
            total = total + part
        return torch.where(self._outside(theta), -torch.inf, total)

    def prepare(self, x: Tensor) -> Tensor:
        """Events ``(N, d)``, checked, in the space of the network, with log |du/dx| as the last
        column: shape ``(N, d + 1)``, float64."""
        self.surrogate.features.check(x)
        u = self.surrogate.features.forward(x)
        return torch.cat([u, self._log_jacobian(x, u.float())[:, None]], dim=-1)

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """log p of events from :meth:`prepare`, ``(S, n, d + 1)``, at θ ``(S, K, D)``.

        Returns:
            Shape ``(S, n, K)``, float64, all at once; −∞ outside of the surrogate's domain.
        """
        found = self._pairs(prepared[..., :-1].float(), theta).double() + prepared[..., -1:]
        return torch.where(self._outside(theta)[:, None], -torch.inf, found)

    def sample(self, n: int, theta: Tensor, seed: int = 0) -> Tensor:
        """n events at each θ, shape ``(n, *, d)`` for θ of shape ``(*, D)``."""
        return self.surrogate.sample(n, self._context(theta), seed)

    def _log_jacobian(self, x: Tensor, u: Tensor) -> Tensor:
        return self.surrogate.features.log_jacobian(x, self.surrogate.model.counted(u))

    @property
    def _exact(self) -> bool:
        return self.surrogate.quality.kind == "exact"

    def _sum(self, events: Tensor, weight: Tensor, theta: Tensor, block: int) -> Tensor:
        return torch.einsum("snk,sn->sk", self._pairs(events, theta, block), weight)

    def _pairs(self, events: Tensor, theta: Tensor, block: int = 0) -> Tensor:
        """log p(u | θ), shape ``(S, n, K)``, for u ``(S, n, d)`` and θ ``(S, K, D)``.

        What draws random numbers is asked for one θ after another, each with the same seed.
        """
        if self._exact:
            return self._seeded(events, theta, block)
        return torch.cat(
            [self._seeded(events, one, block) for one in torch.split(theta, 1, 1)], dim=-1
        )

    def _seeded(self, events: Tensor, theta: Tensor, block: int) -> Tensor:
        shape = (*events.shape[:2], theta.shape[1])
        inputs, context = self.surrogate.inputs, self._context(theta)
        c = (inputs.forward(context) if inputs else context).float()
        u = events[:, :, None].expand(*shape, events.shape[-1]).reshape(-1, events.shape[-1])
        c = c[:, None].expand(*shape, c.shape[-1]).reshape(-1, c.shape[-1])
        wanted = torch.is_grad_enabled() and theta.requires_grad
        with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(wanted):
            torch.manual_seed(stream(self.seed, "density", block))
            return self.surrogate.model.log_prob(u, c).value.reshape(shape)

    def _context(self, theta: Tensor) -> Tensor:
        """θ and the parameters that are held, in the order of the surrogate's columns."""
        values = self.parameters.values(theta.double())
        one = theta[..., 0].double()
        columns = [values[name].expand_as(one) for name in self.surrogate.domain.names]
        return torch.stack(columns, dim=-1)

    def _outside(self, theta: Tensor) -> Tensor:
        return self.surrogate.domain.outside(self._context(theta.detach()))
