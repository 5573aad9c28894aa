"""What is judged of a shower's image: the observables of the CaloChallenge.

Layer energies, total over incident energy, centres and widths along η and φ in each layer, the
fraction of cells without a signal (Krause et al., arXiv:2410.21611, section 4), as columns that
every comparison of samples takes. The energies of the cells themselves are one more spectrum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hepgen.diagnostics.comparison.distances import histogram_chi2, separation_power
from hepgen.diagnostics.comparison.samples import Array
from hepgen.errors import DataError
from hepgen.features import Feature
from hepgen.judgement import FeatureJudgement, Measured
from hepgen.simulators.calorimeter.material import Geometry
from hepgen.simulators.calorimeter.reconstruction import moments

_CELL_BINS = 40


@dataclass(frozen=True)
class Observables:
    """Columns of images.

    Arguments:
        features: What the K columns are.
        x: Shape ``(N, K)``.
    """

    features: tuple[Feature, ...]
    x: Array

    def column(self, name: str) -> Array:
        """One of them, shape ``(N,)``."""
        return np.asarray(self.x[:, [one.name for one in self.features].index(name)])


def shower_observables(
    image: Tensor, incident: Tensor | None, geometry: Geometry, threshold: float = 0.0
) -> Observables:
    """The observables of N images.

    Centres ⟨η⟩ = Σ e_i η_i/Σ e_i and widths √(⟨η²⟩ − ⟨η⟩²) are in cells, 0 in a layer without
    energy. Cells at or below the threshold count as empty, in every observable.

    Arguments:
        image: GeV, shape ``(N, layers, η, φ)`` or ``(N, voxels)``.
        incident: GeV, shape ``(N,)``; without it there is no ratio.
        geometry: The cells.
        threshold: GeV.

    Raises:
        DataError: Images of another shape, or with NaN.
    """
    image = _checked(image, geometry)
    image = torch.where(image > threshold, image, 0.0)
    pairs = list(_columns(image, incident, geometry))
    return Observables(
        tuple(feature for feature, _ in pairs),
        torch.stack([column for _, column in pairs], dim=-1).numpy(),
    )


def cell_spectrum(
    truth: Tensor, surrogate: Tensor, null: Tensor, threshold: float
) -> FeatureJudgement:
    """The energies of all cells above a positive threshold, in bins of equal log(energy).

    The errors count events, not cells: the cells of an event are not independent.

    Arguments:
        truth, surrogate, null: GeV, each of shape ``(N, …)``; N of one size.
        threshold: GeV.
    """
    if not threshold > 0:
        raise DataError(f"threshold = {threshold:g} GeV: expected a positive one, for a logarithm")
    top = max(float(x.max()) for x in (truth, surrogate, null)) * 1.001
    if not top > threshold:
        raise DataError(f"no cell is above {threshold:g} GeV; lower the threshold")
    edges = np.geomspace(threshold, top, _CELL_BINS + 1)
    counts = [_per_event(x, edges) for x in (truth, surrogate, null)]
    sums = [c.sum(0) for c in counts]
    variances = [len(c) * c.var(0, ddof=1) for c in counts]
    scale = len(truth) / len(surrogate)
    chi2, ndf, p_value = histogram_chi2(sums[0], sums[1], variances[0], variances[1])
    return FeatureJudgement(
        "Cell_energy", "$E$ of a cell", "GeV", edges,
        truth=sums[0], surrogate=scale * sums[1],
        truth_std=np.sqrt(variances[0]), surrogate_std=scale * np.sqrt(variances[1]),
        wasserstein=_log_distance(sums[0], sums[1], edges),
        wasserstein_null=Measured(_log_distance(sums[0], sums[2], edges), 0.0),
        separation=separation_power(sums[0], sums[1]),
        separation_null=separation_power(sums[0], sums[2]),
        chi2=chi2, ndf=ndf, p_value=p_value,
    )  # fmt: skip


def _columns(
    image: Tensor, incident: Tensor | None, geometry: Geometry
) -> Iterator[tuple[Feature, Tensor]]:
    layers = image.sum((-2, -1))
    total = layers.sum(-1)
    yield Feature("Calo_energy", "GeV", r"$E_\mathrm{dep}$"), total
    if incident is not None:
        ratio = total / incident.double()
        yield Feature("Calo_ratio", "", r"$E_\mathrm{dep}/E_\mathrm{inc}$"), ratio
    _, eta, phi = geometry.middles
    along_eta, wide = moments(image.sum(-1), eta)
    along_phi, high = moments(image.sum(-2), phi)
    empty = (image <= 0).double().mean((-2, -1))
    for i in range(geometry.layers):
        for name, unit, label, value in (
            ("energy", "GeV", r"E", layers),
            ("eta", "cell", r"\langle\eta\rangle", along_eta),
            ("phi", "cell", r"\langle\phi\rangle", along_phi),
            ("eta_width", "cell", r"\sigma_\eta", wide.clamp_min(0).sqrt()),
            ("phi_width", "cell", r"\sigma_\phi", high.clamp_min(0).sqrt()),
            ("sparsity", "", r"f_\mathrm{empty}", empty),
        ):
            yield Feature(f"Layer{i}_{name}", unit, f"${label}$ of layer {i}"), value[:, i]


def _checked(image: Tensor, geometry: Geometry) -> Tensor:
    if image.shape[1:].numel() != geometry.voxels or image.dim() < 2:
        raise DataError(
            f"images of shape {tuple(image.shape)}; expected (N, {geometry.voxels}) or "
            f"(N, {', '.join(str(n) for n in geometry.shape)})"
        )
    invalid = int((~torch.isfinite(image)).flatten(1).any(-1).sum())
    if invalid:
        raise DataError(f"{invalid} of {len(image)} images have cells that are NaN or infinite")
    return image.detach().double().reshape(len(image), *geometry.shape)


def _per_event(image: Tensor, edges: Array) -> Array:
    """Cells of each event in each bin, shape ``(N, B)``."""
    cells = image.detach().double().flatten(1).numpy()
    number = np.searchsorted(edges, cells, side="right") - 1
    inside = (number >= 0) & (number < len(edges) - 1)
    place = np.nonzero(inside)[0] * (len(edges) - 1) + number[inside]
    flat = np.bincount(place, minlength=len(cells) * (len(edges) - 1))
    return flat.reshape(len(cells), -1).astype(np.float64)


def _log_distance(first: Array, second: Array, edges: Array) -> float:
    """W₁ of log(energy) from histograms, in units of the first one's standard deviation."""
    p, q = first / first.sum(), second / second.sum()
    middle = 0.5 * (np.log(edges[1:]) + np.log(edges[:-1]))
    step = middle[1] - middle[0]
    spread = np.sqrt(np.sum(p * (middle - np.sum(p * middle)) ** 2))
    return float(np.abs(np.cumsum(p - q)).sum() * step / spread)
