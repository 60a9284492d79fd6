"""The ``minisd`` command: `parser` has options, `commands` what each does, and `running` runs it."""

from minisd.cli.parser import make_parser
from minisd.cli.running import main

__all__ = ["main", "make_parser"]
