r"""Augmented data: what only a chain whose every stage knows its density can give.

For an event drawn at θ with its whole history z, the joint score and the joint log-ratio

.. math:: t(x, z | \theta) = \nabla_\theta \log p(x, z | \theta), \qquad
          \log r(x, z | \theta_1, \theta_0) = \log\frac{p(x, z | \theta_1)}{p(x, z | \theta_0)}

are exact, detector and shower nuisances included. Their means over z at fixed x are the score
and the ratio of the intractable p(x | θ) (Brehmer, Louppe, Pavez, Cranmer, PNAS 117 (2020) 5242).
Over all generated events E[t] = 0 and E[r] = 1 at θ₀; over selected events E[t] = ∇ log ε(θ),
with ε the efficiency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad

from hepgen.errors import DataError, ParameterError
from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.stage import Stage, State


def scored(chain: Chain) -> tuple[str, ...]:
    """The parameters with respect to which the joint density has a known derivative.

    >>> from hepgen.simulators.processes.registry import process
    >>> "m_z" in scored(process("zmumu"))
    True
    """
    return tuple(name for name in chain.parameters.names if not no_score(chain, name))


def no_score(chain: Chain, name: str, value: Tensor | None = None) -> str:
    """Why there is no score with respect to a parameter, in words; empty where there is one.

    Arguments:
        chain: The simulator.
        name: The parameter.
        value: Its value, where that is known: at the edge of its range, such as a fraction of
            zero, other events become possible in one direction, and E[t] is not zero.
    """
    parameter = chain.parameters[name]
    reached = () if value is None else value.flatten().tolist()
    at_edge = [edge for edge in (parameter.low, parameter.high) if edge in reached]
    if at_edge:
        return (
            f"parameter {name!r} = {at_edge[0]:g} is at the edge of its range, "
            "where other events become possible"
        )
    if chain.parameters[name].moves_support:
        return f"parameter {name!r} decides which events are possible"
    for stage in chain.stages:
        if not stage.has_density and name in {p.name for p in stage.parameters}:
            return f"parameter {name!r} is one of stage {stage.name!r}, whose density is not known"
    return ""


def joint_score(chain: Chain, trace: Trace, parameters: Mapping[str, Tensor], name: str) -> Tensor:
    """∂ log p(x, z | θ)/∂θ of each event for one parameter, shape ``(G, E)``.

    Forward-mode differentiation: one pass through the chain gives every event's derivative.

    Arguments:
        chain: The simulator.
        trace: What it drew.
        parameters: θ, shape ``(G, 1)`` or ``()`` each.
        name: With respect to which.

    Raises:
        ParameterError: The parameter moves the support, is at the edge of its range, or is one
            of a stage whose density is not known, so there is no score.

    >>> from hepgen.simulators.processes.registry import process
    >>> chain = process("zmumu")
    >>> theta = chain.parameters.values()
    >>> joint_score(chain, chain.simulate(theta, 100, seed=1), theta, "m_z").shape
    torch.Size([1, 100])
    """
    if reason := no_score(chain, name, parameters[name]):
        raise ParameterError(
            f"{reason}: it has no score; there are scores for "
            f"{', '.join(scored(chain)) or 'no parameter'}"
        )
    # A copy: a value that was expanded shares its memory, which forward mode refuses.
    start = parameters[name].clone()
    state, moved = _columns(chain, trace, parameters), set[str]()
    score = torch.zeros(trace.shape, dtype=torch.float64)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(  # type: ignore[no-untyped-call]
            start, torch.ones_like(start)
        )
        for stage in chain.stages:
            if _touched(stage, {name}, moved):
                terms, after = chain.replay(stage, state, trace, {**parameters, name: dual})
                score = sum(map(_tangent, terms.values()), score)
                new = {c: after[c] for c in stage.provides if _derivative(after[c]) is not None}
                moved |= set(new)
                state |= new
    return score


@torch.no_grad()
def joint_log_ratio(
    chain: Chain,
    trace: Trace,
    numerator: Mapping[str, Tensor],
    denominator: Mapping[str, Tensor],
) -> Tensor:
    """log p(x, z | θ₁) − log p(x, z | θ₀) of each event, shape ``(G, E)``.

    For events drawn at θ₀ its exponential is the weight that turns them into events of θ₁.

    Arguments:
        chain: The simulator.
        trace: What it drew at θ₀.
        numerator, denominator: θ₁ and θ₀.

    Raises:
        ParameterError: θ₁ and θ₀ differ in a parameter that has no score.
    """
    for parameter in chain.parameters:
        one, other = numerator[parameter.name], denominator[parameter.name]
        reason = no_score(chain, parameter.name, other)
        if reason and not bool((one == other).all()):
            raise ParameterError(
                f"{reason}: events cannot be reweighted to another value; simulate them there"
            )
    names = {n for n in chain.parameters.names if not torch.equal(numerator[n], denominator[n])}

    here = _columns(chain, trace, denominator)
    there, moved = dict(here), set[str]()
    ratio = torch.zeros(trace.shape, dtype=torch.float64)
    for stage in chain.stages:
        if _touched(stage, names, moved):
            first, after_there = chain.replay(stage, there, trace, numerator)
            second, after_here = chain.replay(stage, here, trace, denominator)
            ratio = sum(first.values(), ratio) - sum(second.values(), torch.zeros(()))
            new = {c for c in stage.provides if not torch.equal(after_there[c], after_here[c])}
            moved |= new
            there |= {c: after_there[c] for c in new}
            here |= {c: after_here[c] for c in new}
    return ratio


def _touched(stage: Stage, names: set[str], moved: set[str]) -> bool:
    """Whether a stage reads one of some parameters, or a column that moves with them.

    The density of any other stage does not depend on them: it need not be run again.
    """
    return bool(names & {p.name for p in stage.parameters} or moved & set(stage.requires))


def _columns(chain: Chain, trace: Trace, parameters: Mapping[str, Tensor]) -> State:
    """The columns of every stage at θ: those of the trace where they were made at θ."""
    provided = {column for stage in chain.stages for column in stage.provides}
    same = all(
        name in trace.parameters and torch.equal(trace.parameters[name], parameters[name])
        for name in chain.parameters.names
    )
    if same and provided <= set(trace.state):
        return dict(trace.state)
    state: State = {}
    for stage in chain.stages:
        _, state = chain.replay(stage, state, trace, parameters)
    return state


def _tangent(term: Tensor) -> Tensor:
    derivative = _derivative(term)
    return torch.zeros_like(term) if derivative is None else derivative


def _derivative(tensor: Tensor) -> Tensor | None:
    unpacked = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]
    derivative: Tensor | None = unpacked.tangent
    return derivative


@dataclass(frozen=True)
class Fisher:
    r"""The Fisher information of one event, :math:`I_{ij} = E[t_i t_j]`.

    Arguments:
        names: The parameters.
        matrix: Shape ``(D, D)``, in inverse units of the parameters.
        error: The standard error of each entry.
    """

    names: tuple[str, ...]
    matrix: NDArray[np.float64]
    error: NDArray[np.float64]


def fisher_information(
    scores: Mapping[str, NDArray[np.float64]], weight: NDArray[np.float64] | None = None
) -> Fisher:
    """The information in the truth record, from the joint score: an upper limit for any x.

    Arguments:
        scores: t of each event by parameter, shape ``(N,)``: the columns ``score_*`` of all
            generated events (``--all``), at one θ.
        weight: Signed event weights.

    >>> t = np.array([1.0, -1.0, 2.0, -2.0])
    >>> fisher_information({"a": t}).matrix
    array([[2.5]])
    """
    names: Sequence[str] = tuple(scores)
    if not names or len(scores[names[0]]) < 2:
        raise DataError("the scores of fewer than two events; expected a sample")
    t = np.stack([np.asarray(scores[name], dtype=np.float64) for name in names], axis=-1)
    w = np.ones(len(t)) if weight is None else np.asarray(weight, dtype=np.float64)
    products = t[:, :, None] * t[:, None, :]
    matrix = np.einsum("n,nij->ij", w, products) / w.sum()
    spread = np.einsum("n,nij->ij", w**2, (products - matrix) ** 2)
    return Fisher(tuple(names), matrix, np.sqrt(spread) / abs(w.sum()))
