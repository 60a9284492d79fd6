"""What the tutorials share: a quick mode, claims that are checked, figures, exercises.

A tutorial is a Python script in cells, ``tutorials/NN_name.py``; notebooks are made from it
(`minisd.tutorial.notebooks`). It runs alone from the first line to the last: in a notebook, as a
script, and as a script with ``--quick``, in smaller numbers. With ``--solutions`` each exercise is
also asked whether its check tells a solution from an empty page.
"""

import argparse
import functools
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minisd.files import write_atomically

FIGURES = Path("figures")
"""Where a script's figures go: a folder where it is run."""


def is_quick() -> bool:
    """Whether to use smaller numbers: ``--quick`` after a script, MINISD_QUICK for a notebook."""
    return bool(_arguments().quick or os.environ.get("MINISD_QUICK"))


def claim(text: str, holds: bool, *, in_full: bool = False) -> None:
    """Print what the prose claims, and stop if it does not hold.

    Parameters
    ----------
    text : str
        The claim, with the numbers that were found.
    holds : bool
    in_full : bool, default False
        The claim is about the full run. A quick one prints it as not asked and goes on.

    Raises
    ------
    AssertionError
        If it does not hold.
    """
    if in_full and is_quick():
        print(f"in full    {text} (not asked of a quick run)")
    elif holds:
        print(f"holds      {text}")
    else:
        raise AssertionError(f"this tutorial claims what does not hold here: {text}")


def show(figure: Any, name: str) -> None:
    """Show a figure: below the cell of a notebook; as ``figures/NAME.png`` from a script."""
    if _in_notebook():
        from IPython.display import Image, display

        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=100)
        display(Image(stream.getvalue()))
        return
    FIGURES.mkdir(exist_ok=True)
    path = FIGURES / f"{name}.png"
    write_atomically(path, lambda stream: figure.savefig(stream, format="png", dpi=120))
    print(f"figure     {path}")


def exercise(number: int, yours: Callable[..., Any], check: Callable[[Any], None]) -> None:
    """Say whether an exercise is solved, which is when its check raises nothing.

    Parameters
    ----------
    number : int
    yours : function
        What the reader writes. A page not yet begun raises NotImplementedError.
    check : function of ``yours``
        Raises, best an AssertionError that says what was expected, if ``yours`` is wrong.

    Raises
    ------
    AssertionError
        With ``--solutions`` only: if the check lets the empty page pass, or refuses the function of
        that name in ``solutions/NN_name.py``, which is read as if it stood in the tutorial.
    """
    told = _ask(yours, check)
    print(f"exercise {number} {told or 'solved'}")
    if not _arguments().solutions:
        return
    if told is None:
        raise AssertionError(f"exercise {number}: its check lets the empty {yours.__name__} pass")
    namespace = dict(yours.__globals__)
    script = Path(namespace["__file__"])
    solutions = script.parent / "solutions" / script.name
    exec(compile(solutions.read_text(encoding="utf-8"), solutions, "exec"), namespace)
    if namespace[yours.__name__] is yours:
        raise AssertionError(f"exercise {number}: {solutions} has no {yours.__name__}")
    told = _ask(namespace[yours.__name__], check)
    if told is not None:
        raise AssertionError(f"exercise {number}: the solution is {told}")
    print(f"exercise {number} the solution passes")


def _ask(answer: Callable[..., Any], check: Callable[[Any], None]) -> str | None:
    """Return what is not right about an answer, None if it passes."""
    try:
        check(answer)
    except NotImplementedError:
        return "is yours to write"
    except Exception as error:
        return f"not yet: {type(error).__name__}: {error}"
    return None


@functools.cache
def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A tutorial, run from its first line to its last.")
    parser.add_argument("--quick", action="store_true", help="with smaller numbers, in seconds")
    parser.add_argument(
        "--solutions",
        action="store_true",
        help="also show that each exercise's check refuses the empty page and takes the solution",
    )
    return parser.parse_args([] if _in_notebook() else None)


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules
