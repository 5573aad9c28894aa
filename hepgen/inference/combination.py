"""Several likelihoods as one: data sets that share parameters, and parameters that they don't."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hepgen.errors import ParameterError, nearest
from hepgen.inference.channel import Channel
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.parameters import Parameter, ParameterSet


def combine(
    likelihoods: Mapping[str, EventLikelihood],
    renamed: Mapping[str, Mapping[str, str]] | None = None,
) -> EventLikelihood:
    """The product of likelihoods over the union of their parameters.

    Parameters of one name are one, and their constraint is counted once. To keep two of one name
    apart, rename them, e.g. ``{"2023": {"mu": "mu_2023"}}``. The channel ``c`` of the likelihood
    ``a`` is ``a/c``.

    Arguments:
        likelihoods: By a name of each.
        renamed: By the same names, new names of parameters.

    Raises:
        ParameterError: Parameters of one name that have other priors, units or defaults, or a
            renaming of what does not exist.

    >>> from hepgen import Normal, Uniform
    >>> from hepgen.inference.channel import Sample
    >>> from hepgen.inference.density import ClosedForm
    >>> from hepgen.inference.rate import Product
    >>> flat = ClosedForm(ParameterSet([]), ("x",), lambda x, _: 0 * x[..., 0])
    >>> def counting(events):
    ...     mu = Parameter("mu", 1.0, prior=Uniform(0.0, 5.0))
    ...     lumi = Parameter("lumi", 1.0, prior=Normal(1.0, 0.02))
    ...     sample = Sample("all", flat, Product(events, "mu", "lumi"))
    ...     return EventLikelihood(ParameterSet([mu, lumi]), [Channel("c", (sample,))])
    >>> both = combine({"a": counting(10.0), "b": counting(30.0)}, {"b": {"mu": "mu_b"}})
    >>> both.parameters.free_names, both.constrained
    (('mu', 'lumi', 'mu_b'), ('lumi',))
    """
    own = {name: likelihood.parameters for name, likelihood in likelihoods.items()}
    parameters, names = union(own, renamed)
    channels = [
        _renamed(channel, name, names[name])
        for name, likelihood in likelihoods.items()
        for channel in likelihood.channels
    ]
    return EventLikelihood(parameters, channels)


def union(
    parameters: Mapping[str, ParameterSet],
    renamed: Mapping[str, Mapping[str, str]] | None = None,
) -> tuple[ParameterSet, dict[str, dict[str, str]]]:
    """The parameters of a combination, and the new names in each of its parts.

    What is fixed, and has other values in two parts, such as the energy of the beams, is no
    parameter that they share: it is kept apart, as ``part/name``.

    Raises:
        ParameterError: See :func:`combine`.
    """
    found: dict[str, Parameter] = {}
    owner: dict[str, str] = {}
    names = {part: dict((renamed or {}).get(part, {})) for part in parameters}
    for part, own in parameters.items():
        check_renamed(part, names[part], own.names)
        for parameter in own:
            name = names[part].get(parameter.name, parameter.name)
            known = found.get(name)
            if known and not (known.free or parameter.free) and known.default != parameter.default:
                name = names[part][parameter.name] = f"{part}/{name}"
            there = found.setdefault(name, replace(parameter, name=name))
            _check_same(there, replace(parameter, name=name), owner.setdefault(name, part), part)
    return ParameterSet(list(found.values())), names


def _renamed(channel: Channel, likelihood: str, names: Mapping[str, str]) -> Channel:
    before = channel.renamed or {}
    both = {local: names.get(there, there) for local, there in before.items()}
    return replace(
        channel, name=f"{likelihood}/{channel.name}", renamed={**names, **both} or None
    )  # fmt: skip


def check_renamed(part: str, renamed: Iterable[str], known: Sequence[str]) -> None:
    """Refuse to rename a parameter that a part does not have."""
    for old in renamed:
        if old not in known:
            raise ParameterError(
                f"{part!r} has no parameter {old!r} to rename; {nearest(old, known)}"
            )


def _check_same(first: Parameter, second: Parameter, one: str, other: str) -> None:
    for what in ("prior", "unit", "default", "role"):
        values = getattr(first, what), getattr(second, what)
        if values[0] != values[1]:
            raise ParameterError(at_odds(first.name, what, values, (one, other)))


def at_odds(name: str, what: str, values: tuple[Any, Any], parts: tuple[str, str]) -> str:
    """Two parts that cannot share a parameter, in words."""
    return (
        f"parameter {name!r} has the {what} {values[0]} in {parts[0]!r} and {values[1]} in "
        f"{parts[1]!r}; what they share is the same in both: make it so, or rename one of the two "
        f"(renamed = {{ {name} = … }} of {parts[1]!r})"
    )
