r"""A proposal of latents learned from simulated events: q(z | x, θ).

Maximum likelihood of q on events (x, z) of the chain minimises the mean over x of
KL(p(z | x, θ) ‖ q(z | x, θ)): the one that decides how many draws importance sampling needs, and
the one that makes q cover all that p does (Paige and Wood, arXiv:1602.06701).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import (
    AffineTransform,
    Distribution,
    MultivariateNormal,
    TransformedDistribution,
)

from hepgen.errors import DataError, nearest
from hepgen.inference.observation import latent_columns, observed_columns
from hepgen.nn.device import choose, trained_on
from hepgen.nn.mlp import ConditionedMLP
from hepgen.nn.rows import Table
from hepgen.nn.train import Progress, train
from hepgen.results import TrainingCurve
from hepgen.simulators.chain import Chain, Trace

Kind = Literal["gaussian", "flow"]


class LearnedProposal:
    """q(z | x, θ) over all latent sites in a row; made by :meth:`fit`."""

    def __init__(
        self,
        network: nn.Module,
        condition: _Standardised,
        latents: _Standardised,
        parameters: Sequence[str],
        curve: TrainingCurve,
    ) -> None:
        self.network = network
        self.parameters = tuple(parameters)
        self.curve = curve
        self._condition, self._latents = condition, latents

    @classmethod
    def fit(
        cls,
        chain: Chain,
        observed: Sequence[str],
        parameters: Mapping[str, Tensor],
        *,
        events: int = 100_000,
        kind: Kind = "gaussian",
        hidden: Sequence[int] = (64, 64),
        batch_size: int = 1024,
        epochs: int = 20,
        max_learning_rate: float = 4e-3,
        seed: int = 0,
        progress: Callable[[Progress], None] | None = None,
        device: str = "auto",
    ) -> LearnedProposal:
        """Simulate events and learn the density of their latents.

        Arguments:
            chain: The simulator.
            observed: The sites that will be observed; all others are latent.
            parameters: θ, shape ``()`` or ``(G, 1)``. Those with several values, e.g. drawn from
                a prior, become conditions of q; the others are fixed.
            events: Simulated in all, the same number at each of the G points.
            kind: ``gaussian``: a normal distribution whose mean and covariance are functions of
                (x, θ). ``flow``: a neural spline flow (Durkan et al., arXiv:1906.04032).
            hidden: The widths of the network.
            batch_size, epochs, max_learning_rate, seed, progress: See
                :func:`hepgen.nn.train.train`.
            device: Where to train, see :func:`hepgen.nn.device.choose`.

        Raises:
            DataError: A site that does not exist; a site that is jagged, or a latent that only
                takes whole numbers.
        """
        trace, varied = _simulated(chain, observed, parameters, events, seed)
        x = observed_columns(trace, tuple(observed)).join(trace.sites).flatten(0, 1)
        z = latent_columns(trace, tuple(observed)).join(trace.sites).flatten(0, 1)
        theta = [value.expand(trace.shape).reshape(-1, 1) for value in varied.values()]
        condition = torch.cat([x, *theta], dim=-1)
        scales = _Standardised(condition), _Standardised(z)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _network(kind, z.shape[-1], condition.shape[-1], hidden)
        rows = Table(scales[0].forward(condition).float(), scales[1].forward(z).float())
        with trained_on(network, choose(device)):
            curve = train(
                network,
                lambda batch: -network(batch[0]).log_prob(batch[1]),
                rows,
                batch_size=batch_size,
                epochs=epochs,
                max_learning_rate=max_learning_rate,
                seed=seed,
                progress=progress,
            )
        # Weights are differences of large numbers: what draws also evaluates, in float64.
        return cls(network.double(), *scales, tuple(varied), curve)

    def __call__(self, x: Tensor, parameters: Mapping[str, Tensor]) -> Distribution:
        """q(z | x, θ), batch shape ``(B,)``, for x of shape ``(B, X)`` and θ of ``(B, 1)`` each."""
        theta = [parameters[name].expand(len(x), 1) for name in self.parameters]
        density = self.network(self._condition.forward(torch.cat([x.double(), *theta], dim=-1)))
        scale = AffineTransform(self._latents.location, self._latents.scale, event_dim=1)
        return TransformedDistribution(density, [scale], validate_args=False)


class AmortizedGaussian(nn.Module):
    """N(m(c), L(c)Lᵀ(c)) with both functions of the condition c, shape ``(*, C)``.

    >>> AmortizedGaussian(3, 2, (16, 16))(torch.zeros(5, 2)).sample().shape
    torch.Size([5, 3])
    """

    def __init__(self, features: int, context: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.features = features
        self.rows, self.columns = torch.tril_indices(features, features, -1)
        outputs = 2 * features + len(self.rows)
        self.network = ConditionedMLP(context, 0, outputs, hidden)

    def forward(self, condition: Tensor) -> MultivariateNormal:
        """The distribution at each c, batch shape ``(*,)``."""
        output, d = self.network(condition), self.features
        factor = torch.diag_embed(output[..., d : 2 * d].exp())
        factor[..., self.rows, self.columns] = output[..., 2 * d :]
        return MultivariateNormal(output[..., :d], scale_tril=factor, validate_args=False)


class _Standardised:
    """Columns with mean 0 and standard deviation 1 over a sample; constant ones are left."""

    def __init__(self, sample: Tensor) -> None:
        scale = sample.std(0)
        self.location, self.scale = sample.mean(0), torch.where(scale > 0, scale, 1.0)

    def forward(self, value: Tensor) -> Tensor:
        return (value - self.location) / self.scale


def _network(kind: Kind, features: int, context: int, hidden: Sequence[int]) -> Any:
    if kind == "gaussian":
        return AmortizedGaussian(features, context, hidden)
    if kind == "flow":
        from zuko.flows import NSF  # takes a second to import

        return NSF(features, context, transforms=3, hidden_features=tuple(hidden))
    raise DataError(f"proposal of kind {kind!r}: expected gaussian or flow")


def _simulated(
    chain: Chain,
    observed: Sequence[str],
    parameters: Mapping[str, Tensor],
    events: int,
    seed: int,
) -> tuple[Trace, dict[str, Tensor]]:
    """Events of the chain, and the parameters that vary over them."""
    varied = {n: v.double() for n, v in parameters.items() if v.dim() and len(v) > 1}
    points = max((len(v) for v in varied.values()), default=1)
    trace = chain.simulate(parameters, max(events // points, 1), seed)
    for name in observed:
        if name not in trace.sites:
            raise DataError(f"no site {name!r} to observe; {nearest(name, trace.sites)}")
    return trace, varied
