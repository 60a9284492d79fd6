"""Notebooks, made from the tutorials' scripts by jupytext.

The scripts are what is written, read and reviewed; the notebooks are for those who open them in
Jupyter or Colab. A notebook holds no outputs, and the same script makes the same bytes.
"""

import re
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path

from minisd.errors import UserError
from minisd.files import write_atomically

HEAD = re.compile(
    r"# %% \[markdown\]\n# # (?P<number>\d+)\. (?P<title>.+)\n#\n"
    r"# \*\*You will learn\*\* (?P<learn>[^*]+?)\n#\n"
    r"# \*\*You need\*\* (?P<need>[^*]+?)\n#\n"
    r"# \*\*Time\*\*: (?P<minutes>\d+) minutes\.\n#\n"
)
LINK = re.compile(r"(\]\(\d\d_\w+)\.py\)")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


@dataclass(frozen=True)
class About:
    """What the first cell of a tutorial says about it."""

    number: int
    title: str
    learn: str
    need: str
    minutes: int


def about(script: Path) -> About:
    """Read the first cell of a tutorial.

    Raises
    ------
    UserError
        If it does not have the form that all of them have.
    """
    found = HEAD.match(script.read_text(encoding="utf-8"))
    if found is None:
        raise UserError(
            f"{script}: its first cell does not say '# N. Title', 'You will learn', 'You need' and "
            "'Time' as those of the other tutorials do"
        )
    said = {name: text.replace("\n# ", " ") for name, text in found.groupdict().items()}
    return About(
        int(said["number"]), said["title"], said["learn"], said["need"], int(said["minutes"])
    )


def scripts(folder: Path) -> list[Path]:
    """Return the tutorials of a folder, in order.

    Raises
    ------
    UserError
        If there is none.
    """
    found = sorted(folder.glob("[0-9][0-9]_*.py"))
    if not found:
        raise UserError(
            f"{folder}: no tutorial (NN_name.py) there; the tutorials come with the source, not "
            "with the installed package: give the folder 'tutorials' of a checkout"
        )
    return found


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
            "notebooks are made by jupytext, which is not here: pip install 'minisd[tutorials]'"
        ) from error
    made = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    made.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(made.cells, 1):
        cell["id"] = f"cell-{number}"  # jupytext draws them at random
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(r"\1.ipynb)", cell.source)
    nbformat.validate(made)
    return nbformat.writes(made) + "\n"


def build(folder: Path) -> list[Path]:
    """Write the notebook of each tutorial in a folder beside it; return their paths."""
    made = {script.with_suffix(".ipynb"): notebook(script) for script in scripts(folder)}
    for path, text in made.items():
        write_atomically(path, methodcaller("write", text.encode()))
    return list(made)
