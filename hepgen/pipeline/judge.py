"""Judge a surrogate, and leave its report where the user looks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from hepgen.compute import one_thread
from hepgen.diagnostics.comparison.judge import (
    closure_checks,
    judge,
    judge_images,
    judgement_checks,
)
from hepgen.files import write_atomically
from hepgen.judgement import Closure, SurrogateJudgement
from hepgen.pipeline.images import image_figures
from hepgen.pipeline.latents import latent_figures
from hepgen.report.surrogate import write_surrogate_report
from hepgen.results import Check, to_json
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.surrogate import Surrogate

_DRAWN = 1000
"""Images whose means are drawn."""


@one_thread()
def judge_surrogate(
    surrogate: Surrogate | ImageSurrogate,
    x: Tensor,
    context: Tensor,
    folder: Path | str,
    *,
    c2st: float = 0.55,
    p_value: float = 0.001,
    closure: Sequence[Closure] = (),
    no_closure: str = "",
    closure_shift: float = 0.2,
    closure_width: float = 0.1,
    known: SurrogateJudgement | None = None,
    title: str = "",
    configuration: str = "",
    seed: int = 0,
) -> tuple[SurrogateJudgement, list[Check]]:
    """Judge a surrogate on held-out events; write ``judgement.json`` and ``report.html``.

    Arguments:
        surrogate: The surrogate, of events or of images.
        x, context: Events that it was not trained on, shapes ``(2N, d)`` and ``(2N, C)``.
        folder: Where to; made where it is missing.
        c2st, p_value: Limits of the checks, see
            :func:`hepgen.diagnostics.comparison.judge.judgement_checks`.
        closure: From :func:`hepgen.inference.closure.closure`, where it was done.
        no_closure: Why it was not, in words.
        closure_shift, closure_width: Limits of its checks, see
            :func:`hepgen.diagnostics.comparison.judge.closure_checks`.
        known: Of another surrogate on the same events, see
            :func:`hepgen.diagnostics.comparison.judge.judge`.
        title: Of the page.
        configuration: The workflow, as TOML.
        seed: Of everything.

    Returns:
        What was measured, and the checks.
    """
    if isinstance(surrogate, ImageSurrogate):
        found = judge_images(surrogate, x, context, seed=seed, known=known)
        figures = image_figures(surrogate, x[:_DRAWN], context[:_DRAWN], seed)
    else:
        found = judge(surrogate, x, context, seed=seed, known=known)
        figures = latent_figures(surrogate, context)
    found = replace(found, closure=tuple(closure), no_closure=no_closure)
    checks = [
        *judgement_checks(found, c2st=c2st, p_value=p_value),
        *closure_checks(found, shift=closure_shift, width=closure_width),
    ]
    write_atomically(Path(folder) / "judgement.json", to_json(found, indent=None).encode())
    write_surrogate_report(
        Path(folder) / "report.html", found, checks=checks, curve=surrogate.curve, title=title,
        configuration=configuration, figures=figures,
    )  # fmt: skip
    return found, checks
