"""A file to read, on this machine or behind a URL that fsspec knows."""

from __future__ import annotations

import contextlib
import http.client
import urllib.request
from collections.abc import Iterator
from typing import IO

import fsspec

from hepgen.errors import FileError
from hepgen.io.failures import reading
from hepgen.io.sources import Source
from hepgen.io.xrootd import give_up_soon


@contextlib.contextmanager
def opened(path: str, kind: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, to be read from any place in it.

    Arguments:
        path: A local path, or a URL (``https://``, ``root://``, …).
        kind: What kind of file it should be, with its article.

    Raises:
        FileError: It is missing, or cannot be reached.
    """
    with contextlib.ExitStack() as stack:
        with reading(path, kind):
            if Source(path).remote:
                give_up_soon(path)
                handle = stack.enter_context(fsspec.open(path, "rb"))
            else:
                handle = stack.enter_context(open(path, "rb"))  # noqa: PTH123 (any path)
        yield handle


def check_ranges(path: str) -> None:
    """Refuse a web server that sends whole files only: what is read of one looks empty.

    Raises:
        FileError: It ignores a request for some bytes.
    """
    if not path.startswith(("http://", "https://")):
        return
    asked = urllib.request.Request(path, headers={"Range": "bytes=0-3"})
    # What is missing, or wants a password, is told by who reads it.
    with (
        contextlib.suppress(OSError, ValueError, http.client.HTTPException),
        urllib.request.urlopen(asked, timeout=30) as answer,
    ):
        if answer.status == 200:
            raise FileError(
                f"{path}: the server sends no ranges of bytes, which a ROOT file is read by; "
                "download the file, and read that"
            )
