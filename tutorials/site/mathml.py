"""Mathematics as MathML, written while the site is built.

Browsers draw MathML themselves: no script, no network, text that can be selected, read aloud and
coloured. What they lack on some systems is a font with mathematics, so STIX Two Math comes along.
"""

import re
import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from docutils import nodes
from math_core import LatexToMathML
from sphinx.application import Sphinx

CONVERTER = LatexToMathML()
TAG = re.compile(r"\\tag\{(.+?)\}")


def inline(writer: Any, node: nodes.math) -> None:
    """Write a formula in a line of text."""
    writer.body.append(CONVERTER.convert_with_local_state(node.astext(), displaystyle=False))
    raise nodes.SkipNode


def display(writer: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own; with the number in its tag, if it has one."""
    text = node.astext()
    number = "".join(f'<span class="eqno">({each})</span>' for each in TAG.findall(text))
    formula = CONVERTER.convert_with_local_state(TAG.sub("", text), displaystyle=True)
    writer.body.append(f'<div class="formula" tabindex="0">{formula}{number}</div>\n')
    raise nodes.SkipNode


def copy_the_font(app: Sphinx, error: Exception | None) -> None:
    """Put the font, and its licence, beside the style sheets."""
    if error is None:
        with as_file(files("ziamath.fonts") / "STIXTwoMath-Regular.ttf") as font:
            shutil.copy(font, Path(app.outdir) / "_static" / "STIXTwoMath-Regular.ttf")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    app.connect("build-finished", copy_the_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
