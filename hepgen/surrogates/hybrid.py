"""Hybrid chains: stages in a row, replaced by a surrogate of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from hepgen.errors import ParameterError, SimulationError, SurrogateError, nearest
from hepgen.parameters import Parameter
from hepgen.simulators.chain import Chain
from hepgen.simulators.stage import Stage, State
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.same_stages import changed_options
from hepgen.surrogates.surrogate import Surrogate
from hepgen.surrogates.target import Target

_TOLERATED = 1e-3
"""The share of events whose inputs may lie outside the range of training."""
_TAIL = 1e-2
"""The share of the parameter points of a block that may: of a hundred from a prior, one."""


class SurrogateStage(Stage):
    """A surrogate in the place of the stages that it was trained on.

    Its one site, ``surrogate_NAME``, has the variables of the surrogate, shape ``(G, E, d)``.
    An input column outside the range of training is moved to the edge of the range; the stage
    notes how many events that concerns and fails where it is more than one in a thousand (of
    fewer events, more than one). A parameter outside is refused; but of a hundred and more points
    in a block, as many as are drawn from a prior, one in a hundred is treated as an input is: a
    prior without ends goes beyond any training sample. A surrogate that extrapolates takes both as
    they are.

    Arguments:
        surrogate: Its manifest says what it stands for, see :class:`Target`.
        parameters: Those of the stages that it replaces.
        name: Of the stage.
    """

    def __init__(
        self,
        surrogate: Surrogate | ImageSurrogate,
        parameters: Sequence[Parameter],
        name: str = "surrogate",
    ) -> None:
        self.surrogate = surrogate
        self.target = target_of(surrogate)
        self.name = name
        self.parameters = tuple(parameters)
        self.requires = tuple(column.name for column in self.target.inputs)
        self.provides = tuple(column.name for column in self.target.outputs)
        self.has_density = surrogate.quality.kind == "exact"
        self._moved, self._seen = 0, 0

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw what the replaced stages would."""
        self._check_parameters(parameters)
        context = self._inside(self.target.context(state, parameters))
        x = pyro.sample(f"surrogate_{self.name}", SurrogateDistribution(self.surrogate, context))
        return state | self.target.decode(x, state)

    def notes(self) -> dict[str, Any]:
        """How many events had inputs at the edge of the range of training."""
        moved, seen, self._moved, self._seen = self._moved, self._seen, 0, 0
        return {f"{self.name}_outside": moved} if seen and moved else {}

    def _inside(self, context: Tensor) -> Tensor:
        domain = self.surrogate.domain
        low, high = domain.edges(context)
        outside = domain.outside(context.detach())
        self._moved += int(outside.sum())
        self._seen += outside.numel()
        many = int(outside.sum()) > max(1.0, _TOLERATED * outside.numel())
        if many and not self.surrogate.extrapolate:
            column = int(((context < low) | (context > high)).flatten(0, 1).any(0).long().argmax())
            raise SimulationError(
                f"stage {self.name!r}: {int(outside.sum())} of {outside.numel()} events are "
                f"outside the range that the surrogate was trained in, e.g. in "
                f"{domain.names[column]!r}, [{low[column]:g}, {high[column]:g}]; train it with the "
                "stages before it as they are now"
            )
        if self.surrogate.extrapolate:
            return context
        return torch.where(outside[..., None], context.clamp(low, high), context)

    def _check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        low, high = self.surrogate.domain.edges(torch.zeros((), dtype=torch.float64))
        for name in () if self.surrogate.extrapolate else self.target.parameters:
            place = self.surrogate.domain.names.index(name)
            values = parameters[name].detach()
            outside = (values < low[place]) | (values > high[place])
            if int(outside.sum()) > _TAIL * outside.numel():
                raise ParameterError(
                    f"stage {self.name!r}: {name} between {float(values.min()):g} and "
                    f"{float(values.max()):g}, and the surrogate was trained in "
                    f"[{float(low[place]):g}, {float(high[place]):g}]; widen the prior and train "
                    "again, or stay inside"
                )
        for name, value in self.target.fixed.items():
            if name in parameters and bool((parameters[name].detach() != value).any()):
                raise SimulationError(
                    f"stage {self.name!r}: {name} = {float(parameters[name].flatten()[0]):g}, and "
                    f"the surrogate was trained at {value:g} only; give the parameter a prior and "
                    "train again"
                )


class SurrogateDistribution(TorchDistribution):  # type: ignore[misc]
    """p(x | c) of a surrogate as a Pyro distribution: batch shape ``(G, E)``, event ``(d,)``.

    Arguments:
        surrogate: Whose density it is.
        context: c, shape ``(G, E, C)``, inside its domain.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own type)
    support = constraints.real_vector

    def __init__(self, surrogate: Surrogate | ImageSurrogate, context: Tensor) -> None:
        self.surrogate, self.context = surrogate, context
        shape = torch.Size([surrogate.size])
        super().__init__(context.shape[:-1], shape, validate_args=False)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws that follow from torch's global generator."""
        if len(sample_shape):
            raise SimulationError(f"sample_shape {tuple(sample_shape)}: expected none")
        seed = int(torch.randint(2**62, ()))
        return self.surrogate.sample(1, self.context, seed)[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x | c), shape ``(G, E)``."""
        shape = self.context.shape[:-1]
        x = value.expand(*shape, value.shape[-1]).flatten(0, -2)
        return self.surrogate.log_prob(x, self.context.flatten(0, -2)).reshape(shape)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> SurrogateDistribution:
        """For the plates of a chain: to a larger batch shape."""
        shape = (*batch_shape, self.context.shape[-1])
        return SurrogateDistribution(self.surrogate, self.context.expand(shape))


def target_of(surrogate: Surrogate | ImageSurrogate) -> Target:
    """What a surrogate stands for in a chain.

    Raises:
        SurrogateError: It was not trained on stages of a chain.
    """
    try:
        return Target.from_dict(surrogate.manifest["target"])
    except (KeyError, TypeError):
        raise SurrogateError(
            f"{surrogate!r} does not stand for stages of a chain; train one with "
            "surrogate.replace = [STAGE, …], or surrogate.image = true, in the workflow"
        ) from None


def hybrid(chain: Chain, surrogate: Surrogate | ImageSurrogate, sha256: str = "") -> Chain:
    """The chain with the stages that the surrogate stands for replaced by it.

    Observables that nothing provides any more are left out.

    Arguments:
        chain: The process it was trained on.
        surrogate: See above.
        sha256: Of its files, so that another model is another simulation.

    Raises:
        SurrogateError: It is of another process, the stages are not there in a row, or they have
            other options than in training.
    """
    target = target_of(surrogate)
    made_for = surrogate.manifest.get("process", chain.name)
    if made_for != chain.name:
        raise SurrogateError(
            f"a surrogate of the process {made_for!r} in a chain of {chain.name!r}; train one for "
            "this process"
        )
    known_by = (*target.stages, *target.read_by)
    first = _place(chain, known_by)
    changed = changed_options(chain, surrogate.manifest.get("chain", {}), known_by)
    if changed:
        raise SurrogateError(
            f"the surrogate of {'+'.join(known_by)} was trained with other options of the "
            f"chain (in training, now): {'; '.join(changed)}; set [chain] as it was, or train "
            "the surrogate again with the options as they are now"
        )
    last = first + len(target.stages)
    replaced = chain.stages[first:last]
    unique = {p.name: p for stage in replaced for p in stage.parameters}
    stage = SurrogateStage(surrogate, list(unique.values()), "+".join(target.stages))
    stages = [*chain.stages[:first], stage, *chain.stages[last:]]
    provided = {column for s in stages for column in s.provides}
    _check_needs(stages[: first + 1], chain.stages[last:], stage)
    return Chain(
        stages,
        {name: words for name, words in chain.observables.items() if name in provided},
        chain.name,
        chain.options | {f"surrogate:{stage.name}": sha256},
        chain.image if last < len(chain.stages) else None,
        chain.import_path,
    )


def _place(chain: Chain, names: Sequence[str]) -> int:
    known = [stage.name for stage in chain.stages]
    if not names or names[0] not in known:
        wanted = names[0] if names else ""
        raise SurrogateError(
            f"no stage {wanted!r} in the chain {chain.name!r}; {nearest(wanted, known)}"
        )
    first = known.index(names[0])
    if known[first : first + len(names)] != list(names):
        raise SurrogateError(
            f"stages {list(names)} to replace: expected stages in a row, of {known}"
        )
    return first


def _check_needs(before: Sequence[Stage], after: Sequence[Stage], stage: SurrogateStage) -> None:
    known = {column for s in before for column in s.provides}
    for following in after:
        missing = sorted(set(following.requires) - known)
        if missing:
            raise SurrogateError(
                f"stage {following.name!r} needs {missing}, which the surrogate of {stage.name!r} "
                "does not give; train it with these among surrogate.outputs"
            )
        known |= set(following.provides)
