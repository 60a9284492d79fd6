"""The ``minisd`` command: `parser` has its options, `commands` what each command does."""

from minisd.cli.parser import main, make_parser

__all__ = ["main", "make_parser"]
