"""Export: a trained surrogate, or density of events, to a form that other programs read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hepgen.errors import InputError, nearest
from hepgen.inference.nle import NLE
from hepgen.nn.model_files import model_kind
from hepgen.pipeline.load import finished
from hepgen.surrogates.images.surrogate import ImageSurrogate

FORMATS = ("onnx",)
_ESTIMATORS = (
    "nle", "npe", "nre", "classifier", "rascal", "alices", "sally", "ensemble",
    "posterior-ensemble",
)  # fmt: skip


def export_model(
    folder: Path,
    output: Path,
    *,
    format: str = "onnx",
    sampler_only: bool = False,
    extrapolate: bool = False,
    overwrite: bool = False,
) -> tuple[dict[str, Any], str]:
    """Export the surrogate or the density of events in ``folder`` into the folder ``output``.

    Returns:
        The manifest, and words for people.

    Raises:
        InputError: There is no such format, an option that a density does not have, or an
            estimator that is neither.
        FileError: The model cannot be used, or there is an export already.
        SurrogateError: It cannot be exported.
    """
    if format not in FORMATS:
        raise InputError(f"--format {format!r}: {nearest(format, FORMATS)}")
    if (kind := model_kind(folder)) in _ESTIMATORS:
        return _export_density(folder, kind, output, sampler_only or extrapolate, overwrite)
    from hepgen.surrogates.export import export

    surrogate = finished(folder)
    surrogate.extrapolate = extrapolate
    if isinstance(surrogate, ImageSurrogate):
        from hepgen.surrogates.images.export import export_images

        manifest = export_images(surrogate, output, overwrite=overwrite)
    else:
        manifest = export(surrogate, output, density=not sampler_only, overwrite=overwrite)
    return manifest, _words(output, manifest)


def _export_density(
    folder: Path, kind: str, output: Path, options: bool, overwrite: bool
) -> tuple[dict[str, Any], str]:
    if kind != "nle":
        raise InputError(
            f"{folder} holds a model of kind {kind!r}; of the estimators only a density of events "
            "is exported: one network of nle or scandal (of an ensemble, a folder member-1 and on)"
        )
    if options:
        raise InputError(
            "--sampler-only, --extrapolate: these are of a surrogate; an estimator is exported as "
            "its density, which was learned inside the priors only"
        )
    from hepgen.inference.export import export_density

    manifest = export_density(NLE.load(folder), output, overwrite=overwrite)
    names = ", ".join(one["name"] for one in manifest["features"])
    given = ", ".join(one["name"] for one in manifest["parameters"])
    check = manifest["density"]["check"]
    return manifest, (
        f"{output}: log p({names} | {given})\n  {manifest['density']['file']}: onnxruntime differs "
        f"by {check['largest_deviation']:.1e} at most on {check['points']} events"
    )


def _words(output: Path, manifest: Mapping[str, Any]) -> str:
    lines = [f"{output}: {manifest['family']}, {manifest['noise']['size']} normal numbers an event"]
    for name in ("sampler", "density"):
        entry = manifest[name]
        if entry["file"]:
            check = entry["check"]
            lines.append(
                f"  {entry['file']}: onnxruntime differs by {check['largest_deviation']:.1e} at "
                f"most on {check['points']} events"
            )
        else:
            lines.append(f"  no {name}: {entry['why_not']}")
    if manifest["fixed_steps"]:
        lines.append(f"  fixed steps: {manifest['fixed_steps']['words']}")
    return "\n".join(lines)
