r"""A binned model as a pyhf workspace, and fits of it by pyhf.

pyhf: Heinrich, Feickert, Stark, Cranmer, JOSS 6 (2021) 2823; HistFactory: CERN-OPEN-2012-016.
Strengths and linear parameters are modifiers ``normfactor``, constrained parameters ``normsys``
and ``histosys`` of one name, the luminosity is ``lumi``, the statistics of the simulation
``staterror``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import FileError, InputError, ParameterError
from hepgen.files import parse_json, write_atomically
from hepgen.inference.binned import BinnedLikelihood, BinnedSets
from hepgen.inference.binned_workspace import read_workspace
from hepgen.inference.exchange.binned_model import (
    BinnedModel,
    Entry,
    FilledRegion,
    Template,
    split,
)
from hepgen.parameters import ParameterSet

INTERPOLATION = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}
"""Smooth at 0 and ±1σ, as pyhf's own command line has it; the default of its Python is not."""

MEASUREMENT = "hepgen"
LUMI = "lumi"


@dataclass(frozen=True)
class Estimate:
    """The result of a fit, in the units of the parameter.

    Arguments:
        value: At the maximum.
        error: From the second derivatives there.
    """

    value: float
    error: float


@dataclass(frozen=True)
class PyhfWorkspace:
    """A workspace, valid against pyhf's schema, and what its parameters mean.

    Arguments:
        spec: The content of the file, plain values.
        entries: How each parameter of the analysis is written in it.
    """

    spec: Mapping[str, Any]
    entries: Mapping[str, Entry]

    @classmethod
    def of(cls, model: BinnedModel) -> PyhfWorkspace:
        """Write a model."""
        config = {
            "poi": _named(model.poi, model.entries),
            "parameters": [_parameter(name, entry) for name, entry in model.entries.items()],
        }
        spec = {
            "channels": [_channel(channel, model.entries) for channel in model.channels],
            "observations": [
                {"name": channel.name, "data": channel.data.tolist()} for channel in model.channels
            ],
            "measurements": [{"name": MEASUREMENT, "config": config}],
            "version": "1.0.0",
        }
        return cls(_used(spec), model.entries)

    @classmethod
    def load(cls, path: Path | str) -> PyhfWorkspace:
        """Read what :meth:`save` wrote.

        Raises:
            FileError: One of the two files is missing, or is not what was written.
        """
        path = Path(path)
        try:
            spec = parse_json(path.read_text())
            entries = parse_json(_beside(path).read_text())
            return cls(spec, {name: Entry(**entry) for name, entry in entries.items()})
        except (OSError, ValueError, TypeError) as error:
            raise FileError(
                f"{path} and {_beside(path)}: not a workspace of hepgen: {error!r}; expected what "
                "PyhfWorkspace.save wrote"
            ) from error

    def save(self, path: Path | str) -> None:
        """Write the workspace, and ``*.parameters.json`` beside it with what θ a value means."""
        path = Path(path)
        write_atomically(path, json.dumps(self.spec, indent=2).encode())
        entries = {name: asdict(entry) for name, entry in self.entries.items()}
        write_atomically(_beside(path), json.dumps(entries, indent=2).encode())

    def model(self) -> Any:
        """The ``pyhf.Model``, with :data:`INTERPOLATION`."""
        return self._pyhf().model(modifier_settings=INTERPOLATION)

    def data(self) -> list[float]:
        """The observed counts and the auxiliary data, as pyhf's functions take them."""
        observed: list[float] = self._pyhf().data(self.model())
        return observed

    def likelihood(self) -> tuple[BinnedLikelihood, BinnedSets]:
        """The same as a likelihood of hepgen, with its data: for any statement, and without pyhf.

        Its parameters have the values that are written in the workspace.
        """
        likelihood, data = read_workspace(self.spec)
        labels = {_named(name, self.entries): e.label for name, e in self.entries.items()}
        likelihood.parameters = ParameterSet(
            [replace(p, label=labels.get(p.name, "")) for p in likelihood.parameters]
        )
        return likelihood, data

    def fit(self, **fixed: float) -> dict[str, Estimate]:
        """The maximum of the likelihood, by pyhf with Minuit.

        Arguments:
            fixed: θ of parameters that are held.

        Raises:
            ParameterError: A parameter that is not in it.
        """
        for name in fixed:
            if name not in self.entries:
                raise ParameterError(
                    f"no parameter {name!r} in the workspace; there are {', '.join(self.entries)}"
                )
        with minuit() as pyhf:
            model, data = self.model(), self.data()
            start, held = model.config.suggested_init(), model.config.suggested_fixed()
            for name, theta in fixed.items():
                at = model.config.par_map[_named(name, self.entries)]["slice"].start
                start[at], held[at] = self.entries[name].written(theta), True
            found = pyhf.infer.mle.fit(data, model, start, None, held, return_uncertainties=True)
            names, values = model.config.par_names, torch.as_tensor(found).double()
        return self._physical(names, values)

    def _physical(self, names: list[str], values: Tensor) -> dict[str, Estimate]:
        written = dict(zip(names, values.tolist(), strict=True))
        found = {}
        for name, entry in self.entries.items():
            if (key := _named(name, self.entries)) in written:
                value, error = written[key]
                found[name] = Estimate(entry.physical(value), abs(entry.unit) * error)
        return found

    def _pyhf(self) -> Any:
        return pyhf_module().Workspace(self.spec)


def pyhf_module() -> Any:
    """The package pyhf.

    Raises:
        InputError: It is not installed.
    """
    try:
        import pyhf
    except ImportError as error:
        raise InputError(
            "binned workspaces need pyhf, which is not installed: pip install 'hepgen[pyhf]'"
        ) from error
    return pyhf


@contextmanager
def minuit() -> Iterator[Any]:
    """pyhf with torch in double precision and Minuit; what was set before comes back."""
    pyhf = pyhf_module()
    tensors, optimizer = pyhf.get_backend()
    # Which pyhf sets, too, and does not set back.
    dtype = torch.get_default_dtype()
    try:
        pyhf.set_backend("pytorch", "minuit", precision="64b")
        yield pyhf
    finally:
        pyhf.set_backend(tensors, optimizer)
        torch.set_default_dtype(dtype)


def _beside(path: Path) -> Path:
    return path.with_suffix(".parameters.json")


def _named(name: str, entries: Mapping[str, Entry]) -> str:
    return LUMI if entries[name].kind == "luminosity" else name


def _parameter(name: str, entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": LUMI if entry.kind == "luminosity" else name,
        "inits": [entry.start],
        "bounds": [[entry.low, entry.high]],
    }
    if entry.kind == "luminosity":
        found |= {"auxdata": [1.0], "sigmas": [entry.error]}
    return found


def _channel(channel: FilledRegion, entries: Mapping[str, Entry]) -> dict[str, Any]:
    light = any(entry.kind == "luminosity" for entry in entries.values())
    samples = [
        {
            "name": name,
            "data": template.nominal.tolist(),
            "modifiers": _modifiers(channel.name, template, light),
        }
        for name, template in channel.templates.items()
    ]
    return {"name": channel.name, "samples": samples}


def _modifiers(channel: str, template: Template, luminosity: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "type": "normfactor", "data": None} for name in template.factors
    ]
    if luminosity:
        found.append({"name": LUMI, "type": "lumi", "data": None})
    for name, variation in template.variations.items():
        norm, shape = split(template.nominal, variation)
        if norm is not None:
            found.append({"name": name, "type": "normsys", "data": {"lo": norm[0], "hi": norm[1]}})
        if shape is not None:
            lo, hi = shape.low.tolist(), shape.high.tolist()
            found.append({"name": name, "type": "histosys", "data": {"lo_data": lo, "hi_data": hi}})
    if template.variance is not None:
        found.append(
            {"name": f"staterror_{channel}", "type": "staterror",
             "data": template.variance.sqrt().tolist()}
        )  # fmt: skip
    return found


def _used(spec: dict[str, Any]) -> dict[str, Any]:
    """Without the parameters that no modifier has: pyhf refuses their settings."""
    names = {
        modifier["name"]
        for channel in spec["channels"]
        for sample in channel["samples"]
        for modifier in sample["modifiers"]
    }
    config = spec["measurements"][0]["config"]
    if config["poi"] not in names:
        raise ParameterError(f"no template depends on the parameter of interest {config['poi']!r}")
    config["parameters"] = [p for p in config["parameters"] if p["name"] in names]
    return spec
