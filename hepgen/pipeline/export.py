"""Export: a trained surrogate to a form that other programs read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hepgen.errors import InputError, nearest
from hepgen.pipeline.load import finished
from hepgen.surrogates.images.surrogate import ImageSurrogate

FORMATS = ("onnx",)


def export_model(
    folder: Path,
    output: Path,
    *,
    format: str = "onnx",
    sampler_only: bool = False,
    extrapolate: bool = False,
    overwrite: bool = False,
) -> tuple[dict[str, Any], str]:
    """Export the surrogate in ``folder`` into the folder ``output``.

    Returns:
        The manifest, and words for people.

    Raises:
        InputError: There is no such format.
        FileError: The model cannot be used, or there is an export already.
        SurrogateError: It cannot be exported.
    """
    if format not in FORMATS:
        raise InputError(f"--format {format!r}: {nearest(format, FORMATS)}")
    from hepgen.surrogates.export import export

    surrogate = finished(folder)
    surrogate.extrapolate = extrapolate
    if isinstance(surrogate, ImageSurrogate):
        from hepgen.surrogates.images.export import export_images

        manifest = export_images(surrogate, output, overwrite=overwrite)
    else:
        manifest = export(surrogate, output, density=not sampler_only, overwrite=overwrite)
    return manifest, _words(output, manifest)


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
