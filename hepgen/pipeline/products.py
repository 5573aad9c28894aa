"""What a step has made in the run folder: there for the asking, or to be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hepgen.nn import together

if TYPE_CHECKING:
    from hepgen.pipeline.session import Session


def is_there(session: Session, step: str, key: str, place: str) -> bool:
    """Whether a step is up to date; before it is made anew, what is in its place is put aside.

    What it made with these settings before others is brought back.

    Arguments:
        session: Of the run folder.
        step: Its name in the manifest.
        key: All that it depends on.
        place: The folder of its files, in the run folder.
    """
    folder = session.folder
    if together.agreed(folder.is_current(step, key)):
        return True
    with together.by_the_leader() as leads:
        if leads and (aside := folder.exchange(step, key, place)) is not None:
            session.monitor.say(f"{folder / place} of other settings is kept as {aside.name}")
    return together.agreed(folder.is_current(step, key))
