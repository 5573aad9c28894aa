"""Show: what is in a file, a workflow or a model, and a result in words."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from hepgen.results import SCHEMA, Check, InferenceResult, ParameterEstimate, rounded
from hepgen.statements import significance
from hepgen.surrogates.families import family
from hepgen.surrogates.images.surrogate import KIND as IMAGES
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.surrogate import KIND as SURROGATE
from hepgen.surrogates.surrogate import UNFINISHED, Domain, Surrogate

RESULT = "result.json"
_SHOWN_IMPACTS = 3
_FOR_PROGRAMS = ("content", "events")
"""What a simulated file says of itself to the command that made it."""


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
    if path.suffix == ".json" or (path / RESULT).exists():
        result = read_result(path)
        with _no_result(path):
            return result.to_dict(), result_words(result, report_beside(path))
    if is_blocks(path):
        facts = blocks.summary(BlockStore.open(path))
        return facts, blocks.words(facts)
    if path.is_dir() and not list(path.glob("*.root")):
        raise FileError(
            f"{target} is a folder without model.json, result.json or ROOT files; expected a "
            "workflow (.toml), a file of events, a model or a result"
        )
    if path.suffix.lower() in IMAGE_SUFFIXES and holds_images(find(target)):
        return _images(ImageReader(find(target)))
    source = resolve([find(target)])[0]
    return _root(describe(source))


def is_blocks(path: Path) -> bool:
    """Whether a folder holds blocks."""
    return path.is_dir() and ((path / IDENTITY).exists() or any(path.glob("block-*.safetensors")))


def read_result(path: Path) -> InferenceResult:
    """What ``hepgen infer`` has written into a folder, or into a file.

    Raises:
        FileError: There is none, or it is no result or of a newer version.
    """
    file = path / RESULT if path.is_dir() else path
    try:
        text = file.read_bytes()
    except OSError as error:
        raise FileError(
            f"no result {file}; expected the folder that `hepgen infer -o FOLDER` has written"
        ) from error
    with _no_result(file):
        content = parse_json(text.decode())
        if content["schema"] > SCHEMA:
            raise FileError(
                f"{file} has schema {content['schema']}; this version of hepgen reads up to "
                f"{SCHEMA}: update hepgen"
            )
        return InferenceResult.from_dict(content)


@contextmanager
def _no_result(file: Path) -> Iterator[None]:
    """What was edited, or is damaged, has entries missing or of other types."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise FileError(f"{file} is no result of `hepgen infer`: {error!r}") from error


def report_beside(path: Path) -> Path | None:
    """The report that was written with a result, if it is there."""
    report = (path if path.is_dir() else path.parent) / "report.html"
    return report if report.exists() else None


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
    return [f"  {name} = {value}" for name, value in simple.items() if name not in _FOR_PROGRAMS]


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


def result_words(result: InferenceResult, report: Path | None) -> str:
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
    if report is not None:
        lines.append(f"report: {report}")
    return "\n".join(lines)


def _statements(made: Mapping[str, Any]) -> list[str]:
    """Intervals of several methods, and limits, each with its warnings."""
    lines = _wrapped(made["rate"]) if "rate" in made else []
    intervals = [*made.get("intervals", ()), *made.get("recalibrated", ())]
    if any(one["method"] != "posterior" for one in intervals):
        name = made.get("likelihood")
        lines.append(f"Intervals (likelihood: {name.upper()})" if name else "Intervals")
        width = max(len(f"{one['parameter']} {one['method']}") for one in intervals)
        lines += [line for one in intervals for line in _interval(one, width)]
    for channel in made.get("channels", ()):
        lines += [line for one in channel["alone"] for line in _alone(channel, one)]
    for scan in made.get("expected", ()):
        value, error = rounded(scan["best"], scan["error"]), rounded(scan["error"], scan["error"])
        lines.append(f"  {scan['parameter']} expected at the best fit: {value} ± {error}")
    for one in made.get("impacts", ()):
        lines += _impacts(one)
    unknown = [b["parameter"] for b in made.get("budget", ()) if b["simulation"] is None]
    if unknown:
        lines += _wrapped(
            f"What the finite simulation adds to the error of {', '.join(unknown)} is unknown: one "
            "training cannot say (members of the estimator)"
        )
    for scan in made.get("limits", ()):
        one = scan["limit"]
        median = one["expected"][len(one["expected"]) // 2]
        observed = "none" if one["observed"] is None else f"{one['observed']:.4g}"
        lines.append(
            f"  {one['parameter']} < {observed} at {100 * one['level']:.0f} % ({one['method']}; "
            f"expected without a signal: {'none' if median is None else f'{median:.4g}'})"
        )
        lines += _warned((*one["warnings"], *scan["warnings"]))
    for table in made.get("information", ()):
        lines += _information(table)
    lines += _search(made.get("search"))
    lines += _exchange(made.get("exchange"))
    for test in made.get("tests", ()):
        lines += _test(test)
    return lines


def _alone(channel: Mapping[str, Any], one: Mapping[str, Any]) -> list[str]:
    """The best fit of one channel of a combination."""
    error = one["pieces"][0][1] - one["best"]
    value, error_words = rounded(one["best"], error), rounded(error, error)
    unit = f" {one['unit']}" if one["unit"] else ""
    words = (
        f"{one['parameter']} of {channel['name']} alone ({channel['events']} events): "
        f"{value} ± {error_words}{unit}"
    )
    return [*_wrapped(words), *_warned(one["warnings"])]


def _information(table: Mapping[str, Any]) -> list[str]:
    """The errors that are expected, by source."""
    unit = f" {table['unit']}" if table["unit"] else ""
    lines = _wrapped(
        f"Error of {table['parameter']} expected of {table['events']} events by the Fisher "
        "information, nuisance parameters fitted (known):", ""
    )  # fmt: skip
    width = max(len(row["source"]) for row in table["rows"])
    for row in table["rows"]:
        fitted, known = (
            "not fixed" if row[key] is None else f"{rounded(row[key], 0.1 * row[key])}{unit}"
            for key in ("profiled", "known")
        )
        bound = "" if row["bound"] == "estimate" else f"{row['bound']} "
        lines.append(f"  {row['source']:<{width}}  {bound}{fitted} ({known})")
    return [
        *lines,
        *_warned((*table["warnings"], *(w for r in table["rows"] for w in r["warnings"]))),
    ]


def _search(scan: Mapping[str, Any] | None) -> list[str]:
    """The largest excess, and the range of the limits."""
    if scan is None:
        return []
    k = max(range(len(scan["values"])), key=lambda i: scan["statistic"][i])
    unit = f" {scan['along_unit']}" if scan["along_unit"] else ""
    local, anywhere = scan["p_value"][k], scan["global_p_value"]
    lines = _wrapped(
        f"Scan of {scan['along']}, {len(scan['values'])} values: largest excess at "
        f"{scan['values'][k]:g}{unit}, local p = {local:.3g} ({significance(local):.2f} σ), "
        f"global p = {anywhere:.3g} ± {scan['global_error']:.1g} ({significance(anywhere):.2f} σ; "
        f"{scan['method']})", ""
    )  # fmt: skip
    for one in scan["limits"]:
        seen, median = (
            "none" if v is None else f"{v:.4g}"
            for v in (one["observed"], one["expected"][len(one["expected"]) // 2])
        )
        lines.append(
            f"  {one['at']:g}{unit}: {one['parameter']} < {seen} at {100 * one['level']:.0f} % "
            f"(expected {median})"
        )
    return [*lines, *_warned(scan["warnings"])]


def _exchange(made: Mapping[str, Any] | None) -> list[str]:
    """The files, and what the bins cost."""
    if made is None:
        return []
    lines = [f"In bins of {made['observable']}: {', '.join(made['files'])}"]
    for one in made["fits"]:
        value, error, ends = one["value"], one["error"], one["unbinned_error"]
        if error is None:
            lines.append(f"  {one['parameter']}: the fit of the counts does not converge")
            continue
        lines += _wrapped(
            f"{one['parameter']} = {rounded(value, error)} ± {rounded(error, error)}, without bins "
            f"{rounded(one['unbinned_value'], ends)} ± {rounded(ends, ends)}; the "
            f"bins cost {100 * one['cost']:.1f} %"
        )
        lines += _warned(one["warnings"])
    return lines


def _test(test: Mapping[str, Any]) -> list[str]:
    """The significance of a signal, observed and expected."""
    p = test["p_value"]
    words = f"{test['parameter']} = 0: p = {p:.3g}, {significance(p):.2f} σ ({test['method']})"
    if test["expected"] is not None:
        sigmas = math.sqrt(max(test["expected"], 0.0))
        words += f"; expected at {test['alternative']:.4g}: {sigmas:.2f} σ"
    return [*_wrapped(words), *_warned(test["warnings"])]


def _interval(one: Mapping[str, Any], width: int) -> list[str]:
    # One standard deviation, whatever the level, so that all have the same digits.
    reach = abs(one["pieces"][-1][1] - one["pieces"][0][0]) / 2 if one["pieces"] else 0.0
    scale = reach / NormalDist().inv_cdf(0.5 + one["level"] / 2)
    pieces = " and ".join(
        f"[{rounded(low, scale)}, {rounded(high, scale)}]" for low, high in one["pieces"]
    )
    name = f"{one['parameter']} {one['method']}"
    unit = f" {one['unit']}" if one["unit"] else ""
    line = f"  {name:<{width}}  {100 * one['level']:.0f} %: {pieces or 'empty'}{unit}"
    return [line, *_warned(one["warnings"])]


def _impacts(one: Mapping[str, Any]) -> list[str]:
    """The parts of an error, and the nuisance parameters that move the parameter most."""
    parts = one["breakdown"]
    total, statistical, systematic = (
        rounded(parts[name], parts["total"]) for name in ("total", "statistical", "systematic")
    )
    unit = f" {one['unit']}" if one["unit"] else ""
    moved = [
        (row["parameter"], max(row["post"], key=abs)) for row in one["ranking"][:_SHOWN_IMPACTS]
    ]
    most = ", ".join(f"{name} {rounded(by, abs(by) / 10)}" for name, by in moved if by)
    words = (
        f"{one['parameter']}: error {total}{unit}, statistical {statistical}, of constrained "
        f"nuisance parameters {systematic}" + (f"; impacts: {most}" if most else "")
    )
    return _wrapped(words)


def _estimate(estimate: ParameterEstimate) -> str:
    mean, std = rounded(estimate.mean, estimate.std), rounded(estimate.std, estimate.std)
    low, high = (rounded(edge, estimate.std) for edge in estimate.interval95)
    unit = f" {estimate.unit}" if estimate.unit else ""
    return f"{mean} ± {std}{unit}  (95 %: {low} to {high})"


def _failed(check: Check) -> list[str]:
    words = f"FAILED {check.name}: {check.value:.3g}, threshold {check.threshold:.3g}"
    return [*_wrapped(words), *_wrapped(check.meaning, "    ")]


def _warned(warnings: Iterable[str]) -> list[str]:
    # A scan repeats those of its limit.
    return [line for one in dict.fromkeys(warnings) for line in _wrapped(one, "    ")]


def _wrapped(words: str, indent: str = "  ") -> list[str]:
    """A sentence in lines of 80 columns."""
    return textwrap.wrap(
        words, 80, initial_indent=indent, subsequent_indent=indent, break_long_words=False
    )
