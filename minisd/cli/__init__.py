"""The ``minisd`` command: `parser` has the options, `commands` what each does."""

from minisd.cli.parser import make_parser
from minisd.cli.running import main

__all__ = ["main", "make_parser"]
