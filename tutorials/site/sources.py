"""Collect the pages of the site from where they stand, into a folder for Sphinx.

Paths stay as they are in the repository, so that links between pages do, too. Only a ``README.md``
becomes the ``index.md`` of its folder, and each link to one with it.
"""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from generated import api_pages, citation, equations, gallery

LINK = re.compile(r"(?<=\]\()(?P<target>[^)#\s]+)(?P<rest>#[^)\s]*)?(?=\))")
PAGES = ("*.md", "tutorials/*.md", "tutorials/site/*.md", "tutorials/course/*.md",
         "tutorials/results/*.md", "tests/benchmarks/*.md")  # fmt: skip
TREE = {
    "Learn": ["Tutorials <tutorials/index>", "Course, for instructors <tutorials/course/index>"],
    "The paper": [
        "Equations and code <tutorials/site/paper>",
        "Experiments <tutorials/site/experiments>",
        "tutorials/site/findings",
    ],
    "Use it": [
        "tutorials/site/own",
        "tutorials/site/running",
        "tutorials/site/processes",
        "tutorials/site/cluster",
        "tutorials/site/speed",
        "tutorials/site/gpu",
    ],
    "Reference": ["api/index"],
}
"""What the sidebar has. Pages in the root (CHANGELOG and so on) come last, as they are found."""


def collect(root: Path, folder: Path) -> None:
    """Write all sources; remove what an earlier build has left there.

    A file that would not change is not written, so that Sphinx reads it only once.
    """
    written = {}
    for path in sorted(path for pattern in PAGES for path in root.glob(pattern)):
        name = path.relative_to(root).as_posix().replace("README.md", "index.md")
        written[name] = page(path, root)
        for target in linked_files(path, root):
            written.setdefault(target.relative_to(root).as_posix(), target.read_bytes())
    for script in sorted(root.glob("tutorials/[0-9][0-9]_*.py")):
        made = script.with_suffix(".ipynb")
        written[made.relative_to(root).as_posix()] = with_alternative_texts(made)
    for path in root.glob("tutorials/results/*/*"):
        written[path.relative_to(root).as_posix()] = path.read_bytes()
    written |= api_pages(root)
    written |= citation(root)
    others = [n for n in written if "/" not in n and n.endswith(".md") and n != "index.md"]
    tree = TREE | {"Project": [*sorted(others), "tests/benchmarks/index"]}
    written["index.md"] += "".join(
        toctree(each, "hidden", caption=name) for name, each in tree.items()
    )
    lessons = sorted(n for n in written if re.fullmatch(r"tutorials/\d\d_\w+\.ipynb", n))
    written["tutorials/index.md"] += toctree([f"/{name}" for name in lessons], "hidden")
    others = ["/tutorials/course/mistakes", "/tutorials/results/index"]
    for name, below in zip(("course/index.md", "site/experiments.md"), others, strict=True):
        written[f"tutorials/{name}"] += toctree([below], "hidden")
    for name, content in written.items():
        write(folder / name, content)
    for path in list(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).as_posix() not in written:
            path.unlink()


def write(path: Path, content: str | bytes) -> None:
    """Write a file, unless that is what is in it."""
    content = content.encode() if isinstance(content, str) else content
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def toctree(names: list[str], *flags: str, **options: str) -> str:
    """Return the directive that puts pages into the sidebar."""
    lines = [*(f":{flag}:" for flag in flags), *(f":{k}: {v}" for k, v in options.items()), *names]
    return "\n\n" + "\n".join(["```{toctree}", *lines, "```"]) + "\n"


def page(path: Path, root: Path) -> str:
    """Return a page's text with links as the site has them, and with its generated part."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\[notebook\]\((\d\d_\w+\.ipynb)\)", r"{download}`notebook <\1>`", text)
    text = LINK.sub(lambda found: on_the_site(found, path, root), text)
    for mark, make in (("<!-- gallery -->", gallery), ("<!-- equations -->", equations)):
        if mark in text:
            text = text.replace(mark, make(root))
    return text


def on_the_site(found: re.Match[str], path: Path, root: Path) -> str:
    """Return where a link leads on the site: to a tutorial's page, or to the index of a folder."""
    if (path.parent / found["target"] / "README.md").is_file():
        return found["target"].rstrip("/") + "/index.md" + (found["rest"] or "")
    target = re.sub(r"(?<=/)(\d\d_\w+)\.py$|^(\d\d_\w+)\.py$", r"\1\2.ipynb", found["target"])
    return re.sub(r"(^|/)README\.md$", r"\1index.md", target) + (found["rest"] or "")


def linked_files(path: Path, root: Path) -> Iterator[Path]:
    """Yield the files (pictures, sources) that a page links to and that are no pages."""
    for found in LINK.finditer(path.read_text(encoding="utf-8")):
        target = Path(os.path.normpath(path.parent / found["target"]))
        if target.is_relative_to(root) and target.is_file() and target.suffix != ".md":
            yield target


def with_alternative_texts(path: Path) -> str:
    """Return a notebook whose cells say what their figures show: the last argument of `show`.

    MyST-NB wants it beside the cell; the tutorial has it beside the figure.
    """
    content = nbformat.read(path, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "code" and (texts := alternative_texts(cell.source)):
            cell.metadata["mystnb"] = {"image": {"alt": " ".join(texts)}}
    return nbformat.writes(content)


def alternative_texts(code: str) -> list[str]:
    """Return the ``alt`` of each call of `show` in a cell."""
    return [
        ast.literal_eval(keyword.value)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "show"
        for keyword in node.keywords
        if keyword.arg == "alt"
    ]
