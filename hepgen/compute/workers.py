"""Who computes: this process, a pool of processes, or a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hepgen.compute.engine import Engine, InProcess
from hepgen.errors import InputError


@dataclass(frozen=True)
class Workers:
    """Who computes the blocks of a campaign, and how patiently they are waited for.

    Arguments:
        jobs: Processes on this machine; one is this process itself.
        dask: The address of a Dask scheduler, whose workers compute instead; or ``local``, a
            cluster of ``jobs`` workers on this machine.
        timeout: Seconds that a block may take before its worker is taken to hang and is
            replaced. Without it a worker is waited for.
        attempts: How often a block is given to a worker before it is given up.

    Raises:
        InputError: A number makes no sense.

    >>> with Workers().engine() as engine:
    ...     engine.submit(abs, -1).result()
    1
    """

    jobs: int = 1
    dask: str | None = None
    timeout: float | None = None
    attempts: int = 3

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise InputError(f"jobs = {self.jobs}: expected at least 1")
        if self.timeout is not None and not self.timeout > 0:
            raise InputError(f"timeout = {self.timeout:g}: expected a positive number of seconds")
        if self.attempts < 1:
            raise InputError(f"attempts = {self.attempts}: expected at least 1")

    @contextmanager
    def engine(self, calls: int | None = None, import_path: str | None = None) -> Iterator[Engine]:
        """An engine, whose workers end with the context: at once where it is left by an error,
        as one that hangs would be waited for.

        Arguments:
            calls: More processes than this are not worth starting.
            import_path: A folder in which workers find modules, besides the usual ones.
        """
        engine = self._engine(calls, import_path)
        try:
            yield engine
        except BaseException:
            engine.shutdown(wait=False, cancel_futures=True)
            raise
        engine.shutdown()

    def _engine(self, calls: int | None, import_path: str | None) -> Engine:
        jobs = self.jobs if calls is None else max(1, min(self.jobs, calls))
        if self.dask is not None:
            from hepgen.compute.dask import Dask

            return Dask(self.dask, jobs, self.timeout, import_path)
        # Nothing can end a call that hangs in this process.
        if jobs == 1 and self.timeout is None:
            return InProcess()
        from hepgen.compute.pool import Pool

        return Pool(jobs, self.timeout, import_path)
