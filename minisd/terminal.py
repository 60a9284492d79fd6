"""Text that fits the terminal: no more letters in a line than it has columns, broken at words."""

import re
import shutil
import textwrap

NARROWEST, WIDEST = 20, 100
"""Columns. Longer lines are hard to read, however wide the terminal is; shorter ones, too."""


def columns() -> int:
    """Return the letters that fit into a line: those of the terminal, within these limits.

    80 without a terminal, in a pipe or a file. The environment variable ``COLUMNS`` overrides both.
    """
    return max(NARROWEST, min(shutil.get_terminal_size().columns, WIDEST))


def wrapped(text: str, width: int | None = None) -> str:
    """Return a text whose lines are broken at words, so that they fit.

    The rest of a line is indented as its second column, where there is one, after two spaces or
    more. A word that is longer than the line, such as a path, stays whole.

    Parameters
    ----------
    width : int, optional
        Default: `columns`.

    Examples
    --------
    >>> print(wrapped("depth  L = 9 blocks, all of them open", 20))
    depth  L = 9 blocks,
           all of them
           open
    """
    width = columns() if width is None else width
    return "\n".join(_broken(line, width) for line in text.split("\n"))


def _broken(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    second = re.match(r"\s*\S.*?\s{2,}(?=\S)", line)
    if second is None or second.end() > width // 2:
        second = re.match(r"\s*", line)
    indent = " " * second.end() if second else ""
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
