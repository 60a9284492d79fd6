"""The ``minisd`` command: `parser` defines the options, `commands` what each command does."""

from minisd.cli.parser import main, make_parser

__all__ = ["main", "make_parser"]
