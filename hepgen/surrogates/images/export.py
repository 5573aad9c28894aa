"""A surrogate of images as one ONNX graph: from noise and a particle to the energies of cells.

``sampler.onnx`` draws the energies of the layers, the cells given them, and puts both together;
``manifest.json`` says what goes in and comes out. The density of an image is a bound that draws
random numbers, which a graph must not: there is no graph of it. A graph is in single precision
where the surrogate is, and what is rounded may fall on the other side: a cell at the threshold, and
the count of a converter. Such cells are counted apart.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hepgen.errors import SurrogateError
from hepgen.events import EXTRAPOLATED
from hepgen.files import write_atomically
from hepgen.results import to_json
from hepgen.surrogates.export import (
    MANIFEST,
    SAMPLER,
    SCHEMA,
    TOLERANCE,
    context_entry,
    noise_entry,
    versions,
)
from hepgen.surrogates.graphs import SamplerGraph
from hepgen.surrogates.images.cells import layer_energies
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.onnx_graph import (
    described,
    need_packages,
    refuse_existing,
    run,
    signed,
    to_onnx,
)

_BATCHES = (1, 7, 56)
_ON_THE_EDGE = 1e-3
"""The largest share of the cells that may be rounded to the other side."""


class ImageGraph(nn.Module):
    """x(noise, particle): images of shape ``(B, voxels)``, in GeV.

    Arguments:
        surrogate: Of images.
    """

    def __init__(self, surrogate: ImageSurrogate) -> None:
        super().__init__()
        energies, cells = surrogate.energies, surrogate.cells
        twin, _ = energies.model.exportable()
        self.energies = SamplerGraph(energies, twin)
        twin, self.words = cells.model.exportable()
        self.cells = SamplerGraph(cells, twin)
        self.law, self.code = surrogate.law, surrogate.code
        self.first, self.size = energies.model.noise, energies.model.noise + cells.model.noise

    def forward(self, noise: Tensor, particle: Tensor) -> Any:
        """Of noise, shape ``(B, M)``, float32, and particles, shape ``(B, C)``, float64."""
        shares, outside = self._answer(self.energies, noise[:, : self.first], particle)
        layer = layer_energies(shares, particle[:, 0])
        u, _ = self._answer(
            self.cells, noise[:, self.first :], torch.cat([particle, layer.sqrt()], -1)
        )
        # NaN is no place in a table: such images are made of something else, and then taken back.
        known = ~(layer.isnan().any(-1, keepdim=True) | u.isnan().any(-1, keepdim=True))
        layer, u = torch.where(known, layer, 1.0), torch.where(known, u, 0.0)
        z = torch.cat([particle, layer.sqrt()], -1)
        x = torch.where(known, self.code.decode(layer, self.law.inverse(u, z)), math.nan)
        return x if outside is None else (x, outside)

    @staticmethod
    def _answer(graph: SamplerGraph, noise: Tensor, context: Tensor) -> tuple[Tensor, Any]:
        """What a graph gives, and its mark where it has one."""
        answer = graph(noise, context)
        return answer if graph.marks else (answer, None)


def export_images(
    surrogate: ImageSurrogate,
    folder: Path | str,
    *,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Write ``sampler.onnx`` and ``manifest.json`` into ``folder``.

    The batch is dynamic. Noise is an input, so the caller owns the seed. A particle outside the
    range of the training gives NaN; with ``surrogate.extrapolate`` it is answered, and marked in
    the second output, ``extrapolated``.

    Arguments:
        surrogate: What to export.
        folder: Where to; made if need be.
        tolerance: The largest deviation of onnxruntime from torch, of the energy of a cell in
            units of its absolute value or of the threshold, whichever is larger.
        overwrite: Replace an export that is there.
        seed: Of the points of the check.

    Returns:
        The manifest.

    Raises:
        SurrogateError: It cannot be exported, onnxruntime does not reproduce it, or a package of
            the extra ``onnx`` is missing.
        FileError: There is an export already.
    """
    need_packages()
    folder = Path(folder)
    refuse_existing(folder, (SAMPLER, MANIFEST), overwrite)
    graph = ImageGraph(surrogate).eval()
    inputs = _points(surrogate, graph.size, seed)
    with torch.no_grad():
        outputs = ["x", EXTRAPOLATED] if graph.energies.marks else ["x"]
        answer = graph(*inputs)
        expected = answer[0] if graph.energies.marks else answer
        proto = to_onnx(graph, inputs, ("noise", "context"), outputs, surrogate.method)
    found = torch.from_numpy(run(proto, [value.numpy() for value in inputs], _BATCHES))
    check = _check(surrogate, found, expected, tolerance)
    manifest = _manifest(surrogate, graph, proto, check)
    content = signed(proto, manifest)
    manifest["sampler"]["sha256"] = hashlib.sha256(content).hexdigest()
    write_atomically(folder / SAMPLER, content)
    write_atomically(folder / MANIFEST, to_json(manifest).encode())
    return manifest


def _points(surrogate: ImageSurrogate, noise: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows, domain = sum(_BATCHES), surrogate.domain
    low, high = (torch.tensor(edge, dtype=torch.float64) for edge in (domain.low, domain.high))
    share = torch.rand(rows, len(low), generator=generator, dtype=torch.float64)
    return torch.randn(rows, noise, generator=generator), torch.lerp(low, high, share)


def _check(
    surrogate: ImageSurrogate, found: Tensor, expected: Tensor, tolerance: float
) -> dict[str, Any]:
    """The largest deviation of cells, and the share of those that were rounded otherwise."""
    off = (found - expected).abs() / expected.abs().clamp(min=surrogate.code.threshold)
    counts = (found - expected).abs() > 0.5 * surrogate.code.step
    edge = counts if surrogate.code.step else (found > 0) != (expected > 0)
    share, largest = edge.double().mean().item(), off[~edge].max().item()
    if not (share <= _ON_THE_EDGE and largest <= tolerance):  # also where it is not a number
        raise SurrogateError(
            f"onnxruntime does not reproduce the images: the largest deviation is {largest:.3g}, "
            f"expected at most {tolerance:g}, and {share:.1e} of the cells fall on the other side "
            f"of an edge, expected at most {_ON_THE_EDGE:g}; nothing was written"
        )
    return {"points": len(found), "largest_deviation": largest, "tolerance": tolerance,
            "cells_on_the_other_side": share}  # fmt: skip


def _manifest(
    surrogate: ImageSurrogate, graph: ImageGraph, proto: Any, check: dict[str, Any]
) -> dict[str, Any]:
    code = surrogate.code
    return {
        "format": "hepgen-onnx", "schema": SCHEMA, "kind": "images", "method": surrogate.method,
        "family": f"images by {surrogate.method}",
        "noise": noise_entry(graph.size),
        "image": {"layers, eta, phi": list(code.shape), "unit": "GeV", "least": code.least,
                  "step": code.step, "order": "row-major"},
        "context": context_entry(surrogate.energies),
        "outside_the_range": "extrapolated" if surrogate.extrapolate else "NaN",
        "fixed_steps": {"words": graph.words} if graph.words else None,
        "sampler": {
            "file": SAMPLER, "opset": proto.opset_import[0].version,
            "inputs": [described(value) for value in proto.graph.input],
            "outputs": [described(value) for value in proto.graph.output],
            "check": check,
        },
        "density": {"file": None, "why_not": _why_not(surrogate)},
        "versions": versions(),
    }  # fmt: skip


def _why_not(surrogate: ImageSurrogate) -> str:
    quality = surrogate.quality
    draws = "" if quality.kind == "none" else ": it takes random draws for each image"
    return f"{quality}{draws}"
