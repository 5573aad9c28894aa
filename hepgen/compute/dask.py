"""A Dask cluster as an engine. The only module that knows Dask."""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import platform
import queue
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import metadata
from typing import Any
from weakref import WeakKeyDictionary

from hepgen.compute.engine import Engine
from hepgen.compute.pool import start_worker
from hepgen.compute.versions import versions_of_events
from hepgen.errors import InputError, SimulationError

LOCAL = "local"
_CONNECT_SECONDS = 10.0
_WORKER_SECONDS = 60.0
_ASK_SECONDS = 2.0
_TOPIC = "all"  # of the scheduler's events
_ALONE_SECONDS = 600.0
"""So long a scheduler without workers is waited for: some are replaced, others queue."""

_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "1s",
}
"""Of a cluster on this machine, whose scheduler and nannies share the cores with the workers: by
default each wakes fifty times a second, and a worker a hundred times to look at its own stack,
which took 7 % of a core and 3 % of each worker."""

_ONE_CALL = threading.Lock()
"""Held by a worker during a call: Pyro's handlers, torch's generator and the timer of the
time-out belong to the process, and a worker may have several threads."""


class Dask(Engine):
    """The workers of a Dask cluster.

    Each computes one call at a time, on one thread. A worker that dies is replaced by its nanny,
    and its calls go to others; one that is late ends itself, which is the same.

    Arguments:
        address: Of the scheduler, such as ``tcp://head:8786``; or ``local``, for a cluster of
            ``jobs`` workers on this machine.
        jobs: For ``local``.
        timeout: Seconds that a call may take.
        import_path: A folder in which workers find modules, besides the usual ones.

    Raises:
        InputError: Dask is not installed, no scheduler answers, it has no workers, or one of them
            lacks hepgen.
    """

    def __init__(
        self,
        address: str,
        jobs: int = 1,
        timeout: float | None = None,
        import_path: str | None = None,
    ) -> None:
        self.address = address
        self._start = _Start(tuple(versions_of_events().items()), timeout, import_path)
        self._cluster = local_cluster(jobs) if address == LOCAL else None
        self._client = _client(self._cluster or address, address)
        self._executor = self._client.get_executor(pure=False, retries=0)
        self._workers, self._asked = 1, -math.inf
        self._alone: float | None = None
        self._packed: tuple[Callable[..., Any], bytes] | None = None
        self._name, self._calls = f"hepgen-{uuid.uuid4().hex}", 0
        self._keys: WeakKeyDictionary[Future[Any], str] = WeakKeyDictionary()
        self._lost: dict[str, list[str]] = {}
        self._client.subscribe_topic(_TOPIC, self._hear)

    @property
    def slots(self) -> int:
        """The workers that are there now, asked for every few seconds.

        Raises:
            SimulationError: The scheduler has gone.
        """
        if time.monotonic() > self._asked + _ASK_SECONDS:
            try:
                self._workers = len(self._client.nthreads())
            except (OSError, TypeError) as error:
                raise self._gone() from error
            self._asked = time.monotonic()
        return max(self._workers, 1)

    @property
    def ahead(self) -> int:
        """Two for each worker, also where there is one: a call and its answer travel."""
        return 2 * self.slots

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
        self._calls += 1
        key = f"{self._name}-{self._calls:012d}"
        if self._packed is None or self._packed[0] is not fn:
            self._packed = (fn, _distributed().protocol.pickle.dumps(fn))
        future: Future[Any] = self._executor.submit(
            _on_worker, self._start, self._packed[1], args, kwargs, key=key
        )
        self._keys[future] = key
        return future

    def watch(self) -> str | None:
        """Whether there are no workers.

        Raises:
            SimulationError: There have been none for a long time, or the scheduler has gone.
        """
        if self.slots and self._workers:
            self._alone = None
            return None
        now, there = time.monotonic(), f"the Dask scheduler at {self.address} has"
        if self._alone is None:
            self._alone = now
            return (
                f"{there} no workers; waiting for some, up to {_ALONE_SECONDS:g} s (one that "
                "cannot import hepgen ends at its first call)"
            )
        if now > self._alone + _ALONE_SECONDS:
            raise SimulationError(
                f"{there} had no workers for {_ALONE_SECONDS:g} s; what is finished is kept: start "
                "some (`dask worker`), and run the same command again"
            )
        return None

    def retried(self, future: Future[Any]) -> Sequence[str]:
        """The workers that ended while they had a call, which the scheduler gave to another."""
        workers = self._lost.pop(self._keys.get(future, ""), [])
        error = None if future.cancelled() else future.exception()
        last = getattr(getattr(error, "last_worker", None), "address", None)  # of KilledWorker
        return [f"its worker {worker} ended" for worker in workers if worker != last]

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """What the scheduler tells of its workers: where one ends, a call is lost."""
        told = event[1]
        if told.get("action") != "remove-worker" or told.get("expected"):
            return
        keys = (str(key) for key in told.get("processing-tasks", ()))
        own = sorted(key for key in keys if key.startswith(self._name))
        # The others waited on it: a worker makes its calls one by one, in the order of their keys.
        for key in own[:1]:
            self._lost.setdefault(key, []).append(str(told["worker"]))

    def _gone(self) -> SimulationError:
        return SimulationError(
            f"the Dask scheduler at {self.address} has gone; what is finished is kept: start it "
            "again, and run the same command"
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the cluster go; one that was started here is ended.

        Calls that run on workers of others go on there, and nobody waits for them.
        """
        del cancel_futures  # those of a client are cancelled when it closes
        with contextlib.suppress(OSError, TimeoutError):  # where the scheduler has gone
            self._executor.shutdown(wait=wait)
            # Else the scheduler tells who has left that it has left, and complains.
            self._client.unsubscribe_topic(_TOPIC)
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()


@dataclass(frozen=True)
class _Start:
    """How a worker must be, and how long it may take."""

    versions: tuple[tuple[str, str], ...]
    timeout: float | None
    import_path: str | None


def _on_worker(start: _Start, packed: bytes, args: Any, kwargs: Any) -> Any:
    """The call, on a worker."""
    with _ONE_CALL:
        _prepare(start)
        fn = _unpacked(packed)
        return fn(*args, **kwargs) if start.timeout is None else _timed(start, fn, args, kwargs)


@lru_cache(maxsize=4)
def _unpacked(packed: bytes) -> Callable[..., Any]:
    """A function with what it holds, a whole chain for one: made once for all of its calls."""
    fn: Callable[..., Any] = _distributed().protocol.pickle.loads(packed)
    return fn


def _timed(start: _Start, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The call, which ends the worker where it is late."""
    assert start.timeout is not None
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
    here = versions_of_events()
    # What is not here at all may not be needed, or is named by the stage that needs it.
    wrong = [f"{n} {here[n]}, not {v}" for n, v in start.versions if here.get(n, v) != v]
    if wrong:
        raise InputError(
            f"the Dask worker on {platform.node()} has {'; '.join(wrong)} as here: other versions "
            "may make other events; install the same on all workers"
        )
    start_worker(start.import_path)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            "--dask needs Dask, which is not installed; install it: pip install 'hepgen[dask]'"
        ) from error
    return distributed


def local_cluster(jobs: int) -> Any:
    """A Dask cluster on this machine, whose workers have one thread each."""
    distributed = _distributed()
    import dask

    with dask.config.set(_QUIET):
        return distributed.LocalCluster(
            n_workers=jobs, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        )


def _client(where: Any, address: str) -> Any:
    """A client that has workers, with hepgen on each."""
    if where == address and (reason := _malformed(address)):
        raise InputError(_no_scheduler(address, reason))
    try:
        client = _distributed().Client(where, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(_no_scheduler(address, _brief(error))) from error
    try:
        client.wait_for_workers(1, timeout=_WORKER_SECONDS)
    except TimeoutError as error:
        client.close()
        raise InputError(
            f"--dask {address!r}: the scheduler has had no worker for {_WORKER_SECONDS:.0f} s: "
            "they wait in a full queue, or none was started; start one with `dask worker "
            f"{address} --nthreads 1`, or run without --dask"
        ) from error
    try:
        _check_hepgen(client, address)
    except InputError:
        client.close()
        raise
    return client


def _malformed(address: str) -> str | None:
    """Why an address cannot be one of a scheduler; None where it can be.

    Asked before there is a client: one that is made in vain complains for 20 s when it goes.
    """
    scheme, _, rest = address.rpartition("://")
    distributed = _distributed()
    try:
        distributed.comm.registry.get_backend(scheme or "tcp").get_connector()
    except (ValueError, TypeError, ImportError, RuntimeError) as error:  # of ucx, any of them
        return _brief(error)
    if scheme in ("tls", "wss"):
        security = distributed.Security().get_connection_args("client")
        if security.get("ssl_context") is None:
            return f"{scheme}:// needs certificates, distributed.comm.tls in Dask's configuration"
    if scheme != "inproc" and not re.search(r":\d+/?$", rest):
        return "it has no port"
    return None


def _check_hepgen(client: Any, address: str) -> None:
    """Refuse workers that lack hepgen: they would end at their first call, and not say why."""
    here = versions_of_events()["hepgen"]
    answers: queue.SimpleQueue[dict[str, object]] = queue.SimpleQueue()

    def ask() -> None:
        # A function that is found wherever there is Python.
        with contextlib.suppress(OSError, RuntimeError, CancelledError):  # the client has gone
            answers.put(client.run(metadata.version, "hepgen", on_error="return"))

    # Where one hangs, the others are not waited for: it will be late with its call, too.
    threading.Thread(target=ask, daemon=True).start()
    with contextlib.suppress(queue.Empty):
        _refuse_lacking(answers.get(timeout=_CONNECT_SECONDS), here, address)


def _refuse_lacking(found: Mapping[str, object], here: str, address: str) -> None:
    lacking = [w for w, told in found.items() if isinstance(told, metadata.PackageNotFoundError)]
    if lacking and here != "missing":
        raise InputError(
            f"--dask {address!r}: hepgen is not installed for {len(lacking)} of {len(found)} "
            f"workers, {lacking[0]} for one; install hepgen {here} in the environment that they "
            "run in"
        )


def _no_scheduler(address: str, reason: str) -> str:
    return (
        f"--dask {address!r}: no Dask scheduler answers there ({reason}); expected an address such "
        f"as tcp://head:8786 of one that runs (`dask scheduler`), or {LOCAL!r}"
    )


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
