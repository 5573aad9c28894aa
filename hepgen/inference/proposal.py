r"""A proposal of latents learned from simulated events: q(z | x, θ).

Maximum likelihood of q on events (x, z) of the chain minimises the mean over x of
KL(p(z | x, θ) ‖ q(z | x, θ)): the one that decides how many draws importance sampling needs, and
the one that makes q cover all that p does (Paige and Wood, arXiv:1602.06701).

The linear regression of z on (x, θ) with the covariance of its residuals is where q starts; the
network learns what is not linear, not normal, or of another width elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

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
        regression: _Regression,
        parameters: Sequence[str],
        curve: TrainingCurve,
    ) -> None:
        self.network = network
        self.parameters = tuple(parameters)
        self.curve = curve
        self._regression = regression

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
        epochs: int = 10,
        max_learning_rate: float = 2e-3,
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
                (x, θ). ``flow``: a neural spline flow (Durkan et al., arXiv:1906.04032), for
                latents with several modes or long tails; some ten times slower.
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
        regression = _Regression(condition, z)
        rows = Table(*(part.float() for part in regression.residuals(condition, z)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _network(kind, z.shape[-1], condition.shape[-1], hidden)
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
        return cls(network.double(), regression, tuple(varied), curve)

    def __call__(self, x: Tensor, parameters: Mapping[str, Tensor]) -> Distribution:
        """q(z | x, θ), batch shape ``(B,)``, for x of shape ``(B, X)`` and θ of ``(B, 1)`` each."""
        theta = [parameters[name].expand(len(x), 1) for name in self.parameters]
        condition = self._regression.standardised(torch.cat([x.double(), *theta], dim=-1))
        return self._regression.predicted(condition, self.network(condition))


class AmortizedGaussian(nn.Module):
    """N(m(c), L(c)Lᵀ(c)) of functions of the condition c, shape ``(*, C)``; N(0, 1) at first.

    >>> AmortizedGaussian(3, 2, (16, 16))(torch.zeros(5, 2)).sample().shape
    torch.Size([5, 3])
    """

    def __init__(self, features: int, context: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.features = features
        self.rows, self.columns = torch.tril_indices(features, features, -1)
        outputs = 2 * features + len(self.rows)
        self.network = ConditionedMLP(context, 0, outputs, hidden)
        last = [layer for layer in self.network.rest.modules() if isinstance(layer, nn.Linear)][-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, condition: Tensor) -> MultivariateNormal:
        """The distribution at each c, batch shape ``(*,)``."""
        output, d = self.network(condition), self.features
        factor = torch.diag_embed(output[..., d : 2 * d].exp())
        factor[..., self.rows, self.columns] = output[..., 2 * d :]
        return MultivariateNormal(output[..., :d], scale_tril=factor, validate_args=False)


class _Regression:
    """z = βc + m + Ru of a sample: c standardised, u of mean 0 and covariance 1.

    Arguments:
        condition: Shape ``(N, C)``. A column that is constant is left as it is.
        latents: z, shape ``(N, Z)``.

    Raises:
        DataError: Too few rows, or a latent that is a linear function of the others.
    """

    def __init__(self, condition: Tensor, latents: Tensor) -> None:
        if len(condition) <= condition.shape[-1] + latents.shape[-1]:
            raise DataError(
                f"{len(condition)} events for {condition.shape[-1]} observed numbers and "
                f"{latents.shape[-1]} latents; expected many more: raise events"
            )
        scale = condition.std(0)
        self.centre, self.scale = condition.mean(0), torch.where(scale > 0, scale, 1.0)
        c = self.standardised(condition)
        self.mean = latents.mean(0)
        self.slope = torch.linalg.lstsq(c, latents - self.mean).solution
        rest = latents - self.mean - c @ self.slope
        self.factor, failed = torch.linalg.cholesky_ex(
            torch.cov(rest.T).reshape(2 * rest.shape[1:])
        )
        if int(failed):
            raise DataError(
                "a latent is a linear function of the other sites: it has no density of its own; "
                "observe it, or leave it out of the chain"
            )

    def standardised(self, condition: Tensor) -> Tensor:
        return (condition - self.centre) / self.scale

    def residuals(self, condition: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """c and u."""
        c = self.standardised(condition)
        rest = latents - self.mean - c @ self.slope
        return c, torch.linalg.solve_triangular(self.factor, rest.T, upper=False).T

    def predicted(self, condition: Tensor, density: Distribution) -> Distribution:
        """The distribution of z where u has ``density``, at standardised conditions."""
        return _Mapped(density, self.mean + condition @ self.slope, self.factor)


class _Mapped(Distribution):
    """z = m + Ru, u of a given distribution, shape ``(*, Z)``; R lower triangular."""

    def __init__(self, density: Distribution, location: Tensor, factor: Tensor) -> None:
        self.density, self.location, self.factor = density, location, factor
        super().__init__(density.batch_shape, density.event_shape, validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        u = self.density.sample(torch.Size(sample_shape))
        return self.location + u @ self.factor.T

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        u = self.density.rsample(torch.Size(sample_shape))
        return self.location + u @ self.factor.T

    def log_prob(self, value: Tensor) -> Tensor:
        rest = value - self.location
        # One system with many right-hand sides.
        rows = rest.reshape(-1, rest.shape[-1]).T
        u = torch.linalg.solve_triangular(self.factor, rows, upper=False).T.reshape(rest.shape)
        log_prob: Tensor = self.density.log_prob(u)
        return log_prob - self.factor.diagonal().log().sum()


def _network(kind: Kind, features: int, context: int, hidden: Sequence[int]) -> Any:
    if kind == "gaussian":
        return AmortizedGaussian(features, context, hidden)
    if kind == "flow":
        from zuko.flows import NSF  # takes a second to import

        # Couplings, which draw as fast as they evaluate.
        return NSF(features, context, passes=2, transforms=4, hidden_features=tuple(hidden))
    raise DataError(f"proposal of kind {kind!r}: expected gaussian or flow")


def _simulated(
    chain: Chain,
    observed: Sequence[str],
    parameters: Mapping[str, Tensor],
    events: int,
    seed: int,
) -> tuple[Trace, dict[str, Tensor]]:
    """Events of the chain, and the parameters that vary over them."""
    parameters = {name: value.double() for name, value in parameters.items()}
    varied = {n: v for n, v in parameters.items() if v.dim() and len(v) > 1}
    points = max((len(v) for v in varied.values()), default=1)
    trace = chain.simulate(parameters, max(events // points, 1), seed)
    for name in observed:
        if name not in trace.sites:
            raise DataError(f"no site {name!r} to observe; {nearest(name, trace.sites)}")
    return trace, varied
