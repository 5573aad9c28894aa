"""The program: what goes wrong becomes one sentence and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from hepgen import __version__
from hepgen.errors import HepgenError, out_of_memory

CHECKS_FAILED = 3

INTERRUPTED = 130

TERMINATED = 143


class TerminatedError(KeyboardInterrupt):
    """The system asks to stop, as batch systems do when the time is up."""


class Program(TyperGroup):
    """Turns what went wrong into one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except HepgenError as error:
            fail(str(error), error.exit_code)
        except TerminatedError:
            fail("terminated; what is finished is kept and will be used next time", TERMINATED)
        except KeyboardInterrupt:
            fail("interrupted; what is finished is kept and will be used next time", INTERRUPTED)
        except BrokenPipeError:
            # The reader has gone; nothing more can be said to it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        except OSError as error:
            # Whoever opens a file says more; this is for names that cannot be any.
            name = "" if error.filename is None else f"{_short(str(error.filename))}: "
            fail(f"{name}{error.strerror or error}", 2 if error.filename else 1)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            fail("out of memory; use fewer --jobs or a smaller simulation.block_size", 1)
        return result


app = typer.Typer(
    cls=Program,
    help="Simulation-based inference for particle physics: from a chain of simulators, or your "
    "ROOT files, to calibrated statements about physics parameters.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def version(
    show_version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """Options of the program itself."""
    if show_version:
        print(f"hepgen {__version__}")
        raise typer.Exit


def main() -> None:
    """The program. SIGTERM stops it as Ctrl-C does, with checkpoints written."""
    signal.signal(signal.SIGTERM, _terminate)
    app()


def _terminate(*_: object) -> NoReturn:
    raise TerminatedError


def _short(name: str) -> str:
    return name if len(name) <= 100 else f"{name[:60]}…{name[-30:]}"


def fail(words: str, code: int) -> NoReturn:
    """Say what went wrong, and end with an exit code."""
    print(f"hepgen: {words}", file=sys.stderr)
    raise SystemExit(code)
