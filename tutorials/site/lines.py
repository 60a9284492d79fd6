"""Links to the source: an anchor at each line, and from a file's name in a text to its page."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

NUMBER = re.compile(r'<span class="linenos">( *(\d+))</span>')


def add_anchors(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Give each line of a source page an anchor, #L12."""
    if page.startswith("_modules/") and "body" in context:
        context["body"] = NUMBER.sub(r'<span class="linenos" id="L\2">\1</span>', context["body"])


def link_files(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Make `minisd/residual.py` in a text a link to its source."""
    pages = getattr(app.env, "_viewcode_modules", {})
    for literal in list(tree.findall(nodes.literal)):
        found = re.fullmatch(r"(minisd/[\w/]+)\.py", literal.astext())
        dotted = found[1].replace("/", ".").removesuffix(".__init__") if found else ""
        if pages.get(dotted) and not isinstance(literal.parent, nodes.reference):
            target = f"_modules/{dotted.replace('.', '/')}"
            uri = app.builder.get_relative_uri(page, target)
            literal.replace_self(nodes.reference("", "", literal.deepcopy(), refuri=uri))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", add_anchors)
    app.connect("doctree-resolved", link_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
