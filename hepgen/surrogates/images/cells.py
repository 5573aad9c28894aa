r"""Cells that are read or not, as numbers without an edge; and the energies of their layers.

A cell that is read has e > t, the threshold, and becomes :math:`v = \sqrt{e/t} - 1 > 0`. The
root makes the fluctuations of a number of particles, or of photo-electrons, as large in a bright
cell as in a faint one. A cell that is not read has e = 0, and any v ≤ 0 stands for it; which, is
chosen by :class:`~hepgen.surrogates.images.law.CellLaw`. So what is lost is nothing: the way back
is exact, and how many cells are read is a matter of how often v > 0.

A converter gives whole counts. They are spread evenly over ± half a count, and the way back
rounds. A layer in which nothing is read is given an energy between zero and the threshold, so
that the energies of the layers have a density too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import DataError, SurrogateError

_OFF = 0.05
"""Of a count, what single precision may be off in 50,000 of them, ten times over."""


@dataclass(frozen=True)
class CellCode:
    """Images to (layer energies, v) and back.

    Arguments:
        shape: Layers, cells in η, cells in φ.
        least: The smallest energy of a cell that is read, GeV.
        step: Of the converter, GeV; 0 if energies are not in counts.

    >>> code = CellCode((1, 1, 2), least=0.25)
    >>> energies, v = code.encode(torch.tensor([[1.0, 0.0]]), torch.Generator())
    >>> energies, v
    (tensor([[1.]], dtype=torch.float64), tensor([[1., 0.]], dtype=torch.float64))
    >>> code.decode(energies, v)
    tensor([[1., 0.]], dtype=torch.float64)
    """

    shape: tuple[int, int, int]
    least: float
    step: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.step <= self.least and self.least > 0):
            raise SurrogateError(
                f"a least energy of {self.least} GeV with a step of {self.step} GeV: expected a "
                "positive energy, below which no cell is read, and a step that is not larger"
            )

    @property
    def threshold(self) -> float:
        """t, GeV: half a count below the least energy."""
        return self.least - 0.5 * self.step

    @property
    def layers(self) -> int:
        """How many."""
        return self.shape[0]

    @property
    def voxels(self) -> int:
        """Of an image."""
        return math.prod(self.shape)

    def encode(self, image: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Layer energies in GeV, shape ``(N, layers)``, and v ≥ 0, shape ``(N, voxels)``; float64.

        Arguments:
            image: GeV, shape ``(N, voxels)``.
            generator: Of what is spread, in a count and in a layer without a cell.

        Raises:
            DataError: An image of another shape, or an energy that cannot be read.
        """
        self.check(image)
        image = image.double()
        read = image > 0
        spread = (1 - 1e-6) * (
            torch.rand(image.shape, generator=generator, dtype=torch.float64) - 0.5
        )
        e = torch.where(read, image + self.step * spread, 0.0)
        energies = self._by_layer(e).sum(-1)
        share = torch.rand(energies.shape, generator=generator, dtype=image.dtype)
        energies = torch.where(energies > 0, energies, self.threshold * (0.05 + 0.9 * share))
        v = ((e / self.threshold).sqrt() - 1).clamp(min=1e-12)
        return energies, torch.where(read, v, 0.0)

    def decode(self, energies: Tensor, v: Tensor) -> Tensor:
        """Images in GeV, shape ``(N, voxels)``, float64.

        A layer has the energy that it is given, and each cell with v > 0 at least the threshold:
        it is the energy above the threshold that is scaled. Where the energy of a layer is not
        enough for all of its cells, the brightest are read; where v > 0 nowhere, the brightest
        one is. Sums are exact but for the rounding to counts.

        Arguments:
            energies: GeV, shape ``(N, layers)``.
            v: Shape ``(N, voxels)``.
        """
        v, energy = self._by_layer(v.double()), energies.double()[..., None]
        read = self._read(v, torch.floor(energy / self.threshold))
        above = torch.where(read, self.threshold * ((v.clamp(min=0) + 1).square() - 1), 0.0)
        total = above.sum(-1, keepdim=True)
        number = read.double().sum(-1, keepdim=True)
        left = energy - number * self.threshold
        share = torch.where(total > 0, above / total, read / number.clamp(min=1))
        e = torch.where(read, self.threshold + left * share, 0.0).flatten(-2)
        if not self.step:
            return e
        counts = (e / self.step).round() * self.step
        return torch.where(e > 0, counts.clamp(min=self.least), 0.0)

    def check(self, image: Tensor) -> None:
        """Refuse what is not an image.

        Raises:
            DataError: Another shape, or an energy that cannot be read.
        """
        if image.ndim != 2 or image.shape[-1] != self.voxels:
            raise DataError(
                f"images of shape {tuple(image.shape)}; expected (N, {self.voxels}), flattened"
            )
        wrong = ~((image == 0) | (image > self.least * (1 - 1e-6))) | image.isinf()
        if wrong.any():
            raise DataError(
                f"{int(wrong.sum())} cells, e.g. {image[wrong][0].item():g} GeV, are neither 0 nor "
                f"at least {self.least:g} GeV, the smallest energy of a cell; suppress them first"
            )

    def check_counts(self, image: Tensor) -> None:
        """Refuse energies between the counts of the converter, which have no probability.

        Raises:
            DataError: A cell that is off by more than single precision is.
        """
        if not self.step:
            return
        counts = image.double() / self.step
        between = (counts - counts.round()).abs() > _OFF
        if between.any():
            raise DataError(
                f"{int(between.sum())} cells, e.g. {image[between][0].item():g} GeV, are not whole "
                f"counts of {self.step:g} GeV, which are all that the converter gives; round them"
            )

    def _read(self, v: Tensor, most: Tensor) -> Tensor:
        """Which cells are read, shape ``(N, layers, cells)``: so many at most, one at least."""
        read = v > 0
        number = read.sum(-1, keepdim=True)
        # The common case, without the order of the cells; a graph has no branch.
        if not torch.compiler.is_compiling() and bool(((number > 0) & (number <= most)).all()):
            return read
        rank = v.argsort(-1, descending=True).argsort(-1)
        return (read | (rank == 0)) & (rank < most)

    def _by_layer(self, cells: Tensor) -> Tensor:
        return cells.reshape(*cells.shape[:-1], self.layers, -1)


def fractions(energies: Tensor, incident: Tensor) -> Tensor:
    """E_dep / E_inc, and of each layer its share of what it and those behind it hold.

    Krause and Shih, arXiv:2106.05285, Eq. 3.

    Arguments:
        energies: Positive, shape ``(N, L)``.
        incident: Shape ``(N,)``.

    Returns:
        Shape ``(N, L)``: a positive number, and L − 1 in (0, 1).

    >>> fractions(torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([10.0]))
    tensor([[0.9000, 0.1111, 0.2500]])
    """
    behind = energies.flip(-1).cumsum(-1).flip(-1)
    shares = energies[:, :-1] / behind[:, :-1]
    return torch.cat([(behind[:, 0] / incident)[:, None], shares], -1)


def layer_energies(fraction: Tensor, incident: Tensor) -> Tensor:
    """The inverse of :func:`fractions`, shape ``(N, L)``."""
    total, shares = fraction[:, :1] * incident[:, None], fraction[:, 1:]
    # A product of all before it; no exporter takes cumprod.
    left = torch.cat([total, total * torch.log1p(-shares).cumsum(-1).exp()], -1)
    return left * torch.cat([shares, torch.ones_like(total)], -1)


def log_fraction_slope(energies: Tensor, incident: Tensor) -> Tensor:
    """log |∂ fractions / ∂ energies|, shape ``(N,)``: the Jacobian of :func:`fractions`.

    >>> log_fraction_slope(torch.tensor([[1.0, 3.0]]), torch.tensor([0.25])).tolist()
    [0.0]
    """
    behind = energies.flip(-1).cumsum(-1).flip(-1)
    return -incident.log() - behind[:, :-1].log().sum(-1)
