"""Notebooks, made from the scripts of the tutorials by jupytext.

The tutorials are written as scripts. The notebooks are for readers who use Jupyter or Colab. A
notebook contains no outputs, and the same script always gives the same bytes.
"""

import json
import re
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path

from minisd.errors import UserError
from minisd.files import check_ours, write_atomically

HEAD = re.compile(
    r"# %% \[markdown\]\n# # (?P<number>\d+)\. (?P<title>[^\n]+)\n#\n"
    r"# (?P<why>[^*].+?)\n#\n"
    r"# \*\*You will learn\*\* (?P<learn>[^*]+?)\n#\n"
    r"# \*\*You need\*\* (?P<need>[^*]+?)\n#\n"
    r"# \*\*Time\*\*: (?P<minutes>\d+) minutes\.\n#\n",
    re.DOTALL,
)
LINK = re.compile(r"(\]\(\d\d_\w+)\.py\)")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


@dataclass(frozen=True)
class About:
    """Number, title and so on, from the first cell of a tutorial."""

    number: int
    title: str
    why: str
    learn: str
    need: str
    minutes: int


def about(script: Path) -> About:
    """Read the first cell of a tutorial.

    Raises
    ------
    UserError
        If the cell does not have the form of `HEAD`.
    """
    head = HEAD.match(script.read_text(encoding="utf-8"))
    if head is None:
        raise UserError(
            f"{script}: its first cell must have '# N. Title', why one wants to know, 'You will "
            "learn', 'You need' and 'Time', as in the other tutorials"
        )
    parts = {name: text.replace("\n# ", " ") for name, text in head.groupdict().items()}
    number, minutes = int(parts.pop("number")), int(parts.pop("minutes"))
    return About(number=number, minutes=minutes, **parts)


def scripts(folder: Path) -> list[Path]:
    """Return the tutorials in a folder, in order.

    Raises
    ------
    UserError
        If there are none.
    """
    paths = sorted(folder.glob("[0-9][0-9]_*.py"))
    if not paths:
        raise UserError(
            f"{folder} contains no tutorial (NN_name.py); the tutorials come with the source, not "
            "with the installed package: give the folder 'tutorials' of a checkout"
        )
    return paths


def notebook(script: Path) -> str:
    """Return the notebook of a tutorial, as the text of an ``.ipynb`` file.

    Links to other tutorials become links to their notebooks.

    Raises
    ------
    UserError
        If jupytext is not installed.
    """
    try:
        import jupytext
        import nbformat
    except ImportError as error:
        raise UserError(
            "making notebooks needs jupytext: pip install 'minisd[tutorials]'"
        ) from error
    content = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    content.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(content.cells, 1):
        cell["id"] = f"cell-{number}"  # jupytext gives random ids
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(r"\1.ipynb)", cell.source)
    nbformat.validate(content)
    return nbformat.writes(content) + "\n"


def is_ours(content: bytes) -> bool:
    """Whether a notebook is as `build` writes them: nobody has run or saved it since."""
    try:
        made = json.loads(content)
        return made["metadata"] == METADATA and all(
            cell["id"] == f"cell-{number}"
            and not cell.get("outputs")
            and cell.get("execution_count") is None
            for number, cell in enumerate(made["cells"], 1)
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


def build(folder: Path) -> list[Path]:
    """Write a notebook beside each tutorial in a folder; return the paths of the notebooks.

    Raises
    ------
    UserError
        If one cannot be written, or there is one that somebody has worked in. All are written, or
        none.
    """
    notebooks = {script.with_suffix(".ipynb"): notebook(script) for script in scripts(folder)}
    try:
        for path in notebooks:
            check_ours(path, is_ours)
        for path, text in notebooks.items():
            write_atomically(path, methodcaller("write", text.encode()), is_ours=is_ours)
    except OSError as error:
        raise UserError(f"the notebooks cannot be written: {error}") from error
    return list(notebooks)
