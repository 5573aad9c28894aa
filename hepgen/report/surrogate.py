"""The page of a surrogate: what it stands for, and everything that was measured of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hepgen import __version__
from hepgen.files import write_atomically
from hepgen.judgement import SurrogateJudgement
from hepgen.report.page import embedded, facts, template
from hepgen.results import Check, TrainingCurve
from hepgen.surrogates.families import FAMILIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_surrogate_report(
    path: str | Path,
    judgement: SurrogateJudgement,
    *,
    title: str = "",
    checks: Sequence[Check] = (),
    curve: TrainingCurve | None = None,
    figures: Mapping[str, Figure] | None = None,
    remarks: Sequence[str] = (),
    configuration: str = "",
) -> Path:
    """Write one HTML file that needs no other file, no script and no network.

    The same arguments make the same bytes. The file appears complete or not at all.

    Arguments:
        path: Where to; folders that are missing are made.
        judgement: What was measured.
        title: Of the page; made from the judgement where empty.
        checks: Those that decide the banner, see
            :func:`hepgen.diagnostics.comparison.judge.judgement_checks`.
        curve: Of the training, to be drawn.
        figures: More figures by title, after those of the judgement.
        remarks: Sentences under the verdict.
        configuration: The workflow, as TOML.

    Returns:
        The path.
    """
    shown = {**judgement_figures(judgement, curve), **(figures or {})}
    images = [embedded(name, figure) for name, figure in shown.items()]
    page: str = template("surrogate.html").render(
        title=title or _title(judgement),
        family=FAMILIES[judgement.method].title.capitalize()
        if judgement.method in FAMILIES
        else judgement.method or "Two samples",
        judgement=judgement,
        first=judgement.classifiers[0],
        checks=list(checks),
        failed=[check for check in checks if not check.passed],
        remarks=remarks,
        lead=images[:1],
        images=images[1:],
        domain=judgement.domain,
        stands_for=[row for _, rows in facts(judgement.manifest) for row in rows],
        tails=_tails(judgement),
        times=[(int(b), 1e3 * s) for b, s in judgement.seconds_per_event.items()],
        configuration=configuration,
        version=__version__,
    )
    target = Path(path)
    write_atomically(target, page.encode("utf-8"))
    return target


def judgement_figures(
    judgement: SurrogateJudgement, curve: TrainingCurve | None = None, most: int = 16
) -> dict[str, Figure]:
    """The figures of a judgement by title.

    Arguments:
        judgement: What to draw.
        curve: Of the training.
        most: Columns to draw; beyond it, those of the largest separation power.
    """
    return dict(_figures(judgement, curve, most))


def _figures(
    judgement: SurrogateJudgement, curve: TrainingCurve | None, most: int
) -> Iterator[tuple[str, Figure]]:
    from hepgen import plots

    first = judgement.classifiers[0]
    yield "Surrogate against simulation", plots.plot_roc(first)
    yield "Classifier output", plots.plot_classifier_output(first)
    worst = sorted(judgement.features, key=lambda one: -one.separation)[:most]
    for feature in judgement.features:
        if feature in worst:
            log = feature.name == "Cell_energy"
            yield feature.name, plots.plot_feature_judgement(feature, log=log)
    if judgement.correlations is not None:
        yield "Correlations", plots.plot_correlations(judgement.correlations)
    if judgement.closure:
        yield "Closure", plots.plot_closure(judgement.closure)
    if curve is not None:
        yield "Training", plots.plot_training(curve)


def _title(judgement: SurrogateJudgement) -> str:
    names = [one.name for one in judgement.features[:4]]
    more = ", …" if len(judgement.features) > 4 else ""
    given = f" | {', '.join(judgement.domain)}" if judgement.domain else ""
    return f"Surrogate of p({', '.join(names)}{more}{given})"


def _tails(judgement: SurrogateJudgement) -> list[str]:
    tails = judgement.features[0].tails if judgement.features else ()
    return [f"{'<' if t.level < 0.5 else '>'} {100 * t.level:g} %" for t in tails]
