"""Ensembles on disk: a folder with one folder for each member, and what they are together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hepgen.errors import DataError, FileError, ParameterError
from hepgen.inference.ensemble import Ensemble
from hepgen.nn.number_files import read_numbers, write_numbers
from hepgen.results import TrainingCurve

KIND = "ensemble"


class TrainedEnsemble(Ensemble[Any]):
    """An ensemble of trained members, which can be saved as each of them can."""

    @property
    def curve(self) -> TrainingCurve:
        """The training of the first member, with the time of all."""
        seconds = sum(one.curve.seconds for one in self.members)
        first: TrainingCurve = self.members[0].curve
        return dataclasses.replace(first, seconds=seconds)

    def save(self, folder: Path | str) -> None:
        """Write the members into ``folder/member-1`` and on, and ``folder/model.json``."""
        for number, one in enumerate(self.members, start=1):
            one.save(place(Path(folder), number))
        description = {"members": len(self), "average": self.average, "scheme": self.scheme}
        write_numbers(Path(folder), KIND, description, {})

    @classmethod
    def load(cls, folder: Path | str, member: Callable[[Path], Any]) -> TrainedEnsemble:
        """Read what :meth:`save` wrote; nothing from the files is executed.

        Arguments:
            folder: Of the ensemble.
            member: What reads the folder of one of them.

        Raises:
            FileError: The files are missing, truncated, edited, or from a newer version.
        """
        entry, _ = read_numbers(Path(folder), KIND)
        try:
            members = [member(place(Path(folder), m + 1)) for m in range(int(entry["members"]))]
            return cls(members, average=entry["average"], scheme=entry["scheme"])
        except (KeyError, TypeError, ValueError, DataError, ParameterError) as error:
            raise FileError(
                f"{folder}/model.json does not describe an ensemble: {error!r}"
            ) from error


def place(folder: Path, number: int) -> Path:
    """The folder of a member, numbered from 1."""
    return folder / f"member-{number}"
