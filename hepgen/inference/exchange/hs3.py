r"""A binned model in HS3, the HEP Statistics Serialization Standard, version 0.2; and back.

HS3 (github.com/hep-statistics-serialization-standard) can say: each channel as a
``histfactory_dist``, counts as ``binned`` data, constraints, the likelihood as pairs of the two,
the domains and points of the parameters, and which analysis to run. Where its text leaves a
choice, the document is what pyhs3 reads: templates of ``histosys`` are whole, not differences, and
the interpolation is ``code4`` for ``normsys`` and ``code4p`` for ``histosys``.

It cannot say a learned density. Those are ONNX files beside the document, listed under
``misc.hepgen.densities`` with what goes in and comes out, for programs that evaluate them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from hepgen import __version__
from hepgen.errors import DataError, FileError, nearest
from hepgen.files import parse_json, write_atomically
from hepgen.inference.exchange.binned_model import (
    BinnedModel,
    Entry,
    FilledRegion,
    Template,
    split,
)

VERSION = "0.2"
LUMI = "lumi"

_LIKELIHOOD, _DOMAIN, _START, _ANALYSIS = "likelihood", "default_domain", "start", "analysis"
_GAMMA = (1e-10, 10.0)


def hs3_document(
    model: BinnedModel, densities: Sequence[Mapping[str, Any]] = (), description: str = ""
) -> dict[str, Any]:
    """The content of an HS3 file.

    Arguments:
        model: With its data.
        densities: Learned ones, see :func:`density_reference`.
        description: Of the file.
    """
    pairs = [(f"{c.name}", f"{c.name}_data") for c in model.channels]
    light = [e for e in model.entries.values() if e.kind == "luminosity"]
    distributions = [_distribution(channel, bool(light)) for channel in model.channels]
    data = [_data(channel) for channel in model.channels]
    for entry in light:
        constraint, measured = _luminosity(entry)
        distributions.append(constraint)
        data.append(measured)
        pairs.append((constraint["name"], measured["name"]))
    written = {_named(n, e): (e.start, e.low, e.high) for n, e in model.entries.items()}
    gammas = {name: (1.0, *_GAMMA) for channel in model.channels for name in _gammas(channel)}
    parameters = written | gammas
    return {
        "metadata": {
            "hs3_version": VERSION,
            "packages": [{"name": "hepgen", "version": __version__}],
            "description": description,
        },
        "distributions": distributions,
        "data": data,
        "likelihoods": [
            {
                "name": _LIKELIHOOD,
                "distributions": [name for name, _ in pairs],
                "data": [name for _, name in pairs],
            }
        ],
        "domains": [
            {
                "name": _DOMAIN,
                "type": "product_domain",
                "axes": [
                    {"name": name, "min": low, "max": high}
                    for name, (_, low, high) in parameters.items()
                ],
            }
        ],
        "parameter_points": [
            {
                "name": _START,
                "parameters": [
                    {"name": name, "value": start} for name, (start, _, _) in parameters.items()
                ],
            }
        ],
        "analyses": [
            {
                "name": _ANALYSIS,
                "likelihood": _LIKELIHOOD,
                "parameters_of_interest": [_named(model.poi, model.entries[model.poi])],
                "domains": [_DOMAIN],
                "init": _START,
            }
        ],
        "misc": {
            "hepgen": {
                "parameters": {n: asdict(entry) for n, entry in model.entries.items()},
                "interpolation": {"normsys": "code4", "histosys": "code4p"},
                "densities": [dict(one) for one in densities],
            }
        },
    }


def density_reference(
    name: str, path: Path | str, inputs: Mapping[str, Sequence[str]], output: str, channel: str = ""
) -> dict[str, Any]:
    """What a document says of a learned density beside it.

    Arguments:
        name: Of the density.
        path: Of the ONNX file, see :func:`hepgen.surrogates.export.export`; its name alone is
            written, and its SHA-256.
        inputs: The columns of each input of the graph, observables and parameters.
        output: The output that is log p, in the units of the inputs.
        channel: Whose events it is a density of.

    Raises:
        FileError: There is no such file.
    """
    path = Path(path)
    try:
        digest = sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise FileError(f"{path}: no ONNX file to refer to ({error.strerror})") from error
    return {
        "name": name, "file": path.name, "format": "onnx", "sha256": digest, "channel": channel,
        "inputs": {key: list(columns) for key, columns in inputs.items()}, "log_density": output,
    }  # fmt: skip


def save_hs3(document: Mapping[str, Any], path: Path | str) -> None:
    """Write a document."""
    write_atomically(Path(path), json.dumps(document, indent=2, allow_nan=False).encode())


def load_hs3(path: Path | str) -> dict[str, Any]:
    """Read a document, and check that it is one that this version knows.

    Raises:
        FileError: No JSON, no HS3, or another version.
    """
    try:
        document: dict[str, Any] = parse_json(Path(path).read_text())
        version = str(document["metadata"]["hs3_version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path}: not a document of HS3: {error!r}") from error
    if version.split(".")[:2] != VERSION.split("."):
        raise FileError(f"{path}: HS3 version {version}; expected {VERSION}")
    return document


def to_pyhf(document: Mapping[str, Any], analysis: str = "") -> dict[str, Any]:
    """The analysis of a document as a pyhf workspace: what HistFactory it holds.

    Read it by :func:`hepgen.inference.binned_workspace.read_workspace`, or by pyhf.

    Arguments:
        document: Of HS3.
        analysis: Its name; the first one by default.

    Raises:
        DataError: Something is missing, or is no HistFactory.
    """
    chosen = _find(document, "analyses", analysis or document["analyses"][0]["name"])
    likelihood = _find(document, "likelihoods", chosen["likelihood"])
    channels, observations, parameters = [], [], {}
    for name, of in zip(likelihood["distributions"], likelihood["data"], strict=True):
        one, data = _find(document, "distributions", name), _find(document, "data", of)
        if one["type"] == "histfactory_dist":
            channels.append(_channel(one))
            observations.append({"name": name, "data": data["contents"]})
        elif one["type"] in ("gaussian_dist", "normal_dist"):
            (measured,) = data["entries"]
            parameters[one["mean"]] = {"auxdata": [measured[0]], "sigmas": [one["sigma"]]}
        else:
            raise DataError(
                f"distribution {name!r} of the type {one['type']!r}; expected histfactory_dist, or "
                "the gaussian_dist of a constraint"
            )
    for name in parameters:
        if name != LUMI:
            raise DataError(f"a constraint of {name!r}, which pyhf knows for {LUMI!r} alone")
    config = {
        "poi": chosen["parameters_of_interest"][0],
        "parameters": _settings(document, chosen, channels, parameters),
    }
    return {
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": chosen["name"], "config": config}],
        "version": "1.0.0",
    }


def _named(name: str, entry: Entry) -> str:
    return LUMI if entry.kind == "luminosity" else name


def _distribution(channel: FilledRegion, luminosity: bool) -> dict[str, Any]:
    return {
        "name": channel.name,
        "type": "histfactory_dist",
        "axes": [_axis(channel)],
        "samples": [
            {
                "name": name,
                "data": {
                    "contents": template.nominal.tolist(),
                    "errors": _errors(template).tolist(),
                },
                "modifiers": _modifiers(channel, template, luminosity),
            }
            for name, template in channel.templates.items()
        ],
    }


def _errors(template: Template) -> torch.Tensor:
    if template.variance is None:
        return torch.zeros_like(template.nominal)
    return template.variance.sqrt()


def _axis(channel: FilledRegion) -> dict[str, Any]:
    return {"name": f"{channel.name}_{channel.observable}", "edges": channel.edges.tolist()}


def _data(channel: FilledRegion) -> dict[str, Any]:
    return {
        "name": f"{channel.name}_data", "type": "binned", "axes": [_axis(channel)],
        "contents": channel.data.tolist(),
    }  # fmt: skip


def _luminosity(entry: Entry) -> tuple[dict[str, Any], dict[str, Any]]:
    """The constraint of the luminosity, and the auxiliary measurement."""
    x = f"{LUMI}_measured"
    constraint = {
        "name": f"{LUMI}_constraint", "type": "gaussian_dist", "x": x, "mean": LUMI,
        "sigma": entry.error,
    }  # fmt: skip
    # Where the density is: a program may normalise it there by quadrature.
    reach = 8 * entry.error
    measured = {
        "name": f"{LUMI}_auxiliary", "type": "unbinned", "entries": [[1.0]],
        "axes": [{"name": x, "min": 1 - reach, "max": 1 + reach}],
    }  # fmt: skip
    return constraint, measured


def _gammas(channel: FilledRegion) -> list[str]:
    if channel.statistics() is None:
        return []
    return [f"staterror_{channel.name}_{b}" for b in range(len(channel.data))]


def _modifiers(channel: FilledRegion, template: Template, luminosity: bool) -> list[dict[str, Any]]:
    names = [*template.factors, *([LUMI] if luminosity else [])]
    found: list[dict[str, Any]] = [
        {"name": name, "type": "normfactor", "parameter": name} for name in names
    ]
    for name, variation in template.variations.items():
        norm, shape = split(template.nominal, variation)
        common = {"name": name, "parameter": name, "constraint": "Gauss"}
        if norm is not None:
            found.append(common | {"type": "normsys", "data": {"lo": norm[0], "hi": norm[1]}})
        if shape is not None:
            lo, hi = ({"contents": t.tolist()} for t in (shape.low, shape.high))
            found.append(common | {"type": "histosys", "data": {"lo": lo, "hi": hi}})
    if template.variance is not None:
        found.append(
            {"name": f"staterror_{channel.name}", "type": "staterror",
             "parameters": _gammas(channel), "constraint": "Gauss"}
        )  # fmt: skip
    return found


def _find(document: Mapping[str, Any], part: str, name: str) -> dict[str, Any]:
    entries: dict[str, dict[str, Any]] = {one["name"]: one for one in document.get(part, [])}
    if name not in entries:
        raise DataError(f"no {name!r} among the {part} of the document; {nearest(name, entries)}")
    return entries[name]


def _channel(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": one["name"],
        "samples": [
            {
                "name": sample["name"],
                "data": sample["data"]["contents"],
                "modifiers": [_modifier(one["name"], sample, m) for m in sample["modifiers"]],
            }
            for sample in one["samples"]
        ],
    }


def _modifier(
    channel: str, sample: Mapping[str, Any], modifier: Mapping[str, Any]
) -> dict[str, Any]:
    kind, name = modifier["type"], modifier.get("parameter", modifier.get("name"))
    if modifier.get("constraint", "Gauss") != "Gauss":
        raise DataError(
            f"modifier {name!r} with the constraint {modifier['constraint']!r}; pyhf has Gauss here"
        )
    match kind:
        case "normfactor":
            return {"name": name, "type": "lumi" if name == LUMI else kind, "data": None}
        case "normsys":
            data = {"lo": modifier["data"]["lo"], "hi": modifier["data"]["hi"]}
            return {"name": name, "type": kind, "data": data}
        case "histosys":
            data = {f"{end}_data": modifier["data"][end]["contents"] for end in ("lo", "hi")}
            return {"name": name, "type": kind, "data": data}
        case "staterror":
            return {"name": f"staterror_{channel}", "type": kind, "data": sample["data"]["errors"]}
    raise DataError(
        f"modifier {name!r} of the type {kind!r}; expected normfactor, normsys, histosys or "
        "staterror"
    )


def _settings(
    document: Mapping[str, Any], analysis: Mapping[str, Any],
    channels: Sequence[Mapping[str, Any]], constraints: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:  # fmt: skip
    """Start and bounds of the parameters of one value."""
    used = {
        m["name"]
        for channel in channels
        for sample in channel["samples"]
        for m in sample["modifiers"]
        if m["type"] != "staterror"
    }
    point = _find(document, "parameter_points", analysis["init"])["parameters"]
    start = {one["name"]: one["value"] for one in point}
    axes = [a for d in analysis["domains"] for a in _find(document, "domains", d)["axes"]]
    return [
        {"name": axis["name"], "inits": [start[axis["name"]]],
         "bounds": [[axis["min"], axis["max"]]], **constraints.get(axis["name"], {})}
        for axis in axes
        if axis["name"] in used
    ]  # fmt: skip
