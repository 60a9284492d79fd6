"""Functions that the tutorials share: a quick mode, checked claims, figures, exercises.

A tutorial is a Python script in cells, ``tutorials/NN_name.py``. `minisd.tutorial.notebooks` makes
a notebook of it. Each tutorial runs by itself from the first line to the last. The option
``--quick`` uses smaller numbers. ``--exercise N`` runs one exercise without the rest. With
``--solutions``, the checks of the exercises are tested, too: they must pass the solution and refuse
the empty function.
"""

import argparse
import functools
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minisd.errors import UserError
from minisd.files import write_atomically
from minisd.tutorial import excerpt
from minisd.tutorial.answers import Answer

FIGURES = Path("figures")
"""Folder for the figures of a script, relative to where it runs."""


def read_options() -> None:
    """Read the options of a script, at its top; with ``--exercise N`` run that alone, and end.

    See `minisd.tutorial.excerpt` for what is run. In a notebook this does nothing.
    """
    number = _arguments().exercise
    if number is None:
        return
    tutorial = sys.modules["__main__"]
    script = Path(str(tutorial.__file__))
    try:
        code = excerpt.of(script, number, solution(script) if _arguments().solutions else "")
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    exec(code, vars(tutorial))
    sys.exit(0)


def is_quick() -> bool:
    """Whether to use smaller numbers: ``--quick`` for a script, MINISD_QUICK for a notebook."""
    return bool(_arguments().quick or os.environ.get("MINISD_QUICK"))


def claim(text: str, holds: bool, *, in_full: bool = False) -> None:
    """Print a claim of the text, and stop if it does not hold.

    Parameters
    ----------
    text : str
        The claim, with the measured numbers.
    holds : bool
    in_full : bool, default False
        The claim is about the full run. A quick run prints it and does not check it.

    Raises
    ------
    AssertionError
        If the claim does not hold.
    """
    if in_full and is_quick():
        print(f"in full    {text} (not asked of a quick run)")
    elif holds:
        print(f"holds      {text}")
    else:
        raise AssertionError(f"this claim of the tutorial does not hold here: {text}")


def show(figure: Any, name: str, title: str, *, alt: str | None = None) -> None:
    """Show a figure: below the cell in a notebook, or as ``figures/NAME.png`` from a script.

    A figure that cannot be drawn does not stop the tutorial.

    Parameters
    ----------
    figure : matplotlib figure
    name : str
        Name of the file, without its ending.
    title : str
        Says what is drawn to somebody who has only the figure.
    alt : str, optional
        Says what there is to see to somebody who cannot see it. By default the title.
    """
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    if _in_notebook():
        from IPython.display import Image, display

        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=100)
        display(Image(stream.getvalue(), alt=alt or title))
        return
    path = FIGURES / f"{name}.png"
    mark = {"Software": "minisd", "Description": alt or title}
    try:
        FIGURES.mkdir(exist_ok=True)
        write_atomically(
            path,
            lambda stream: figure.savefig(stream, format="png", dpi=120, metadata=mark),
            is_ours=lambda content: b"Software\0minisd" in content,
        )
    except Exception as error:  # matplotlib's settings are the user's, and need TeX or a backend
        print(f"minisd: {path} was not drawn: {type(error).__name__}: {error}", file=sys.stderr)
    else:
        print(f"figure     {path}")


def exercise(number: int, yours: Callable[..., Any], check: Callable[[Any], None]) -> None:
    """Print whether an exercise is solved. It is solved if its check raises nothing.

    Parameters
    ----------
    number : int
    yours : function
        The function that the reader writes. At first it raises NotImplementedError.
    check : function of `minisd.tutorial.answers.Answer`
        Calls the answer, and raises an AssertionError that says what was expected if it is wrong.

    Raises
    ------
    AssertionError
        With ``--solutions`` only: if the check passes the empty function, or refuses the function
        of the same name in ``solutions/NN_name.py``. That file runs as if it were part of the
        tutorial.
    """
    problem = problem_of(yours, yours.__name__, check)
    print(f"exercise {number} {problem or 'solved'}")
    if not _arguments().solutions:
        return
    if problem is None:
        raise AssertionError(f"exercise {number}: its check lets the empty {yours.__name__} pass")
    namespace = dict(yours.__globals__)
    script = Path(namespace["__file__"])
    exec(compile(solution(script), str(_solutions(script)), "exec"), namespace)
    if namespace[yours.__name__] is yours:
        raise AssertionError(f"exercise {number}: {_solutions(script)} has no {yours.__name__}")
    problem = problem_of(namespace[yours.__name__], yours.__name__, check)
    if problem is not None:
        raise AssertionError(f"exercise {number}: the solution is {problem}")
    print(f"exercise {number} the solution passes")


def problem_of(yours: Callable[..., Any], name: str, check: Callable[[Any], None]) -> str | None:
    """Return what is wrong with an answer, or None if it passes."""
    try:
        check(Answer(yours, name))
    except NotImplementedError:
        return "is yours to write"
    except AssertionError as error:
        return f"not yet: {error}"
    except Exception as error:
        return f"not yet: {type(error).__name__}: {error}"
    return None


def solution(script: Path) -> str:
    """Return the text of the solutions to a tutorial's exercises."""
    return _solutions(script).read_text(encoding="utf-8")


def _solutions(script: Path) -> Path:
    return script.parent / "solutions" / script.name


@functools.cache
def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A tutorial, run from its first line to its last.")
    parser.add_argument(
        "--quick", action="store_true", help="use smaller numbers, to finish in seconds"
    )
    parser.add_argument(
        "--exercise", type=int, metavar="N", help="run exercise N alone, and only what it needs"
    )
    parser.add_argument(
        "--solutions",
        action="store_true",
        help="also test each exercise's check: it must refuse the empty function and pass the "
        "solution",
    )
    return parser.parse_args([] if _in_notebook() else None)


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules
