"""The ``minisd`` command: `parser` has its options, `commands` what each does, `running` the rest."""

from minisd.cli.parser import make_parser
from minisd.cli.running import main

__all__ = ["main", "make_parser"]
