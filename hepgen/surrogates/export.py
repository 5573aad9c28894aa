"""A surrogate as ONNX graphs, for programs that have neither hepgen nor torch.

``sampler.onnx`` makes events in physical variables from noise and a context, ``density.onnx``
gives log p of such events, and ``manifest.json`` says what goes in and comes out. Nothing is
written before onnxruntime has reproduced both.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import hepgen
from hepgen.errors import SurrogateError
from hepgen.events import EXTRAPOLATED
from hepgen.files import write_atomically
from hepgen.results import to_json
from hepgen.surrogates.conditional import ConditionalDensity
from hepgen.surrogates.families import family
from hepgen.surrogates.graphs import DensityGraph, Graph, SamplerGraph
from hepgen.surrogates.onnx_graph import (
    NotAGraphError,
    described,
    need_packages,
    refuse_existing,
    run,
    signed,
    to_onnx,
)
from hepgen.surrogates.surrogate import Surrogate

SCHEMA = 1
TOLERANCE = 1e-4
SAMPLER, DENSITY, MANIFEST = "sampler.onnx", "density.onnx", "manifest.json"
_BATCHES = (1, 7, 504)
"""Sizes at which the graphs are checked; none is the one that they were made with."""


@dataclass(frozen=True)
class _Points:
    """What the graphs are checked on.

    Arguments:
        noise: Shape ``(B, M)``, float32.
        context: Shape ``(B, C)``, float64, in the range of the training.
    """

    noise: Tensor
    context: Tensor

    @classmethod
    def of(cls, surrogate: Surrogate, context: Tensor | None, seed: int) -> _Points:
        generator = torch.Generator().manual_seed(seed)
        rows = sum(_BATCHES)
        noise = torch.randn(rows, surrogate.model.noise, generator=generator)
        if context is None:
            return cls(noise, _in_range(surrogate, rows, generator))
        surrogate.domain.check(context)
        return cls(noise, context[torch.arange(rows) % len(context)].double())

    def inputs(self, first: Tensor) -> tuple[Tensor, ...]:
        """The arguments of a graph."""
        return (first, self.context) if self.context.shape[-1] else (first,)


def export(
    surrogate: Surrogate,
    folder: Path | str,
    *,
    density: bool = True,
    context: Tensor | None = None,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Write ``sampler.onnx``, ``density.onnx`` and ``manifest.json`` into ``folder``.

    The batch is dynamic. Noise is an input, so the caller owns the seed; physical quantities
    are float64, in the units of the manifest. A context outside the range of the training gives
    NaN, an event outside its bounds log p = −∞. With ``surrogate.extrapolate`` both graphs answer
    there, and have the truth value ``extrapolated`` as a second output.

    Arguments:
        surrogate: What to export.
        folder: Where to; made if need be.
        density: Also the density, where the family has one that draws no random numbers; the
            manifest says why there is none, or why an estimate of one is no graph, or differs.
        context: Held-out contexts to check on, shape ``(N, C)``; by default even in the range.
        tolerance: The largest deviation of onnxruntime from torch: of x in units of its absolute
            value or its interquartile range, of log p in units of its absolute value or one nat,
            whichever is larger.
        overwrite: Replace an export that is there.
        seed: Of the points of the check.

    Returns:
        The manifest.

    Raises:
        SurrogateError: The family cannot be exported, onnxruntime does not reproduce it, or a
            package of the extra ``onnx`` is missing.
        FileError: There is an export already.
    """
    need_packages()
    folder = Path(folder)
    refuse_existing(folder, (SAMPLER, DENSITY, MANIFEST), overwrite)
    twin, words = surrogate.model.exportable()
    points = _Points.of(surrogate, context, seed)
    with torch.no_grad():
        graphs = {SAMPLER: _sampler(surrogate, twin, points, tolerance)}
        precise, *others = _precisions(twin)
        why = _no_density(surrogate, precise, points) if density else "it was not asked for"
        while not why and DENSITY not in graphs:
            try:
                graphs[DENSITY] = _density(surrogate, precise, points, tolerance)
            except (NotAGraphError, _NotReproducedError) as error:
                if others and isinstance(error, _NotReproducedError):
                    precise = others.pop()
                elif surrogate.quality.kind == "exact":
                    raise
                else:
                    why = str(error)
        apart = _apart(surrogate, twin, points) if words else {}
        if words and not why:
            apart["log_prob_in_nats"] = _log_prob_apart(surrogate, precise, points)
    manifest = _manifest(surrogate, precise, graphs, words, apart, why, tolerance)
    files = {name: signed(graph.proto, manifest) for name, graph in graphs.items()}
    for entry in (manifest["sampler"], manifest["density"]):
        if entry["file"]:
            entry["sha256"] = hashlib.sha256(files[entry["file"]]).hexdigest()
    for name, content in files.items():
        write_atomically(folder / name, content)
    if DENSITY not in files:
        (folder / DENSITY).unlink(missing_ok=True)
    write_atomically(folder / MANIFEST, to_json(manifest).encode())
    return manifest


@dataclass(frozen=True)
class _Exported:
    """A graph that was checked.

    Arguments:
        proto: The ONNX model.
        deviation: The largest of onnxruntime from torch.
    """

    proto: Any
    deviation: float


class _NotReproducedError(SurrogateError):
    """onnxruntime gives something else than torch."""


def _sampler(
    surrogate: Surrogate, twin: ConditionalDensity, points: _Points, tolerance: float
) -> _Exported:
    graph, inputs = SamplerGraph(surrogate, twin), points.inputs(points.noise)
    proto = to_onnx(graph, inputs, ("noise", "context"), _outputs(graph, "x"), surrogate.method)
    expected = _events(surrogate, twin, points).numpy()
    low, high = np.quantile(expected, [0.25, 0.75], axis=0)
    scale = np.maximum(np.abs(expected), high - low)
    # A count that is nearly always 0 has none.
    scale = np.where(scale > 0, scale, 1.0)
    return _checked(proto, inputs, expected, scale, tolerance, "sampler")


def _density(
    surrogate: Surrogate, twin: ConditionalDensity, points: _Points, tolerance: float
) -> _Exported:
    x = _around(surrogate, twin, points)
    graph, inputs = DensityGraph(surrogate, twin), points.inputs(x)
    proto = to_onnx(graph, inputs, ("x", "context"), _outputs(graph, "log_prob"), surrogate.method)
    expected = _log_prob(surrogate, twin, x, points).numpy()
    scale = np.maximum(np.abs(expected), 1.0)
    return _checked(proto, inputs, expected, scale, tolerance, "density")


def _precisions(twin: ConditionalDensity) -> list[ConditionalDensity]:
    """What may give the density, the first that is reproduced: in double precision at last.

    In single precision, log p of an event far from all others has no digit that counts, and along
    an ODE rounding grows. In double precision the graph has weights of twice the size, and the
    torch of the check computes as it does.
    """
    double = copy.deepcopy(twin).double()
    return [twin, double] if twin.quality.kind == "exact" else [double]


def _outputs(graph: Graph, first: str) -> list[str]:
    return [first, EXTRAPOLATED] if graph.marks else [first]


def _events(surrogate: Surrogate, model: ConditionalDensity, points: _Points) -> Tensor:
    noise = points.noise.to(model.precision)
    return surrogate.features.inverse(model.generate(noise, _given(surrogate, model, points)))


def _log_prob(
    surrogate: Surrogate, model: ConditionalDensity, x: Tensor, points: _Points, seed: int = 0
) -> Tensor:
    """log p of events, with what is drawn for it from a seed of its own."""
    u = surrogate.features.forward(x).to(model.precision)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        value = model.log_prob(u, _given(surrogate, model, points)).value
    return value + surrogate.features.log_jacobian(x)


def _given(surrogate: Surrogate, model: ConditionalDensity, points: _Points) -> Tensor:
    inputs = surrogate.inputs
    given = inputs.forward(points.context) if inputs else points.context
    return given.to(model.precision)


def _around(surrogate: Surrogate, twin: ConditionalDensity, points: _Points) -> Tensor:
    """Events of the surrogate, every second one moved by a standard deviation or so."""
    noise = points.noise.to(twin.precision)
    u = twin.generate(noise, _given(surrogate, twin, points)).double()
    moved = torch.randn(u.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    smooth = torch.tensor([f.kind != "discrete" for f in surrogate.features.features])
    u[::2] += torch.where(smooth, moved[::2], 0.0)
    return surrogate.features.inverse(u)


def _in_range(surrogate: Surrogate, rows: int, generator: torch.Generator) -> Tensor:
    """Contexts even in the range of the training, and inside the bounds of each column."""
    domain = surrogate.domain
    features = surrogate.inputs.features if surrogate.inputs else ()
    low = torch.tensor([max(a, f.low) for a, f in zip(domain.low, features, strict=True)])
    high = torch.tensor([min(b, f.high) for b, f in zip(domain.high, features, strict=True)])
    fraction = torch.rand(rows, len(features), generator=generator, dtype=torch.float64)
    return low.double() + (0.01 + 0.98 * fraction) * (high.double() - low.double())


def _no_density(surrogate: Surrogate, twin: ConditionalDensity, points: _Points) -> str:
    """Why the density cannot be exported, in words; empty where it can."""
    if surrogate.quality.kind == "none":
        return f"{surrogate.method} has no density: {surrogate.quality.words or 'it only samples'}"
    few = _Points(points.noise[:16], points.context[:16])
    x = _events(surrogate, twin, few)
    if not torch.equal(*(_log_prob(surrogate, twin, x, few, seed) for seed in (1, 2))):
        return (
            f"the density of {surrogate.method} is {surrogate.quality} and draws random numbers, "
            "which a graph must not; use Surrogate.log_prob, or a flow, whose density is exact"
        )
    return ""


def _apart(surrogate: Surrogate, twin: ConditionalDensity, points: _Points) -> dict[str, Any]:
    """How far the events of the twin are from the family's own."""
    own, fixed = (_events(surrogate, m, points) for m in (surrogate.model, twin))
    spread = torch.quantile(own, 0.75, dim=0) - torch.quantile(own, 0.25, dim=0)
    # A count, or a component that is mostly zero, may have none.
    difference = (own - fixed).abs() / torch.where(spread > 0, spread, 1.0)
    return {"x_in_interquartile_ranges": _sizes(difference)}


def _log_prob_apart(
    surrogate: Surrogate, twin: ConditionalDensity, points: _Points
) -> dict[str, float]:
    """How far the density of the twin is from the family's own."""
    x = _events(surrogate, surrogate.model, points)
    values = [_log_prob(surrogate, m, x, points) for m in (surrogate.model, twin)]
    return _sizes((values[0] - values[1]).abs())


def _sizes(difference: Tensor) -> dict[str, float]:
    return {"median": difference.median().item(), "largest": difference.max().item()}


def _checked(
    proto: Any,
    inputs: tuple[Tensor, ...],
    expected: NDArray[np.float64],
    scale: NDArray[np.float64],
    tolerance: float,
    what: str,
) -> _Exported:
    """The graph, if onnxruntime gives what is expected, at several sizes of a batch."""
    try:
        found = run(proto, [value.numpy() for value in inputs], _BATCHES)
    except Exception as error:  # onnxruntime's have no common class
        raise SurrogateError(f"onnxruntime cannot run the {what}: {error}") from error
    deviation = _deviation(found, expected, scale)
    if not deviation <= tolerance:  # also where it is not a number
        raise _NotReproducedError(
            f"onnxruntime does not reproduce the {what}: the largest deviation is "
            f"{deviation:.3g}, expected at most {tolerance:g}; it was not written"
        )
    return _Exported(proto, deviation)


def _deviation(
    found: NDArray[np.float64], expected: NDArray[np.float64], scale: NDArray[np.float64]
) -> float:
    """The largest, in units of the scale.

    >>> _deviation(np.array([-np.inf, 1.5]), np.array([-np.inf, 1.0]), np.array([np.inf, 1.0]))
    0.5
    """
    # log p = −∞ on both sides is agreement.
    apart = found != expected
    difference = np.abs(found[apart] - expected[apart]) / np.broadcast_to(scale, apart.shape)[apart]
    return float(np.max(difference, initial=0.0))


def _manifest(
    surrogate: Surrogate,
    precise: ConditionalDensity,
    graphs: dict[str, _Exported],
    words: str,
    apart: dict[str, Any],
    why: str,
    tolerance: float,
) -> dict[str, Any]:
    return {
        "format": "hepgen-onnx", "schema": SCHEMA, "method": surrogate.method,
        "family": family(surrogate.method).title, "noise": noise_entry(surrogate.model.noise),
        "features": surrogate.features.to_dict()["features"],
        "context": context_entry(surrogate),
        "outside_the_range": f"marked in {EXTRAPOLATED!r}" if surrogate.extrapolate else "NaN",
        "outside_the_bounds": "log_prob is -inf",
        "fixed_steps": {"words": words, "apart": apart} if words else None,
        "sampler": _entry(SAMPLER, graphs, tolerance),
        "density": _entry(DENSITY, graphs, tolerance) | {
            "quality": precise.quality.kind, "words": precise.quality.words, "why_not": why,
            "precision": None if why else str(precise.precision).removeprefix("torch."),
        },
        "surrogate": surrogate.manifest,
        "versions": versions(),
    }  # fmt: skip


def noise_entry(size: int) -> dict[str, Any]:
    """What a manifest says of the noise."""
    return {
        "size": size, "dtype": "float32", "law": "independent standard normal numbers",
        "seed": "the caller's: the same noise and context give the same event, in any batch, to "
        "rounding; e.g. numpy.random.default_rng(seed).standard_normal((B, M), 'float32')",
    }  # fmt: skip


def versions() -> dict[str, str]:
    """What made an export."""
    packages = {name: metadata.version(name) for name in ("onnx", "onnxruntime")}
    return {"hepgen": hepgen.__version__, "torch": str(torch.__version__), **packages}


def context_entry(surrogate: Surrogate) -> list[dict[str, Any]]:
    """What a manifest says of each column of the context."""
    features = surrogate.inputs.features if surrogate.inputs else ()
    domain = zip(features, surrogate.domain.low, surrogate.domain.high, strict=True)
    return [
        {"name": f.name, "unit": f.unit, "label": f.label, "low": low, "high": high}
        for f, low, high in domain
    ]


def _entry(name: str, graphs: dict[str, _Exported], tolerance: float) -> dict[str, Any]:
    if name not in graphs:
        return {"file": None}
    proto = graphs[name].proto
    return {
        "file": name, "opset": proto.opset_import[0].version,
        "inputs": [described(value) for value in proto.graph.input],
        "outputs": [described(value) for value in proto.graph.output],
        "check": {"points": sum(_BATCHES), "largest_deviation": graphs[name].deviation,
                  "tolerance": tolerance},
    }  # fmt: skip
