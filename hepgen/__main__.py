"""The program ``hepgen``, also as ``python -m hepgen``."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; Ctrl-C is one sentence also while it is imported."""
    try:
        from hepgen.cli import main as program

        program()
    except KeyboardInterrupt:
        print("hepgen: interrupted", file=sys.stderr)
        raise SystemExit(_INTERRUPTED) from None


if __name__ == "__main__":
    main()
