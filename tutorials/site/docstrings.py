"""Docstrings as reStructuredText.

Ours are plain text in NumPy's style. They say |x| and x * y, and set formulas apart by indenting
them, without the signs that reStructuredText wants for that.
"""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a test reads this file where there is no Sphinx
    from sphinx.application import Sphinx

KEPT = re.compile(r"(``.+?``|`[^`]+`|(?<![\w*])\*{1,2}(?=[^\s*])[^*]*[^\s*]\*{1,2}(?![\w*]))")
"""Code and emphasis in a line."""


def rewrite(
    app: "Sphinx", what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Change the lines of a docstring in place, before numpydoc reads them."""
    lines[:] = marked(lines)


def marked(lines: list[str]) -> list[str]:
    """Return the lines with escaped signs, and with ``::`` before what is set apart.

    >>> marked(["So |x|:", "", "    y = x * x"])
    ['So \\\\|x\\\\|:', '', '::', '', '    y = x * x']
    """
    out: list[str] = []
    in_block = in_section = False
    for number, line in enumerate(lines):
        indented = line.startswith("    ")
        follows_blank = number > 0 and not lines[number - 1].strip()
        in_section |= set(line.strip()) == {"-"}
        if in_block and line.strip() and not indented:
            in_block = False
        if indented and follows_blank and not in_block and not in_section and not in_list(out):
            out += ["::", ""]
            in_block = True
        is_code = in_block or line.lstrip().startswith((">>>", "..."))
        out.append(line if is_code else escaped(line))
    return out


def in_list(before: list[str]) -> bool:
    """Whether the last paragraph is an item of a list, whose text goes on indented."""
    paragraph: list[str] = []
    for line in reversed([*before]):
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            break
    return bool(paragraph) and bool(re.match(r"\s*([-*]|\d+\.) ", paragraph[-1]))


def escaped(line: str) -> str:
    """Return a line of text in which stars, bars and underscores are only that."""
    parts = KEPT.split(line)  # every second one is code or emphasis, as it stands
    parts[::2] = [re.sub(r"[*|]|_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def setup(app: "Sphinx") -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", rewrite, priority=100)
    event = "autodoc-process-signature"  # numpydoc looks for signatures in docstrings, and fails
    for listener in list(app.events.listeners.get(event, ())):  # on the aliases of types
        if listener.handler.__module__.startswith("numpydoc."):
            app.disconnect(listener.id)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
