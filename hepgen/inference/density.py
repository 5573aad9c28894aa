"""The density of one sample of events, as a likelihood over event sets asks for it.

What exists plugs in as it is: :class:`hepgen.inference.nle.NLE`,
:class:`hepgen.inference.exact.ExactLikelihood`,
:class:`hepgen.inference.surrogate_likelihood.SurrogateLikelihood` and
:class:`hepgen.inference.templates.Templates`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.parameters import ParameterSet

_ROWS = 2**15


@runtime_checkable
class Density(Protocol):
    """log p(x | θ) of single events, in two steps.

    The first depends on the events alone and is done once for a data set; the second is done at
    every θ. θ has the columns of the density's own free parameters.
    """

    @property
    def parameters(self) -> ParameterSet:
        """The free ones are those that it depends on."""

    def prepare(self, x: Tensor) -> Tensor:
        """What :meth:`log_densities` wants of the events: ``(n, d)``, checked, to ``(n, e)``.

        Raises:
            DataError: Events outside of the support, or with other columns.
        """

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """log p, shape ``(S, n, K)`` in float64, for ``(S, n, e)`` and θ of shape ``(S, K, D)``."""


Formula = Callable[[Tensor, Mapping[str, Tensor]], Tensor]
"""log p of shape ``(*, n)``, of x ``(*, n, d)`` and the parameters by name, ``(*, 1)`` each."""


@dataclass(frozen=True)
class ClosedForm:
    """A density that is written down.

    Arguments:
        parameters: The free ones are those that it depends on.
        columns: What x holds.
        formula: log p(x | θ), normalised over the support and −∞ outside of it.

    >>> flat = ClosedForm(ParameterSet([]), ("x",), lambda x, _: torch.zeros_like(x[..., 0]))
    >>> flat.log_densities(torch.rand(1, 5, 1), torch.zeros(1, 3, 0)).shape
    torch.Size([1, 5, 3])
    """

    parameters: ParameterSet
    columns: Sequence[str]
    formula: Formula

    def prepare(self, x: Tensor) -> Tensor:
        """The events themselves, checked."""
        check_events(x, self.columns)
        return x.double()

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """See :class:`Density`."""
        values = {n: v[..., None] for n, v in self.parameters.values(theta.double()).items()}
        found = self.formula(prepared[:, None], values)
        return found.expand(len(prepared), theta.shape[1], prepared.shape[1]).mT


@dataclass(frozen=True)
class Given:
    """A log-density that the events bring as one of their columns.

    It was computed elsewhere, e.g. from a matrix element, from a classifier, or as the log of the
    event weights of a sample at a parameter point. All samples of a channel may be given up to
    one common factor f(x).

    Arguments:
        column: Which of the d.
    """

    column: int
    parameters: ParameterSet = ParameterSet([])  # noqa: RUF009 (it is never changed)

    def prepare(self, x: Tensor) -> Tensor:
        """The column, checked: shape ``(n, 1)``."""
        value = x[:, self.column].double()
        if bool((value.isnan() | (value == torch.inf)).any()):
            raise DataError(
                f"a log-density given in column {self.column} is NaN or +∞; expected numbers, or "
                "−∞ where the density is zero"
            )
        return value[:, None]

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """See :class:`Density`."""
        return prepared.expand(-1, -1, theta.shape[1])


class Fixed:
    """A density at one θ: it is evaluated once for each event, and then remembered.

    Arguments:
        density: Of any kind.
        theta: Its free parameters, shape ``(D,)``.
    """

    parameters = ParameterSet([])

    def __init__(self, density: Density, theta: Tensor) -> None:
        self.density, self.theta = density, theta.double()

    @torch.no_grad()
    def prepare(self, x: Tensor) -> Tensor:
        """log p of each event, shape ``(n, 1)``."""
        prepared = self.density.prepare(x)
        theta = self.theta[None, None]
        parts = [
            self.density.log_densities(part[None], theta)[0]
            for part in torch.split(prepared, _ROWS)
        ]
        return torch.cat(parts).double()

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """See :class:`Density`."""
        return prepared.expand(-1, -1, theta.shape[1])


def remembered(density: Density) -> Density:
    """The density, as :class:`Fixed` where it has no parameter, and no bins."""
    if len(density.parameters.free) or getattr(density, "binned", False):
        return density
    if isinstance(density, (Fixed, Given)):
        return density
    return Fixed(density, torch.zeros(0))


def check_events(x: Tensor, columns: Sequence[str]) -> None:
    """Refuse events that are not rows of finite numbers, one for each of the columns."""
    if x.dim() != 2 or x.shape[-1] != len(columns):
        raise DataError(
            f"events of shape {tuple(x.shape)}; expected (N, {len(columns)}): {', '.join(columns)}"
        )
    wrong = ~torch.isfinite(x).all(-1)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise DataError(
            f"event {row} has {', '.join(columns)} = {x[row].tolist()} ({int(wrong.sum())} such "
            f"events of {len(x)}); expected finite numbers"
        )
