r"""The amortised posterior of a chain's own latents, q(z | x, θ): unfolding event by event.

The decoder is not learned: it is the chain, z → x. Maximum likelihood of q on simulated pairs,

.. math:: \min_q E_{p(\theta)\, p(z, x | \theta)}\left[-\log q(z | x, \theta)\right],

minimises the mean of KL(p(z | x, θ) ‖ q) (Paige and Wood, arXiv:1602.06701; Papamakarios and
Murray, arXiv:1605.06376) and needs no density of the chain: any of its columns can be asked for,
e.g. the true mass behind a measured one. What needs the density, weights and the refinement by a
bound, is in :mod:`hepgen.inference.latent_posterior`, for a surrogate knows no inference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import DataError, nearest
from hepgen.features import Feature
from hepgen.simulators.chain import Chain, Trace
from hepgen.surrogates.surrogate import Surrogate

_SELECTED = "selected"


def learn_latent_posterior(
    chain: Chain,
    latents: Sequence[Feature],
    observed: Sequence[Feature],
    parameters: Mapping[str, Tensor],
    *,
    events: int = 100_000,
    seed: int = 0,
    method: str = "flow",
    **options: Any,
) -> Surrogate:
    """Simulate events and learn the density of their latents given what was measured.

    Where the chain selects events, those that pass are learned from.

    Arguments:
        chain: The simulator.
        latents: Columns or sites that are asked for; number i of a site with several is
            ``NAME[i]``.
        observed: Columns or sites that are given.
        parameters: θ, shape ``()`` or ``(G, 1)``. Those with several values become conditions of
            q under their own names, after the observed ones; the others are fixed.
        events: Generated in all, the same number at each of the G points.
        seed: Of the simulation and the training.
        method: The family of q.
        options: More of :meth:`Surrogate.fit`.

    Raises:
        DataError: A column that does not exist, or is jagged; values outside a feature's bounds.

    >>> from hepgen.simulators.processes.registry import process
    >>> chain = process("gaussian", depth=1, dimension=1, parameters=1)
    >>> q = learn_latent_posterior(
    ...     chain, [Feature("z_1[0]")], [Feature("x_0")], chain.parameters.values(),
    ...     events=500, method="coupling", epochs=1, options={"layers": 1, "hidden": [4]})
    >>> q.sample(7, torch.zeros(1, 1, dtype=torch.float64)).shape
    torch.Size([7, 1, 1])
    """
    varied = {n: v.double() for n, v in parameters.items() if v.dim() and len(v) > 1}
    points = max((len(v) for v in varied.values()), default=1)
    trace = chain.simulate(parameters, max(events // points, 1), seed)
    kept = (
        trace.state[_SELECTED].bool() if _SELECTED in trace.state else torch.ones(trace.shape) > 0
    )
    theta = [value.expand(trace.shape)[kept] for value in varied.values()]
    given = [_column(trace, feature.name)[kept] for feature in observed]
    z = torch.stack([_column(trace, feature.name)[kept] for feature in latents], dim=-1)
    of = {p.name: Feature(p.name, p.unit, p.label) for p in chain.parameters}
    return Surrogate.fit(
        z, torch.stack([*given, *theta], dim=-1), features=latents,
        inputs=[*observed, *(of[name] for name in varied)], method=method, seed=seed, **options,
    )  # fmt: skip


def _column(trace: Trace, name: str) -> Tensor:
    """Shape ``(G, E)``, in float64."""
    parts = re.fullmatch(r"(.*)\[(\d+)\]", name)
    key = parts[1] if parts else name
    columns = {**trace.sites, **trace.state}
    if key not in columns:
        raise DataError(f"no column or site {key!r} in the chain; {nearest(key, list(columns))}")
    value = columns[key].double()
    if parts and value.dim() == 3 and key not in trace.masks and int(parts[2]) < value.shape[-1]:
        return value[..., int(parts[2])]
    if parts or value.dim() != 2:
        raise DataError(
            f"{name!r} of shape {tuple(value.shape)}: expected one number an event; NAME[i] is "
            "number i of a site that has the same number of them in each event"
        )
    return value
