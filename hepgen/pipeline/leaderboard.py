"""Leaderboard: several families of surrogates of one workflow, judged on the same events."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hepgen.errors import HepgenError, InputError
from hepgen.files import write_atomically
from hepgen.judgement import Measured, Rank
from hepgen.pipeline.closure import Reference, references
from hepgen.pipeline.session import Session
from hepgen.pipeline.surrogates import trained_surrogate, validate_surrogate
from hepgen.report.leaderboard import write_leaderboard
from hepgen.results import Check, to_json
from hepgen.surrogates.families import FAMILIES, family
from hepgen.surrogates.images.surrogate import ImageSurrogate

ALL = "all"


def methods_of(words: str) -> list[str]:
    """The families that ``--method`` names: one, several with commas, or ``all``.

    Raises:
        SurrogateError: There is no such family.
    """
    if words == ALL:
        return list(FAMILIES)
    names = [name.strip() for name in words.split(",") if name.strip()]
    if not names:
        raise InputError(f"--method {words!r}: expected a family, several with commas, or 'all'")
    for name in names:
        family(name)
    return list(dict.fromkeys(names))


def leaderboard(session: Session, methods: Sequence[str]) -> tuple[list[Rank], list[Check], Path]:
    """Train and judge each family, best first, with the table as a page and as JSON.

    The order is that of the negative log-likelihood, which only families with a density have;
    those without are last, by the area under the curve of the first classifier. Of images that
    area alone counts: what few families know is a bound, which may be far below.

    Returns:
        A line for each family, also for one that fails, all checks, and the page.
    """
    ranks, checks = list[Rank](), list[Check]()
    against, known = _references(session), None
    for method in methods:
        try:
            own = _own(session, method)
            judgement, found, _ = validate_surrogate(own, method, known=known, against=against)
        except HepgenError as error:
            ranks.append(Rank(method, failed=str(error), exit_code=error.exit_code))
            continue
        known, checks = judgement, [*checks, *found]
        ranks.append(Rank(method, judgement, exported(own, method)))
    images = session.workflow.surrogate.image
    ranks.sort(key=lambda one: _place(one, images))
    folder = Path(str(session.folder / "validation"))
    write_atomically(folder / "leaderboard.json", to_json(ranks, indent=None).encode())
    title = session.workflow.title or session.workflow.name
    page = write_leaderboard(folder / "leaderboard.html", ranks, title=title)
    return ranks, checks, page


def _own(session: Session, method: str) -> Session:
    """Without the options of the workflow where these are of another family, or of its student."""
    entry = session.workflow.surrogate
    if entry.method in (method, family(method).teacher):
        return session
    plain = entry.model_copy(update={"options": {}})
    return dataclasses.replace(
        session, workflow=session.workflow.model_copy(update={"surrogate": plain})
    )


def exported(session: Session, method: str) -> str:
    """What can be exported to ONNX: it is tried, and checked with onnxruntime."""
    from hepgen.surrogates.export import export
    from hepgen.surrogates.images.export import export_images

    surrogate = trained_surrogate(session, method)
    try:
        with TemporaryDirectory() as folder:
            if isinstance(surrogate, ImageSurrogate):
                export_images(surrogate, Path(folder))
                return "sampler"
            manifest = export(surrogate, folder)
    except HepgenError:
        return "no"
    return "sampler, density" if manifest["density"]["file"] else "sampler"


def table(ranks: Sequence[Rank]) -> str:
    """The table for a terminal of 80 columns.

    >>> print(table([Rank("vae", failed="2000 events are too few")]))
    family                 NLL [nats]    C2ST     AUC  closure  ms/event  train [s]
    vae                    2000 events are too few
    """
    lines = ["family                 NLL [nats]    C2ST     AUC  closure  ms/event  train [s]"]
    for one in ranks:
        found = one.judgement
        if found is None:
            lines += textwrap.wrap(f"{one.method:<22} {one.failed}", 80, subsequent_indent=" " * 23)
            continue
        test = found.classifiers[0].surrogate
        shift = max((c.excess for c in found.closure), default=None)
        fastest = min(found.seconds_per_event.values(), default=float("nan"))
        lines.append(
            f"{one.method:<22} {_nll(found.nll):>10}  {test.accuracy.value:6.4f}  "
            f"{test.auc.value:6.4f}  {'–' if shift is None else f'{shift:.2f} σ':>7}  "
            f"{1e3 * fastest:8.3g}  {found.training_seconds:9.0f}"
        )
    return "\n".join(lines)


def _references(session: Session) -> tuple[Reference, ...] | None:
    """``None`` where there are none: each family then says why."""
    try:
        return None if session.workflow.surrogate.image else references(session)
    except HepgenError:
        return None


def _nll(value: Measured | None) -> str:
    return "–" if value is None else f"{value.value:.4f}"


def _place(one: Rank, images: bool) -> tuple[bool, bool, float]:
    found = one.judgement
    if found is None:
        return True, True, 0.0
    if found.nll is None or images:
        return False, True, found.classifiers[0].surrogate.auc.value
    return False, False, found.nll.value
