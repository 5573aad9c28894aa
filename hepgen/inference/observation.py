"""Observed sites of a chain, and the weights of draws of all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from hepgen.errors import DataError, SimulationError, nearest
from hepgen.inference.site_columns import SiteColumns
from hepgen.simulators.chain import Chain, Trace, stream

_PILOT = 256


@dataclass(frozen=True)
class Observation:
    """B events of which some sites are known, each at its own θ; made by :meth:`of`.

    Arguments:
        chain: The simulator.
        observed: Shape ``(B,)`` or ``(B, K)``.
        parameters: Shape ``(B, 1)``.
        pilot: A few events of the chain, which tell the shapes of its sites.
    """

    chain: Chain
    observed: Mapping[str, Tensor]
    parameters: Mapping[str, Tensor]
    pilot: Trace

    @classmethod
    def of(
        cls, chain: Chain, observed: Mapping[str, Tensor], parameters: Mapping[str, Tensor]
    ) -> Observation:
        """Observed values and parameters, checked against the chain."""
        events = _number_of_events(observed)
        parameters = {n: v.double() for n, v in parameters.items()}
        first = {n: v[:1] if v.dim() else v for n, v in parameters.items()}
        pilot = chain.simulate(first, _PILOT, seed=0)
        for name, value in observed.items():
            _check_site(name, value, pilot)
        for name, value in parameters.items():
            if value.dim() and len(value) not in (1, events):
                raise DataError(
                    f"parameter {name!r} has {len(value)} values for {events} observed events; "
                    "expected one for all, or one for each"
                )
        column = {n: v.reshape(-1, 1).expand(events, 1) for n, v in parameters.items()}
        values = {n: v.to(pilot.sites[n].dtype) for n, v in observed.items()}
        return cls(chain, values, column, pilot)

    def __len__(self) -> int:
        return len(next(iter(self.observed.values())))

    @property
    def features(self) -> SiteColumns:
        """The observed sites."""
        return observed_columns(self.pilot, self.observed)

    @torch.no_grad()
    def prior_weights(self, n: int, number: int, seed: int) -> Tensor:
        """log p(x | z, θ) for n draws of the latents from the chain, shape ``(B, n)``."""
        given = self._given(n)
        trace = self._simulated(given, n, number, seed)
        terms = self.chain.log_prob_terms(trace, self.parameters)
        return torch.stack([terms[name] for name in given]).sum(0)

    @torch.no_grad()
    def proposal_weights(
        self,
        proposal: Callable[[Tensor, Mapping[str, Tensor]], Distribution],
        n: int,
        number: int,
        seed: int,
    ) -> Tensor:
        """:meth:`weights` without gradients, from random numbers of their own."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(seed, "proposal", number))
            return self.weights(proposal, n)

    def weights(
        self, proposal: Callable[[Tensor, Mapping[str, Tensor]], Distribution], n: int
    ) -> Tensor:
        """log p(x, z | θ) − log q(z | x, θ) for n draws from q, shape ``(B, n)``.

        Differentiable, through the draws too, where q and the chain are.
        """
        latents = latent_columns(self.pilot, self.observed)
        q = proposal(self.features.join(self.observed), self.parameters)
        if tuple(q.batch_shape + q.event_shape) != (len(self), latents.width):
            raise DataError(
                f"the proposal has batch shape {tuple(q.batch_shape)} and event shape "
                f"{tuple(q.event_shape)}; expected ({len(self)},) for as many events and "
                f"({latents.width},) for the latents {', '.join(latents.shapes)}"
            )
        draw = q.rsample if torch.is_grad_enabled() else q.sample
        z = draw(torch.Size([n]))
        log_q = q.log_prob(z).double().T
        sites = latents.split(z.double().transpose(0, 1)) | self._given(n)
        trace = Trace(sites, {"draw": torch.zeros(len(self), n)})
        return self.chain.log_prob(trace, self.parameters) - log_q

    def take(self, index: Tensor) -> Observation:
        """Some of the events."""
        observed, parameters = (
            {name: value[index] for name, value in part.items()}
            for part in (self.observed, self.parameters)
        )
        return Observation(self.chain, observed, parameters, self.pilot)

    def _simulated(self, given: Mapping[str, Tensor], n: int, number: int, seed: int) -> Trace:
        """The chain with what is given held; refused where jagged values do not fit the draws."""
        jagged = [name for name in given if name in self.pilot.masks]
        unfit = DataError(
            f"observed {jagged} are jagged, and which of their entries exist is latent; observe "
            "the sites that say how many there are, too"
        )
        try:
            trace = self.chain.simulate(self.parameters, n, seed, number, observed=given)
        except SimulationError as error:
            if jagged and isinstance(error.__cause__, IndexError):
                raise unfit from error
            raise
        masks = [trace.masks[name] for name in jagged]
        if not all(bool((mask == mask[:, :1]).all()) for mask in masks):
            raise unfit
        return trace

    def _given(self, n: int) -> dict[str, Tensor]:
        return {
            name: value[:, None].expand(len(self), n, *value.shape[1:])
            for name, value in self.observed.items()
        }


def observed_columns(pilot: Trace, observed: Mapping[str, Tensor] | tuple[str, ...]) -> SiteColumns:
    """The columns of the observed sites, in the order of the chain.

    Raises:
        DataError: One is jagged.
    """
    names = [name for name in pilot.sites if name in observed]
    jagged = [name for name in names if name in pilot.masks]
    if jagged:
        raise DataError(
            f"observed sites {jagged} are jagged: a proposal takes a fixed number of columns; use "
            "prior_likelihood"
        )
    return _columns(pilot, names)


def latent_columns(pilot: Trace, observed: Mapping[str, Tensor] | tuple[str, ...]) -> SiteColumns:
    """The columns of all other sites, for which there can be a proposal density.

    Raises:
        DataError: One is jagged, or only takes whole numbers; or there is none.
    """
    names = [name for name in pilot.sites if name not in observed]
    jagged = [name for name in names if name in pilot.masks]
    discrete = [name for name in names if name not in jagged and _is_discrete(pilot.sites[name])]
    for what, found in (("jagged", jagged), ("whole numbers", discrete)):
        if found:
            raise DataError(
                f"latent sites {found} are {what}: no density over a fixed number of columns can "
                "propose them; use prior_likelihood, or observe them"
            )
    if not names:
        raise DataError("all sites are observed: nothing to propose; chain.log_prob is exact")
    return _columns(pilot, names)


def _columns(pilot: Trace, names: list[str]) -> SiteColumns:
    return SiteColumns({name: tuple(pilot.sites[name].shape[2:]) for name in names})


def _is_discrete(value: Tensor) -> bool:
    return not value.is_floating_point() or bool((value == value.round()).all())


def _number_of_events(observed: Mapping[str, Tensor]) -> int:
    sizes = {name: len(value) if value.dim() else 0 for name, value in observed.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        raise DataError(
            f"observed values of {sizes or 'no site'} events; expected the same number, one at "
            "least, for each site"
        )
    return next(iter(sizes.values()))


def _check_site(name: str, value: Tensor, pilot: Trace) -> None:
    if name not in pilot.sites:
        raise DataError(f"no site {name!r} to observe; {nearest(name, pilot.sites)}")
    expected = tuple(pilot.sites[name].shape[2:])
    # The width of a jagged site is that of the longest event.
    alike = value.dim() == 1 + len(expected) if name in pilot.masks else value.shape[1:] == expected
    if not alike:
        raise DataError(
            f"observed {name!r} has the shape {tuple(value.shape)}; expected "
            f"({', '.join(map(str, ('B', *expected)))}) for B events"
        )
    if not bool(torch.isfinite(value).all()):
        raise DataError(f"observed {name!r} has values that are not finite")
