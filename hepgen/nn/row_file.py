"""Rows of numbers in a file that has no name: a training sample larger than memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError, FileError


class RowFile:
    """Rows, written a block at a time and then mapped into memory.

    The operating system holds in memory what is used of them. The file is nowhere to be found, and
    its place on the disk is free again when the tensor is gone, or the process, however it ended.

    Arguments:
        folder: On the disk that takes them.

    >>> with RowFile(Path(".")) as file:
    ...     file.append(np.ones((2, 3), np.float32))
    ...     file.append(np.zeros((1, 3), np.float32))
    ...     rows = file.mapped()
    >>> rows.sum(-1)
    tensor([3., 3., 0.])
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows = 0
        self._kind: tuple[np.dtype[Any], tuple[int, ...]] | None = None

    def __enter__(self) -> RowFile:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=self.folder)
        except OSError as error:
            raise self._failed(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()
        except OSError as failure:  # what was still to be flushed
            raise self._failed(failure) from failure

    def append(self, rows: NDArray[Any]) -> None:
        """Write ``rows``, shape ``(n, *)``, of the shape and type of those before.

        Raises:
            DataError: They are of another shape or type.
            FileError: The disk is full.
        """
        kind = rows.dtype, rows.shape[1:]
        if self._kind not in (None, kind):
            raise DataError(f"rows of type and shape {kind}; those before have {self._kind}")
        self._kind = kind
        try:
            self._file.write(np.ascontiguousarray(rows).data)
        except OSError as error:
            raise self._failed(error) from error
        self._rows += len(rows)

    def mapped(self) -> Tensor:
        """All of them, shape ``(N, *)``; what is changed of the tensor stays in memory.

        Raises:
            DataError: There is none.
            FileError: The disk is full.
        """
        if self._kind is None or not self._rows:
            raise DataError("no events to train on; expected some")
        dtype, shape = self._kind
        try:
            self._file.flush()
            rows = np.memmap(self._file, dtype, mode="c", shape=(self._rows, *shape))
        except OSError as error:
            raise self._failed(error) from error
        return torch.from_numpy(rows)

    def _failed(self, error: OSError) -> FileError:
        return FileError(
            f"cannot write events to train on into {self.folder}: {error.strerror}; they are too "
            "many for memory: make room there, choose another folder, or take fewer"
        )
