r"""Amortised posteriors as one: the equal mixture of M members.

.. math:: p(\theta | \{x\}) = \frac1M \sum_m p_m(\theta | \{x\})

What the finite simulation leaves open of a member widens the mixture; a mean of logarithms, which
:mod:`hepgen.inference.ensemble` takes of likelihoods, would not be normalised.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from hepgen.errors import DataError, FileError, ParameterError
from hepgen.inference.ensemble import Scheme, shared_parameters
from hepgen.inference.ensemble_files import place
from hepgen.inference.npe import NPE
from hepgen.inference.posterior import Posterior, PosteriorSample
from hepgen.nn.number_files import read_numbers, write_numbers
from hepgen.results import TrainingCurve

KIND = "posterior-ensemble"


class PosteriorEnsemble:
    """Trained members, which can be saved as each of them can.

    Arguments:
        members: Two at least, of the same parameters.
        scheme: How the simulation was shared, see :func:`hepgen.inference.ensemble.shares`.

    Raises:
        DataError: There are fewer.
        ParameterError: They have different parameters or priors.
    """

    def __init__(self, members: Sequence[NPE], *, scheme: Scheme = "bootstrap") -> None:
        first = shared_parameters([one.parameters for one in members])
        self.members, self.parameters, self.scheme = tuple(members), first, scheme

    def __len__(self) -> int:
        return len(self.members)

    @property
    def curve(self) -> TrainingCurve:
        """The training of the first member, with the time of all."""
        seconds = sum(one.curve.seconds for one in self.members)
        return dataclasses.replace(self.members[0].curve, seconds=seconds)

    def posterior(self) -> MixturePosterior:
        """The mixture."""
        return MixturePosterior([one.posterior() for one in self.members])

    def save(self, folder: Path | str) -> None:
        """Write the members into ``folder/member-1`` and on, and ``folder/model.json``."""
        for number, one in enumerate(self.members, start=1):
            one.save(place(Path(folder), number))
        write_numbers(Path(folder), KIND, {"members": len(self), "scheme": self.scheme}, {})

    @classmethod
    def load(
        cls, folder: Path | str, member: Callable[[Path], NPE] = NPE.load
    ) -> PosteriorEnsemble:
        """Read what :meth:`save` wrote; nothing from the files is executed.

        Raises:
            FileError: The files are missing, truncated, edited, or from a newer version.
        """
        entry, _ = read_numbers(Path(folder), KIND)
        try:
            members = [member(place(Path(folder), m + 1)) for m in range(int(entry["members"]))]
            return cls(members, scheme=entry["scheme"])
        except (KeyError, TypeError, ValueError, DataError, ParameterError) as error:
            raise FileError(
                f"{folder}/model.json does not describe an ensemble: {error!r}"
            ) from error


class MixturePosterior(Posterior):
    """The equal mixture of posteriors of the same parameters."""

    def __init__(self, members: Sequence[Posterior]) -> None:
        super().__init__(members[0].parameters)
        self.members = tuple(members)

    def draw_batched(
        self,
        n: int,
        x: Sequence[Tensor],
        *,
        weight: Sequence[Tensor | None] | None = None,
        seed: int = 0,
    ) -> list[PosteriorSample]:
        """n draws for each data set, as many of each member as of another, in random order."""
        number = len(self.members)
        each = [
            member.draw_batched((n + m) // number, x, weight=weight, seed=seed * number + m)
            for m, member in enumerate(self.members)
            if (n + m) // number
        ]
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        return [
            dataclasses.replace(
                parts[0],
                theta=torch.cat([part.theta for part in parts])[order],
                effective_samples=(float(n),) * len(parts[0].names),
            )
            for parts in zip(*each, strict=True)
        ]

    def log_prob(
        self, theta: Tensor, x: Tensor | None = None, *, weight: Tensor | None = None
    ) -> Tensor:
        """log of the mean of the members' densities, shape ``(K,)``."""
        data = self.data(x)
        each = torch.stack([one.log_prob(theta, data, weight=weight) for one in self.members])
        mean: Tensor = each.logsumexp(0) - math.log(len(self.members))
        return mean
