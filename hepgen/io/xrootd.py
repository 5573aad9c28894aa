"""What ``root://`` needs that its client does not do by itself."""

from __future__ import annotations

import os
import warnings

_SOON = {"XRD_CONNECTIONRETRY": "2", "XRD_CONNECTIONWINDOW": "15"}


def give_up_soon(path: str) -> None:
    """Have the client of XRootD say within half a minute that a server does not answer.

    By itself it tries for ten. Variables that the user has set hold; the client reads them when it
    is first used.
    """
    if not path.startswith(("root://", "xroot://", "roots://")):
        return
    for name, value in _SOON.items():
        os.environ.setdefault(name, value)
    # At the end the client looks at all objects that there are, torch's deprecated ones, too.
    warnings.filterwarnings("ignore", ".*torch.distributed.reduce_op.*", FutureWarning)


def words(error: Exception) -> str | None:
    """What the client says of a file that is not there, or of a server that does not answer.

    >>> words(OSError("Failed to open file: [FATAL] Connection error"))
    'its server does not answer'
    """
    said = str(error)
    if "[3011]" in said:  # kXR_NotFound
        return "its server has no such file"
    if "[3010]" in said:  # kXR_NotAuthorized
        return "its server does not permit to read it"
    return "its server does not answer" if "Connection error" in said else None
