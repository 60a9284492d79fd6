"""Pages, and parts of pages, that are made from the package and from stored results."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any, NamedTuple

import minisd
from minisd.experiments.catalogue import EXPERIMENTS
from minisd.experiments.gallery import Published, published

FIRST = (
    "stochastic_depth", "residual", "layers", "layer", "ops", "models", "optim", "train",
    "fused", "fast", "recompute", "surgery", "gradcheck", "flow", "data", "runs", "experiments",
)  # fmt: skip
"""The reading list of the README, and then what a program of one's own may want."""
LEFT_OUT = ("course", "cli", "__main__")  # no part of a program; their own guides describe them
HUANG = "Huang et al. 2016"


def gallery(root: Path) -> str:
    """Return every experiment: what it shows, its stored figures with captions, and their CSVs."""
    folders = sorted(path for path in (root / "tutorials" / "results").iterdir() if path.is_dir())
    stored = [(folder, {each.name: each for each in published(folder)}) for folder in folders]
    parts = []
    for name, module in EXPERIMENTS.items():
        parts.append(f"### {name}\n\n{module.SUMMARY}.\n")
        results = [(folder, found[name]) for folder, found in stored if name in found]
        parts += [in_the_gallery(folder, result) for folder, result in results]
        if not results:
            parts.append(f"No result of it is stored here: `minisd experiment {name}` makes one.\n")
    return "\n".join(parts)


def in_the_gallery(folder: Path, result: Published) -> str:
    """Return one figure with its caption and a link to its numbers."""
    network = folder.name.replace("resnet", "ResNet-")
    about, made_by, command = result.caption.partition("Made by: ")
    here = f"../results/{folder.name}"
    return (
        f"```{{figure}} {here}/{result.figures['png'].name}\n"
        f":alt: {network}. {result.alt}\n\n"
        f"**{network}.** {escaped(about)}{made_by}`{command}`.\n"
        f"[Numbers (CSV)]({here}/{result.table.name})\n```\n"
    )


def escaped(text: str) -> str:
    """Return text as Markdown that shows it as it is."""
    return re.sub(r"([*_\[\]<>`$|~])", r"\\\1", text)


class Place(NamedTuple):
    """A line of the package that names an equation, section or figure.

    Attributes
    ----------
    owner : ast node, optional
        The innermost function or class that the line is in.
    name : str
        Its name with that of its class; empty for a module.
    """

    path: Path
    line: int
    text: str
    owner: ast.AST | None
    name: str


def places(root: Path, pattern: str) -> Iterator[tuple[Place, list[str]]]:
    """Yield the lines that a pattern is found in, with what it has found."""
    for path in sorted((root / "minisd").rglob("*.py")):
        relative = path.relative_to(root)
        if relative.parts[1] in LEFT_OUT:
            continue
        text = path.read_text(encoding="utf-8")
        owners = list(with_names(ast.parse(text)))
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            if found := re.findall(pattern, line):
                around = [
                    (owner.end_lineno - first_line(owner), name, owner)
                    for owner, name in owners
                    if first_line(owner) <= number <= owner.end_lineno
                ]
                _, name, owner = min(around, key=lambda each: each[0], default=(0, "", None))
                context = " ".join(lines[max(number - 2, 0) : number])
                yield Place(relative, number, context, owner, name), found


def with_names(node: ast.AST, before: str = "") -> Iterator[tuple[ast.AST, str]]:
    """Yield each function and class with its dotted name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield child, before + child.name
            yield from with_names(child, f"{before}{child.name}.")


def first_line(node: ast.AST) -> int:
    """Return the line that a definition begins in, decorators included."""
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def equations(root: Path) -> str:
    """Return each equation of the paper with the lines that implement it, from the docstrings."""
    numbered: dict[int, list[Place]] = {}
    other: list[tuple[str, Place]] = []
    for place, found in places(root, r"\beqs?\. (\d+)"):
        paper = cited(place.text)
        for number in map(int, found):
            if paper in ("", HUANG):
                numbered.setdefault(number, []).append(place)
            else:
                other.append((f"{paper}, eq. {number}", place))
    parts = []
    for number, where in sorted(numbered.items()):
        parts.append(f"### Equation {number}\n\n{in_formula(root, number)}")
        parts.append("\n".join(f"- {link(place)}" for place in where) + "\n")
        shown = {place.owner: place for place in where if isinstance(place.owner, ast.FunctionDef)}
        parts += [excerpt(root, place) for place in shown.values()]
    parts.append("### Sections and figures of the paper\n\n| paper | where |\n| --- | --- |")
    pattern = r"\b(?:[Ss]ection|Fig\.) \d(?:\.\d)?"
    rows = [
        (what[0].upper() + what[1:], place)
        for place, found in places(root, pattern)
        if cited(place.text) in ("", HUANG)
        for what in found
    ]
    parts[-1] += "\n" + "\n".join(f"| {what} | {link(place)} |" for what, place in sorted(rows))
    if other:
        parts.append("\n### Equations of other papers\n\n| paper | where |\n| --- | --- |")
        parts[-1] += "\n" + "\n".join(f"| {what} | {link(place)} |" for what, place in other)
    return "\n".join(parts) + "\n"


def cited(text: str) -> str:
    """Return the last paper that a text names, or nothing."""
    found = re.findall(r"[A-Z]\w+(?: et al\.|(?:, [A-Z]\w+)* and [A-Z]\w+) \d{4}\w?", text)
    return found[-1] if found else ""


def in_formula(root: Path, number: int) -> str:
    """Return an equation as the docstrings write it, in TeX."""
    text = (root / "minisd" / "stochastic_depth.py").read_text(encoding="utf-8")
    found = re.search(rf"^    (\S.*?) +\(eq\. {number}\)$", text, re.MULTILINE)
    if found is None:
        return ""
    tex = re.sub(r"\b(ReLU|id)\b", r"\\mathrm{\1}", found[1])
    return f"$$ {tex} $$\n\n"


def link(place: Place) -> str:
    """Return a link to the line."""
    dotted = "/".join(place.path.with_suffix("").parts).removesuffix("/__init__")
    what = f", `{place.name}`" if place.name else ""
    where = f"{place.path.as_posix()}, line {place.line}"
    return f'<a href="../../_modules/{dotted}.html#L{place.line}">{where}</a>{what}'


def excerpt(root: Path, place: Place) -> str:
    """Return the code of the function, with the numbers that its lines have."""
    lines = (root / place.path).read_text(encoding="utf-8").splitlines()
    first, last = first_line(place.owner), place.owner.end_lineno
    code = "\n".join(lines[first - 1 : last])
    return f"```{{code-block}} python\n:lineno-start: {first}\n:dedent:\n\n{code}\n```\n"


def modules() -> dict[str, list[str]]:
    """Return the rooms of the package, in order, each with its modules."""
    found: dict[str, list[str]] = {}
    for info in walk_packages(minisd.__path__, "minisd."):
        room = info.name.split(".")[1]
        if room not in LEFT_OUT:
            found.setdefault(room, []).append(info.name)
    first = {name: place for place, name in enumerate(FIRST)}
    return dict(sorted(found.items(), key=lambda each: (first.get(each[0], len(FIRST)), each[0])))


def api_pages(root: Path) -> dict[str, str]:
    """Return the pages of the API reference: one for each room, with all its modules."""
    pages, rows = {}, []
    for room, names in modules().items():
        text = f"# minisd.{room}\n"
        for name in names:
            is_package = hasattr(import_module(name), "__path__")
            heading = "" if name == names[0] else f"\n## {name}\n"
            members = (
                ""
                if is_package
                else "\n   :members:\n   :ignore-module-all:\n   :show-inheritance:"
            )
            text += f"{heading}\n```{{eval-rst}}\n.. automodule:: {name}{members}\n```\n"
        pages[f"api/{room}.md"] = text
        about = (import_module(names[0]).__doc__ or "").partition("\n\n")[0]
        about = " ".join(about.replace("``", "`").split())
        about = "".join(p if p[:1] == "`" else escaped(p) for p in re.split("(`[^`]*`)", about))
        rows.append(f"| [minisd.{room}]({room}.md) | {about} |")
    here = [f"{{py:obj}}`~{full_name(name)}`" for name in minisd.__all__ if full_name(name)]
    pages["api/index.md"] = (
        "# API reference\n\n"
        f"`from minisd import ...` has these: {', '.join(here)}.\n\n"
        "| module | what is in it |\n| --- | --- |\n" + "\n".join(rows) + "\n\n"
        "```{toctree}\n:hidden:\n" + "\n".join(modules()) + "\n```\n"
    )
    return pages


def full_name(name: str) -> str:
    """Return where a name of the package is defined; nothing for what is no function or class."""
    thing = getattr(minisd, name)
    return f"{thing.__module__}.{name}" if hasattr(thing, "__qualname__") else ""


def citation(root: Path) -> dict[str, str]:
    """Return the page on how to cite, if there is a CITATION.cff."""
    path = root / "CITATION.cff"
    if not path.is_file():
        return {}
    import yaml

    text = path.read_text(encoding="utf-8")
    about = yaml.safe_load(text)
    entries = [bibtex("minisd", "software", about)]
    entries += [bibtex("stochastic-depth", "inproceedings", each) for each in about["references"]]
    return {
        "CITATION.md": "# How to cite\n\nThe program, and the paper that it implements:\n\n"
        + "".join(f"```bibtex\n{entry}```\n\n" for entry in entries)
        + "They are made from `CITATION.cff`, which GitHub and Zotero read:\n\n"
        f"```yaml\n{text}```\n"
    }


def bibtex(key: str, kind: str, about: dict[str, Any]) -> str:
    """Return what the citation file says of a work, for BibTeX."""
    authors = [
        f"{each['family-names']}, {each['given-names']}" if "family-names" in each else each["name"]
        for each in about["authors"]
    ]
    pages = f"{about['start']}--{about['end']}" if "start" in about else ""
    fields = {
        "author": " and ".join(name if "," in name else f"{{{name}}}" for name in authors),
        "title": f"{{{about['title']}}}",
        "booktitle": about.get("collection-title"),
        "pages": pages,
        "year": about.get("year"),
        "doi": about.get("doi"),
        "version": about.get("version"),
    }
    lines = [f"  {name:9} = {{{value}}},\n" for name, value in fields.items() if value]
    return f"@{kind}{{{key},\n{''.join(lines)}}}\n"
