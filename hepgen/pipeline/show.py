"""Show: what is in a file, a workflow or a model, and a result in words."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

from hepgen.config import load, to_toml
from hepgen.errors import FileError
from hepgen.features import Feature
from hepgen.files import parse_json
from hepgen.io.blocks import IDENTITY, SUFFIX, BlockStore
from hepgen.io.description import FileDescription, describe
from hepgen.io.hdf5.images import ImageReader, holds_images
from hepgen.io.sources import resolve
from hepgen.pipeline import blocks
from hepgen.pipeline.assemble import IMAGE_SUFFIXES
from hepgen.pipeline.data import find
from hepgen.pipeline.load import load_surrogate
from hepgen.pipeline.session import Session
from hepgen.results import Check, InferenceResult, ParameterEstimate, rounded
from hepgen.surrogates.families import family
from hepgen.surrogates.images.surrogate import KIND as IMAGES
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.surrogate import KIND as SURROGATE
from hepgen.surrogates.surrogate import UNFINISHED, Domain, Surrogate


def show(target: str, overrides: Sequence[str] = ()) -> tuple[Any, str]:
    """Facts, for machines, and words, for people.

    Raises:
        FileError: There is no such thing.
    """
    path = Path(target)
    if path.suffix == ".toml":
        workflow = load(path, overrides)
        if not workflow.stages:  # to look at a workflow must not run its code
            Session.open(path, overrides)
        facts = workflow.model_dump(mode="json", exclude_none=True, by_alias=True)
        return facts, to_toml(workflow).rstrip()
    if (path / "model.json").exists():
        return _model(path / "model.json")
    if is_blocks(path):
        facts = blocks.summary(BlockStore.open(path))
        return facts, blocks.words(facts)
    if path.is_dir() and not list(path.glob("*.root")):
        raise FileError(f"{target} is a folder without model.json or ROOT files; expected a "
                        "workflow (.toml), a ROOT file or a model folder")  # fmt: skip
    if path.suffix.lower() in IMAGE_SUFFIXES and holds_images(find(target)):
        return _images(ImageReader(find(target)))
    source = resolve([find(target)])[0]
    return _root(describe(source))


def is_blocks(path: Path) -> bool:
    """Whether a folder holds blocks."""
    return path.is_dir() and ((path / IDENTITY).exists() or any(path.glob("block-*.safetensors")))


def verified(target: str) -> tuple[Any, str]:
    """The same for a folder of blocks, after each was compared with its checksum.

    Raises:
        FileError: It is none.
    """
    path = Path(target)
    if not is_blocks(path):
        raise FileError(
            f"--verify: {target} is no folder of blocks; expected one that `hepgen simulate … -o "
            f"NAME{SUFFIX}` has made, or one in a run folder"
        )
    facts, wrong = blocks.verify(path)
    if wrong:
        return facts, "\n".join([f"{target}: {len(wrong)} faults", *(f"  {w}" for w in wrong)])
    return facts, f"{blocks.words(facts)}\n  every block agrees with its checksum"


def _model(path: Path) -> tuple[Any, str]:
    try:
        content = parse_json(path.read_text())
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read as JSON: {error}") from error
    if isinstance(content, dict) and content.get("kind") in (SURROGATE, IMAGES):
        return content, surrogate_words(path.parent)
    return content, json.dumps(content, indent=1)


def surrogate_words(folder: Path) -> str:
    """A surrogate as a person reads it in a terminal.

    Raises:
        FileError: Its files are missing, truncated, edited, or from a newer version.
    """
    surrogate = load_surrogate(folder)
    if isinstance(surrogate, ImageSurrogate):
        return _image_words(folder, surrogate)
    domain = surrogate.domain
    lines = [
        f"{folder}: {family(surrogate.method).title} ({surrogate.method})",
        f"  log-density: {surrogate.quality}",
        f"  {_trained(surrogate)}",
        "  events:",
    ]
    width = max(map(len, (*surrogate.features.names, *domain.names)))
    for feature in surrogate.features.features:
        lines.append(f"    {feature.name:<{width}}  {_within(feature.low, feature.high, feature)}")
    lines += _trained_for(domain, surrogate.inputs.features if surrogate.inputs else (), width)
    return "\n".join(lines + _simple(surrogate.manifest))


def _image_words(folder: Path, surrogate: ImageSurrogate) -> str:
    code, domain, energies = surrogate.code, surrogate.domain, surrogate.energies
    size = " x ".join(map(str, code.shape))
    lines = [
        f"{folder}: images of {size} cells, {family(surrogate.method).title} ({surrogate.method})",
        f"  log-density: {surrogate.quality}",
        f"  cells: at least {code.least:g} GeV where they are read, in steps of {code.step:g} GeV",
        f"  cells: {_trained(surrogate.cells)}",
        f"  energies of the layers: {family(energies.method).title} ({energies.method})",
        f"  energies of the layers: {_trained(energies)}",
    ]
    width = max(map(len, domain.names))
    lines += _trained_for(domain, energies.inputs.features if energies.inputs else (), width)
    return "\n".join(lines + _simple(surrogate.manifest))


def _trained(surrogate: Surrogate) -> str:
    weights = sum(p.numel() for p in surrogate.model.parameters())
    curve = surrogate.curve
    if UNFINISHED in surrogate.manifest:
        done = (
            f"the last good state, of epoch {curve.best_epoch + 1}"
            if curve.validation
            else ("not trained at all")
        )
        return f"{weights} weights, UNFINISHED, {done}: {surrogate.manifest[UNFINISHED]}"
    return (
        f"{weights} weights, trained in {len(curve.train)} epochs and {curve.seconds:.0f} s, "
        f"validation loss {curve.validation[curve.best_epoch]:.4f}"
    )


def _trained_for(domain: Domain, inputs: Sequence[Feature], width: int) -> list[str]:
    lines = ["  trained for:"] if domain.names else []
    for feature, low, high in zip(inputs, domain.low, domain.high, strict=True):
        lines.append(f"    {feature.name:<{width}}  {_within(low, high, feature)}")
    return lines


def _within(low: float, high: float, feature: Feature) -> str:
    return f"({low:g}, {high:g}) {feature.unit}".rstrip()


def _images(file: ImageReader) -> tuple[Any, str]:
    facts = {"path": str(file.path), "images": len(file), "shape": list(file.shape),
             "metadata": file.metadata}  # fmt: skip
    lines = [str(file.path), f"  {len(file)} images of {' x '.join(map(str, file.shape))} voxels"]
    return facts, "\n".join(lines + _simple(file.metadata))


def _simple(metadata: Mapping[str, Any]) -> list[str]:
    simple = {k: v for k, v in metadata.items() if isinstance(v, (int, float, str))}
    return [f"  {name} = {value}" for name, value in simple.items()]


def _root(file: FileDescription) -> tuple[Any, str]:
    facts: dict[str, Any] = {"path": file.path, "trees": {}, "metadata": dict(file.metadata)}
    lines = [file.path]
    for tree in file.trees:
        facts["trees"][tree.name] = {
            "kind": tree.kind, "entries": tree.entries, "branches": dict(tree.branches),
        }  # fmt: skip
        lines.append(f"  {tree.kind} {tree.name}: {tree.entries} entries")
        width = max((len(name) for name in tree.branches), default=0)
        lines += [f"    {name:<{width}}  {kind}" for name, kind in tree.branches.items()]
    lines += _simple(file.metadata)
    return facts, "\n".join(lines)


def result_words(result: InferenceResult, report: Path) -> str:
    """A result as a person reads it in a terminal of 80 columns."""
    lines = [f"{result.method.upper()} posterior from {result.events} events"]
    width = max(len(name) for name in result.parameters)
    for name, estimate in result.parameters.items():
        lines.append(f"  {name:<{width}}  {_estimate(estimate)}")
    lines += _statements(result.statements)
    failed = [check for check in result.checks if not check.passed]
    lines.append(f"{len(result.checks) - len(failed)} of {len(result.checks)} checks passed")
    lines += [line for check in failed for line in _failed(check)]
    for check in result.checks:
        if check.warning:
            lines += [*_wrapped(f"warning {check.name}:"), *_wrapped(check.meaning, "    ")]
    if failed:
        lines.append("Do not quote this result before you understand why.")
    lines.append(f"report: {report}")
    return "\n".join(lines)


def _statements(made: Mapping[str, Any]) -> list[str]:
    """Intervals of several methods, and limits, each with its warnings."""
    intervals, lines = made.get("intervals", ()), list[str]()
    if "rate" in made:
        lines += _wrapped(made["rate"])
    if len({one["method"] for one in intervals}) > 1:
        lines.append("Intervals")
        width = max(len(f"{one['parameter']} {one['method']}") for one in intervals)
        for one in intervals:
            # One standard deviation, whatever the level, so that all have the same digits.
            reach = abs(one["pieces"][-1][1] - one["pieces"][0][0]) / 2 if one["pieces"] else 0.0
            scale = reach / NormalDist().inv_cdf(0.5 + one["level"] / 2)
            pieces = " and ".join(
                f"[{rounded(low, scale)}, {rounded(high, scale)}]" for low, high in one["pieces"]
            )
            name = f"{one['parameter']} {one['method']}"
            unit = f" {one['unit']}" if one["unit"] else ""
            lines.append(
                f"  {name:<{width}}  {100 * one['level']:.0f} %: {pieces or 'empty'}{unit}"
            )
            lines += _warned(one["warnings"])
    for scan in made.get("limits", ()):
        one = scan["limit"]
        median = one["expected"][len(one["expected"]) // 2]
        observed = "none" if one["observed"] is None else f"{one['observed']:.4g}"
        lines.append(
            f"  {one['parameter']} < {observed} at {100 * one['level']:.0f} % ({one['method']}; "
            f"expected without a signal: {'none' if median is None else f'{median:.4g}'})"
        )
        lines += _warned((*one["warnings"], *scan["warnings"]))
    return lines


def _estimate(estimate: ParameterEstimate) -> str:
    mean, std = rounded(estimate.mean, estimate.std), rounded(estimate.std, estimate.std)
    low, high = (rounded(edge, estimate.std) for edge in estimate.interval95)
    unit = f" {estimate.unit}" if estimate.unit else ""
    return f"{mean} ± {std}{unit}  (95 %: {low} to {high})"


def _failed(check: Check) -> list[str]:
    words = f"FAILED {check.name}: {check.value:.3g}, threshold {check.threshold:.3g}"
    return [*_wrapped(words), *_wrapped(check.meaning, "    ")]


def _warned(warnings: Iterable[str]) -> list[str]:
    return [line for one in warnings for line in _wrapped(one, "    ")]


def _wrapped(words: str, indent: str = "  ") -> list[str]:
    """A sentence in lines of 80 columns."""
    return textwrap.wrap(
        words, 80, initial_indent=indent, subsequent_indent=indent, break_long_words=False
    )
