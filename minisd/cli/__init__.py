"""The ``minisd`` command: `parser` has the options, `commands` what each does.

`arguments` says what is wrong with them, and `settings` makes those of ``minisd train``.
"""

from minisd.cli.parser import make_parser
from minisd.cli.running import main

__all__ = ["main", "make_parser"]
