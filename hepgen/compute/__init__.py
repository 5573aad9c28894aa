"""Engines: where blocks are computed, all behind ``concurrent.futures.Executor``."""

from hepgen.compute.calls import completed, in_order
from hepgen.compute.engine import Engine, InProcess
from hepgen.compute.threads import cores, one_thread
from hepgen.compute.versions import versions_of_events
from hepgen.compute.workers import Workers

__all__ = ["Engine", "InProcess", "Workers", "completed", "cores", "in_order", "one_thread",
           "versions_of_events"]  # fmt: skip
