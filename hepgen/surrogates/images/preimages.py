r"""What could have made an image: draws of it, and what each weighs.

:meth:`~hepgen.surrogates.images.cells.CellCode.decode` forgets. Of an image with :math:`n_l` cells
read in layer l it does not say

* where in its count each energy e is, and what energy in (0, t) a layer has where none is read,
* for :math:`n_l \ge 2` the scale :math:`\sigma_l` of what cells have above the threshold: E and
  :math:`a_i = (v_i + 1)^2 - 1` of the cells that are read are a function of e and σ,

  .. math:: E = \sum_i e_i, \quad a_i = \sigma \, (e_i / t - 1), \qquad
            \left| \frac{\partial (E, a)}{\partial (e, \sigma)} \right|
            = \sigma^{n - 1} \, \frac{E - n t}{t^n} \, ,

* for :math:`n_l = 1` what v is: the cell has E, whatever v,
* what w is of the cells that are not read: w ≤ 0. Three exceptions are exact, too: of a layer in
  which none is read it is anything; beside a single one that is read, with v < 0, it is below
  that one; and where E < (n + 1) t, so that no other could be read, v is below the least of those.

They are drawn from a q near what they are under the law of the cells alone, which is normal: σ
from a Student distribution of ln σ at the mode, all w from normal laws, each cut at its limit and
given those before it (Geweke, Computing Science and Statistics 23 (1991) 571; Hajivassiliou and
McFadden, Econometrica 66 (1998) 863), the least likely first. The density of each step is known,
so that of q is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pyro.distributions import MultivariateStudentT
from torch import Tensor

from hepgen.surrogates.images.cells import CellCode
from hepgen.surrogates.images.law import CellLaw

_STEPS = 5
_LARGEST = 1.0
"""Of the steps to the mode of ln σ: how many, and the largest."""
_LEAST = 1e-9
"""Of e/t − 1: less is rounding."""
_FREEDOM = 30.0
"""Of the Student distribution: tails heavier than those of a normal one."""
_FAR = 8.0
"""From here in units of the width, a normal tail is drawn as an exponential one."""


@dataclass(frozen=True)
class Preimages:
    """K draws of what could have made each of B images of V cells.

    Arguments:
        energies: Of the layers, GeV, shape ``(B, K, layers)``.
        u: As a family learns it, shape ``(B, K, V)``.
        log_weight: Of the Jacobians less log q, shape ``(B, K)``: the mean over draws of
            p(energies) p(u | energies) times its exponential is the probability of the image.
    """

    energies: Tensor
    u: Tensor
    log_weight: Tensor


def preimages(
    code: CellCode, law: CellLaw, images: Tensor, particles: Tensor, draws: int
) -> Preimages:
    """Draws of what could have made images; from torch's global generator.

    Arguments:
        code, law: What an image is.
        images: GeV, shape ``(B, V)``; in counts, if the code has a step.
        particles: Shape ``(B, C)``.
        draws: K.
    """
    covariance = law.root.double() @ law.root.double()
    rows = zip(images.double(), particles.double(), strict=True)
    made = [_Draw(code, law, covariance, *row).of(draws) for row in rows]
    energies, u, weight = (torch.stack(parts) for parts in zip(*made, strict=True))
    return Preimages(energies, u, weight)


class _Draw:
    """The cells of an image in the order in which they are drawn.

    First those that are known up to the scale of their layer, then those that are free, the single
    ones of a layer and all of a layer where none is read, and then those with a limit.
    """

    def __init__(
        self, code: CellCode, law: CellLaw, covariance: Tensor, image: Tensor, particle: Tensor
    ) -> None:
        self.code, self.law, self.image, self.particle = code, law, image, particle
        read = (image > 0).reshape(code.layers, -1)
        self.read, self.number = read.flatten(), read.sum(-1)
        self.layer = torch.arange(code.layers).repeat_interleave(read.shape[-1])
        of_cell = self.number[self.layer]
        known = self.read & (of_cell >= 2)
        free = (self.read & (of_cell == 1)) | (of_cell == 0)
        self.known, self.free = int(known.sum()), int(free.sum())
        # Of those with a limit the least likely first, which leaves the weights most alike.
        mean, width = self._moments(self._dequantised(image.new_full((1, len(image)), 0.5))[1])
        group = torch.where(known, 0.0, torch.where(free, 1.0, 2.0))
        self.order = (group + torch.special.ndtr(-mean / width)[0] * (group > 1)).argsort()
        self.factor = torch.linalg.cholesky(covariance[self.order][:, self.order])
        self.scores = law.marginals.of(self.order[: self.known])

    def of(self, draws: int) -> tuple[Tensor, Tensor, Tensor]:
        """Energies, u and log weights, as :class:`Preimages` has them."""
        e, energies = self._dequantised(torch.rand(draws, len(self.image), dtype=torch.float64))
        empty = self.number == 0
        chance = torch.rand(draws, self.code.layers, dtype=torch.float64)
        energies = torch.where(empty, self.code.threshold * chance, energies)
        weight = self._log_boxes()

        mean, width = self._moments(energies)
        known = self.order[: self.known]
        b = (e[:, known] / self.code.threshold - 1).clamp(min=_LEAST)
        moments = mean[:, known], width[:, known]
        log_scale, log_q = self._scales(b, *moments)
        v, eta, slope = self._known(b, log_scale, *moments)
        weight = weight + slope.log().sum(-1) + self._log_jacobian(energies, log_scale) - log_q

        free = torch.randn(draws, self.free, dtype=torch.float64)
        eta, weight = torch.cat([eta, free], -1), weight - _log_normal(free).sum(-1)
        limit = (self._limits(v, eta, energies, mean, width) - mean) / width
        eta, log_q = self._below(eta, limit[:, self.order])
        # Of w in u, less what the draws of η have of it.
        weight = weight - log_q - self.factor.diagonal()[: self.known].log().sum()
        u = torch.empty_like(eta)
        u[:, self.order] = eta @ self.factor.mT
        u = u @ self.law.inverse_root.double()
        return energies, u, weight

    def _dequantised(self, share: Tensor) -> tuple[Tensor, Tensor]:
        """Energies of cells somewhere in their counts, and of their layers."""
        e = torch.where(self.read, self.image + self.code.step * (share - 0.5), 0.0)
        return e, e.reshape(*e.shape[:-1], self.code.layers, -1).sum(-1)

    def _log_boxes(self) -> Tensor:
        """Of the counts, and of the energies that are not read."""
        boxes = (self.number == 0).sum() * math.log(self.code.threshold)
        return boxes + (self.read.sum() * math.log(self.code.step) if self.code.step else 0.0)

    def _moments(self, energies: Tensor) -> tuple[Tensor, Tensor]:
        particle = self.particle.expand(len(energies), -1)
        mean, width = self.law.moments(torch.cat([particle, energies.sqrt()], -1))
        return mean.double(), width.double()

    def _known(
        self, b: Tensor, log_scale: Tensor, mean: Tensor, width: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """v, η, and the derivative of the residual in a, of cells that are read; ``(K, known)``.

        Arguments:
            b: e/t − 1.
            log_scale: Of the layers, shape ``(K, layers)``.
            mean, width: Of their w.
        """
        v = (1 + b * log_scale.exp()[:, self.layer[self.order[: self.known]]]).sqrt() - 1
        w, slope = self.scores.with_slope(v)
        eta = _solved(self.factor[: self.known, : self.known], ((w - mean) / width)[..., None])
        return v, eta[..., 0], slope / (2 * (v + 1) * width)

    def _log_jacobian(self, energies: Tensor, log_scale: Tensor) -> Tensor:
        """Of (E, a) in (e, ln σ), of the layers that have a scale."""
        t, n = self.code.threshold, self.number
        above = (energies - n * t).clamp(min=1e-300)
        each = n * log_scale - n * math.log(t) + above.log()
        return torch.where(n >= 2, each, 0.0).sum(-1)

    def _scales(self, b: Tensor, mean: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """ln σ of the layers, shape ``(K, layers)``, 0 where none is needed, and log q of them.

        Around the mode under the normal law, that Gauss and Newton find; arguments as of
        :meth:`_known`.
        """
        s = b.new_zeros(len(b), self.code.layers)
        many = self.number >= 2
        if not many.any():
            return s, b.new_zeros(len(b))
        factor = self.factor[: self.known, : self.known]
        member = (self.layer[self.order[: self.known], None] == many.nonzero()[:, 0]).double()
        for _ in range(_STEPS):
            v, eta, slope = self._known(b, s, mean, width)
            a = (v + 1).square() - 1
            jacobian = _solved(factor, (slope * a)[..., None] * member)
            # Of −½ |η|² + Σ ln a − ½ ln (1 + a), as a function of ln σ.
            slopes = (1 - 0.5 * a / (1 + a)) @ member - (jacobian.mT @ eta[..., None])[..., 0]
            curvature = jacobian.mT @ jacobian
            curvature += torch.diag_embed((0.5 * a / (1 + a).square()) @ member)
            s[:, many] += torch.linalg.solve(curvature, slopes).clamp(-_LARGEST, _LARGEST)
        covariance = torch.linalg.inv(curvature)
        root = torch.linalg.cholesky(0.5 * (covariance + covariance.mT))
        q = MultivariateStudentT(torch.tensor(_FREEDOM).to(b), s[:, many], root)
        s[:, many] = q.sample()
        return s, q.log_prob(s[:, many])

    def _limits(
        self, v: Tensor, eta: Tensor, energies: Tensor, mean: Tensor, width: Tensor
    ) -> Tensor:
        """What w of the cells that are not read is below, shape ``(K, V)``."""
        cells = self.order[: self.known + self.free]
        residual = eta @ self.factor[: len(cells), : len(cells)].mT
        w = torch.zeros_like(mean)
        w[:, cells] = mean[:, cells] + width[:, cells] * residual
        every = self.law.marginals.inverse(w.float()).double()  # of the single ones
        every[:, cells[: self.known]] = v
        every = torch.where(self.read, every, torch.inf)
        least = every.reshape(len(v), self.code.layers, -1).amin(-1)
        crowded = energies < (self.number + 1) * self.code.threshold
        limit = torch.where(crowded, least, least.clamp(max=0))
        # Where none is read nothing has a limit, and nothing asks for it.
        limit = torch.where(self.number == 0, 0.0, limit)
        highest: Tensor = self.law.marginals(limit[:, self.layer]).double()
        return highest

    def _below(self, eta: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        """All η, shape ``(K, V)``, and log q of all that were drawn with a limit."""
        start, total = eta.shape[-1], len(self.image)
        every = torch.cat([eta, eta.new_zeros(len(eta), total - start)], -1)
        chance = torch.rand(len(eta), total, dtype=torch.float64)
        log_q = torch.zeros(len(eta), dtype=torch.float64)
        for j in range(start, total):
            row = self.factor[j]
            edge = (limit[:, j] - every[:, :j] @ row[:j]) / row[j]
            every[:, j], log_density = _tail(edge, chance[:, j])
            log_q += log_density
        return every, log_q


def _solved(factor: Tensor, x: Tensor) -> Tensor:
    """What the factor L of a covariance makes x of, L⁻¹ x: shape ``(K, n, m)`` for n × n."""
    draws, n, m = x.shape
    columns = x.movedim(1, 0).reshape(n, draws * m)  # one factor for all: no copies of it
    solved: Tensor = torch.linalg.solve_triangular(factor, columns, upper=False)
    return solved.reshape(n, draws, m).permute(1, 0, 2)


def _tail(edge: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """A standard normal number below an edge, from one in (0, 1), and the log-density of it."""
    near = edge > -_FAR
    below = 0.5 * torch.erfc(-edge / math.sqrt(2))  # ndtr is 1 + erf, which is nothing far below
    normal = torch.minimum(torch.special.ndtri(chance.clamp(1e-12, 1) * below), edge)
    rate = -edge.clamp(max=-_FAR)
    beyond = chance.clamp(min=1e-300).log()
    drawn = torch.where(near, normal, edge + beyond / rate)
    density = torch.where(near, _log_normal(normal) - below.log(), rate.log() + beyond)
    return drawn, density


def _log_normal(x: Tensor) -> Tensor:
    return -0.5 * (x.square() + math.log(2 * math.pi))
