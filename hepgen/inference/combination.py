"""Several likelihoods as one: data sets that share parameters, and parameters that they don't."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hepgen.errors import ParameterError
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
    found: dict[str, Parameter] = {}
    channels: list[Channel] = []
    for name, likelihood in likelihoods.items():
        names = dict((renamed or {}).get(name, {}))
        _check_renamed(name, names, likelihood.parameters)
        for parameter in likelihood.parameters:
            there = replace(parameter, name=names.get(parameter.name, parameter.name))
            _check_same(found.setdefault(there.name, there), there, name)
        channels += [_renamed(channel, name, names) for channel in likelihood.channels]
    return EventLikelihood(ParameterSet(list(found.values())), channels)


def _renamed(channel: Channel, likelihood: str, names: Mapping[str, str]) -> Channel:
    before = channel.renamed or {}
    both = {local: names.get(there, there) for local, there in before.items()}
    return replace(
        channel, name=f"{likelihood}/{channel.name}", renamed={**names, **both} or None
    )  # fmt: skip


def _check_renamed(name: str, names: Mapping[str, str], parameters: ParameterSet) -> None:
    for old in names:
        if old not in parameters:
            known: Sequence[str] = parameters.names
            raise ParameterError(
                f"likelihood {name!r} has no parameter {old!r} to rename; known: {', '.join(known)}"
            )


def _check_same(first: Parameter, second: Parameter, name: str) -> None:
    for what in ("prior", "unit", "default", "role"):
        one, other = getattr(first, what), getattr(second, what)
        if one != other:
            raise ParameterError(
                f"parameter {first.name!r} has the {what} {one} in one likelihood and {other} in "
                f"{name!r}; expected the same, or another name: combine(…, renamed={{{name!r}: "
                f"{{{first.name!r}: …}}}})"
            )
