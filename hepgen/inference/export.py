"""A learned density of events as an ONNX graph, for programs that have neither hepgen nor torch.

``density.onnx`` gives log p(x | θ), in physical variables, and ``manifest.json`` says what goes in
and comes out. Nothing is written before onnxruntime has reproduced it.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hepgen.errors import SurrogateError
from hepgen.files import write_atomically
from hepgen.inference.nle import NLE
from hepgen.results import to_json
from hepgen.surrogates.export import DENSITY, MANIFEST, SCHEMA, TOLERANCE, versions
from hepgen.surrogates.graphs import Bijection
from hepgen.surrogates.onnx_graph import (
    described,
    need_packages,
    refuse_existing,
    run,
    signed,
    to_onnx,
)

_BATCHES = (1, 7, 504)


class LikelihoodGraph(nn.Module):
    """log p(x | θ) of pairs, −∞ outside the bounds of x and NaN outside those of the priors.

    Arguments:
        nle: The density.
    """

    location: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, nle: NLE) -> None:
        super().__init__()
        self.network, self.space = nle.estimator.net, Bijection(nle.features)
        location, scale = nle.standardisation
        self.register_buffer("location", location)
        self.register_buffer("scale", scale)
        priors = nle.parameters.priors
        for name in ("low", "high"):
            edges = [getattr(prior, name) for prior in priors]
            self.register_buffer(name, torch.tensor(edges, dtype=torch.float64))

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        """Shape ``(B,)``, of shapes ``(B, d)`` and ``(B, D)``, all float64."""
        known = ((theta >= self.low) & (theta <= self.high)).all(-1)
        possible = self.space.inside(x)
        distribution = self.network(((theta - self.location) / self.scale).float())
        value = distribution.log_prob(self.space.standardised(x).float()).double()
        value = torch.where(possible, value + self.space.log_jacobian(x), -math.inf)
        return torch.where(known, value, math.nan)


def export_density(
    nle: NLE,
    folder: Path | str,
    *,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Write ``density.onnx`` and ``manifest.json`` into ``folder``.

    The batch is dynamic, one θ an event. A θ outside its prior, where nothing was learned, gives
    NaN; an event outside its bounds −∞.

    Arguments:
        nle: What to export; SCANDAL trains one, too.
        folder: Where to; made if need be.
        tolerance: The largest deviation of onnxruntime from torch, in units of the absolute value
            of log p or of one nat, whichever is larger.
        overwrite: Replace an export that is there.
        seed: Of the points of the check: events of the density at draws of the prior.

    Returns:
        The manifest.

    Raises:
        SurrogateError: onnxruntime does not reproduce it, or a package of the extra ``onnx`` is
            missing.
        FileError: There is an export already.
    """
    folder = Path(folder)
    refuse_existing(folder, (DENSITY, MANIFEST), overwrite)
    content, manifest = density_graph(nle, tolerance=tolerance, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / DENSITY, content)
    write_atomically(folder / MANIFEST, to_json(manifest).encode())
    return manifest


def density_graph(
    nle: NLE, *, tolerance: float = TOLERANCE, seed: int = 0
) -> tuple[bytes, dict[str, Any]]:
    """The ONNX file and its manifest; arguments and errors of :func:`export_density`."""
    need_packages()
    generator = torch.Generator().manual_seed(seed)
    theta = nle.parameters.prior().sample((sum(_BATCHES),), generator)
    x = nle.sample(1, theta, seed)[0]
    with torch.no_grad():
        expected = nle.log_densities(nle.prepare(x)[:, None], theta[:, None])[:, 0, 0].numpy()
        proto = to_onnx(
            LikelihoodGraph(nle), (x, theta), ("x", "theta"), ("log_prob",), "NLE"
        )  # fmt: skip
    found = run(proto, [x.numpy(), theta.numpy()], _BATCHES)
    deviation = float(np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected))))
    if not deviation <= tolerance:  # also where it is not a number
        raise SurrogateError(
            f"onnxruntime does not reproduce the density: the largest deviation is "
            f"{deviation:.3g}, expected at most {tolerance:g}; it was not written"
        )
    manifest = _manifest(nle, proto, deviation, tolerance)
    content = signed(proto, manifest)
    manifest["density"]["sha256"] = hashlib.sha256(content).hexdigest()
    return content, manifest


def _manifest(nle: NLE, proto: Any, deviation: float, tolerance: float) -> dict[str, Any]:
    free = zip(nle.parameters.free, nle.parameters.priors, strict=True)
    parameters = [
        {"name": p.name, "unit": p.unit, "label": p.label,
         **{edge: _finite(getattr(prior, edge)) for edge in ("low", "high")}}
        for p, prior in free
    ]  # fmt: skip
    return {
        "format": "hepgen-onnx", "schema": SCHEMA, "method": "nle",
        "features": nle.features.to_dict()["features"],
        "parameters": parameters,
        "outside_the_range": "NaN", "outside_the_bounds": "log_prob is -inf",
        "density": {
            "file": DENSITY, "opset": proto.opset_import[0].version,
            "inputs": [described(value) for value in proto.graph.input],
            "outputs": [described(value) for value in proto.graph.output],
            "quality": "exact",
            "check": {"points": sum(_BATCHES), "largest_deviation": deviation,
                      "tolerance": tolerance},
        },
        "versions": versions(),
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
