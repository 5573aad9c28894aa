"""A Dask cluster as an engine. The only module that knows Dask."""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from hepgen.compute.engine import Engine
from hepgen.compute.pool import start_worker
from hepgen.errors import InputError, SimulationError

LOCAL = "local"
_PACKAGES = ("hepgen", "torch", "pyro-ppl", "numpy", "awkward", "safetensors")
_CONNECT_SECONDS = 10.0
_WORKER_SECONDS = 60.0
_ASK_SECONDS = 2.0


class Dask(Engine):
    """The workers of a Dask cluster.

    Each computes on one thread. A worker that dies is replaced by its nanny, and its calls go
    to others; one that is late ends itself, which is the same.

    Arguments:
        address: Of the scheduler, such as ``tcp://head:8786``; or ``local``, for a cluster of
            ``jobs`` workers on this machine.
        jobs: For ``local``.
        timeout: Seconds that a call may take.
        import_path: A folder in which workers find modules, besides the usual ones.

    Raises:
        InputError: Dask is not installed, no scheduler answers, or it has no workers.
    """

    def __init__(
        self,
        address: str,
        jobs: int = 1,
        timeout: float | None = None,
        import_path: str | None = None,
    ) -> None:
        self.address = address
        self._start = _Start(_versions(), timeout, import_path)
        self._cluster = _local_cluster(jobs) if address == LOCAL else None
        self._client = _client(self._cluster or address, address)
        self._executor = self._client.get_executor(pure=False)
        self._slots, self._asked = 1, -math.inf

    @property
    def slots(self) -> int:
        """Threads of the workers that are there now, asked for every few seconds.

        Raises:
            SimulationError: The scheduler has gone.
        """
        if time.monotonic() > self._asked + _ASK_SECONDS:
            try:
                self._slots = max(int(sum(self._client.nthreads().values())), 1)
            except (OSError, TypeError) as error:
                raise self._gone() from error
            self._asked = time.monotonic()
        return self._slots

    @property
    def shares_disk(self) -> bool:
        """Whether the workers are on this machine."""
        return self._cluster is not None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a worker call ``fn``.

        Raises:
            SimulationError: The scheduler has gone.
        """
        if self._client.status not in ("running", "connecting"):
            raise self._gone()
        future: Future[Any] = self._executor.submit(_on_worker, self._start, fn, args, kwargs)
        return future

    def _gone(self) -> SimulationError:
        return SimulationError(
            f"the Dask scheduler at {self.address} has gone; what is finished is kept: start it "
            "again, and run the same command"
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the cluster go; one that was started here is ended."""
        del cancel_futures  # those of a client are cancelled when it closes
        with contextlib.suppress(OSError, TimeoutError):  # where the scheduler has gone
            self._executor.shutdown(wait=wait)
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()


@dataclass(frozen=True)
class _Start:
    """How a worker must be, and how long it may take."""

    versions: tuple[tuple[str, str], ...]
    timeout: float | None
    import_path: str | None


def _on_worker(start: _Start, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The call, on a worker."""
    _prepare(start)
    if start.timeout is None:
        return fn(*args, **kwargs)
    # From a thread of its own that needs no lock of the interpreter's: also code in C is ended.
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 (a descriptor, kept open)
        faulthandler.dump_traceback_later(start.timeout, exit=True, file=nowhere)
        try:
            return fn(*args, **kwargs)
        finally:
            faulthandler.cancel_dump_traceback_later()


@cache
def _prepare(start: _Start) -> None:
    """Once in each worker: refuse other versions, take one thread, find modules."""
    here = dict(_versions())
    wrong = [f"{n} {here.get(n, 'missing')}, not {v}" for n, v in start.versions if here[n] != v]
    if wrong:
        raise InputError(
            f"the Dask worker on {platform.node()} has {'; '.join(wrong)} as here: other versions "
            "may make other events; install the same on all workers"
        )
    start_worker(start.import_path)


def _versions() -> tuple[tuple[str, str], ...]:
    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return "missing"

    python = ".".join(platform.python_version_tuple()[:2])
    return (("python", python), *((name, version(name)) for name in _PACKAGES))


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            "--dask needs Dask, which is not installed; install it: pip install 'hepgen[dask]'"
        ) from error
    return distributed


def _local_cluster(jobs: int) -> Any:
    return _distributed().LocalCluster(
        n_workers=jobs, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    )


def _client(where: Any, address: str) -> Any:
    """A client that has workers."""
    try:
        client = _distributed().Client(where, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--dask {address!r}: no Dask scheduler answers there ({_brief(error)}); expected an "
            f"address such as tcp://head:8786 of one that runs (`dask scheduler`), or {LOCAL!r}"
        ) from error
    try:
        client.wait_for_workers(1, timeout=_WORKER_SECONDS)
    except TimeoutError as error:
        client.close()
        raise InputError(
            f"--dask {address!r}: the scheduler has had no worker for {_WORKER_SECONDS:.0f} s: "
            "they wait in a full queue, or none was started; start one with `dask worker "
            f"{address} --nthreads 1`, or run without --dask"
        ) from error
    return client


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
