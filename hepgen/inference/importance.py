"""Importance sampling from an adapted multivariate Student distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.inference.laplace import Laplace, LogDensity

_FREEDOM = 6.0


@dataclass(frozen=True)
class WeightedDraws:
    """K weighted draws from each of B densities.

    Arguments:
        u: Shape ``(B, K, D)``.
        log_weight: log of density over proposal, shape ``(B, K)``.
    """

    u: Tensor
    log_weight: Tensor

    @property
    def effective_samples(self) -> Tensor:
        """(Σw)²/Σw², shape ``(B,)`` (Kish)."""
        return (2 * self.log_weight.logsumexp(-1) - (2 * self.log_weight).logsumexp(-1)).exp()

    @property
    def log_evidence(self) -> Tensor:
        """log of the integral of the density, shape ``(B,)``."""
        return self.log_weight.logsumexp(-1) - math.log(self.u.shape[1])

    def resample(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws of equal weight from each, shape ``(B, n, D)``, in random order.

        Systematic resampling: one uniform number shifts n equal steps through the cumulated
        weights, so a draw repeats only as often as its weight demands.
        """
        cumulated = torch.softmax(self.log_weight, dim=-1).cumsum(-1)
        shift = torch.rand(len(self.u), 1, generator=generator, dtype=torch.float64)
        points = (torch.arange(n) + shift) / n * cumulated[:, -1:]
        index = torch.searchsorted(cumulated, points).clamp(max=self.u.shape[1] - 1)
        index = index[:, torch.randperm(n, generator=generator)]
        return self.u.gather(1, index[..., None].expand(-1, -1, self.u.shape[-1]))


@torch.no_grad()
def importance_draws(
    log_density: LogDensity, start: Laplace, draws: int, generator: torch.Generator
) -> WeightedDraws:
    """Weighted draws from each of B densities.

    The first proposal is a Student t with the location and the scale of ``start``. Each
    further one takes the mean and the covariance of the weighted draws so far. All draws are
    weighted with the mixture of all proposals (adaptive multiple importance sampling, Cornuet
    et al., arXiv:0907.1254), so that none is lost.
    """
    proposals = [(start.mode, start.scale_tril)]
    b, d = start.mode.shape
    u = start.mode.new_empty((b, 0, d))
    height = start.mode.new_empty((b, 0))
    numbers = _rounds(draws)
    for i, number in enumerate(numbers):
        new = _student(*proposals[-1], number, generator)
        u, height = torch.cat([u, new], dim=1), torch.cat([height, log_density(new)], dim=1)
        log_weight = height - _log_mixture(u, proposals, numbers[: i + 1])
        log_weight = log_weight.nan_to_num(nan=-torch.inf)
        if i + 1 < len(numbers):
            proposals.append(_adapted(u, log_weight, proposals[-1]))
    return WeightedDraws(u, log_weight)


def _rounds(draws: int) -> list[int]:
    """How many draws each proposal makes: most come from the last."""
    early = [max(1, round(draws * share)) for share in (0.15, 0.15, 0.2)]
    return [*early, draws - sum(early)] if draws > 100 else [draws]


def _log_mixture(u: Tensor, proposals: list[tuple[Tensor, Tensor]], numbers: list[int]) -> Tensor:
    total = sum(numbers)
    terms = [
        _log_student(u, *proposal) + math.log(number / total)
        for proposal, number in zip(proposals, numbers, strict=True)
    ]
    return torch.stack(terms).logsumexp(0)


def _adapted(u: Tensor, log_weight: Tensor, before: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Weighted mean and covariance factor; where too few draws count, as ``before``."""
    mean_before, factor_before = before
    weight = torch.softmax(log_weight, dim=-1)
    mean = (weight[..., None] * u).sum(1)
    centred = u - mean[:, None]
    covariance = torch.einsum("bk,bki,bkj->bij", weight, centred, centred)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    enough = (1 / weight.square().sum(-1) > 5 * u.shape[-1]) & (failed == 0)
    return (
        torch.where(enough[:, None], mean, mean_before),
        torch.where(enough[:, None, None], factor, factor_before),
    )


def _student(mean: Tensor, scale_tril: Tensor, n: int, generator: torch.Generator) -> Tensor:
    b, d = mean.shape
    z = torch.randn(b, n, d, generator=generator, dtype=torch.float64)
    chi2 = torch.randn(b, n, int(_FREEDOM), generator=generator, dtype=torch.float64)
    spread = torch.sqrt(_FREEDOM / chi2.square().sum(-1, keepdim=True))
    return mean[:, None] + spread * torch.einsum("bij,bnj->bni", scale_tril, z)


def _log_student(u: Tensor, mean: Tensor, scale_tril: Tensor) -> Tensor:
    d, v = u.shape[-1], _FREEDOM
    z = torch.linalg.solve_triangular(scale_tril, (u - mean[:, None]).mT, upper=False)
    norm = math.lgamma((v + d) / 2) - math.lgamma(v / 2) - 0.5 * d * math.log(v * math.pi)
    log_det = scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return norm - log_det[:, None] - 0.5 * (v + d) * torch.log1p(z.square().sum(-2) / v)
