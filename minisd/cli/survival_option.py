"""What ``--survival`` may say: the name of a rule, probabilities, or a rule in a file of yours."""

import os
import runpy
import sys
from pathlib import Path
from typing import Any

from minisd.errors import ConfigError
from minisd.readers import Kind, explain

RULE_FILE = Kind(
    "a Python file",
    ConfigError,
    if_missing="give the file with the survival rule, as in my_rules.py:rule",
    if_damaged="give the file with the survival rule, as in my_rules.py:rule",
)


def is_own_survival(text: str) -> bool:
    """Whether ``--survival`` has probabilities or a file, and not the name of a rule."""
    return ".py:" in text or _is_list(text)


def _is_list(text: str) -> bool:
    return "," in text or text[:1].isdigit() or text[:1] in (".", "-")


def chosen_survival(text: str) -> tuple[Any, str | None]:
    """Return what `minisd.runs.config.resolve` takes as ``survival``, and where it came from.

    ``FILE.py:NAME`` executes the file, because the user has asked for just that on the command
    line. What is saved with the run are the probabilities that the rule gives, and ``text`` as a
    remark: nothing that reads the run ever executes the file again.

    Raises
    ------
    ConfigError
        If the numbers are none, or there is no such file or rule in it, or the file fails.
    """
    path, is_file, name = text.rpartition(".py:")
    if is_file:
        return _rule(Path(os.path.expanduser(path + ".py")), name), text
    if _is_list(text):
        return _numbers(text), None
    return text, None


def _numbers(text: str) -> tuple[float, ...]:
    probs = []
    for part in text.rstrip(",").split(","):
        try:
            probs.append(float(part))
        except ValueError:
            raise ConfigError(
                f"survival: {part!r} is not a number; give one for each block, as in 0.9,0.8,0.7"
            ) from None
    return tuple(probs)


def _rule(path: Path, name: str) -> Any:
    with RULE_FILE.reading(path):
        pass  # it is there, and can be read
    search = sys.path[:]
    sys.path.insert(0, str(path.parent.resolve()))  # the file may import others beside it
    try:
        content = runpy.run_path(str(path), run_name=path.stem)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{path} fails when it is executed ({type(error).__name__}: {explain_any(error)})"
        ) from error
    finally:
        sys.path[:] = search
    rule = content.get(name)
    if not callable(rule):
        own = [key for key, value in content.items() if callable(value) and key[0] != "_"]
        there = f"it has {', '.join(own)}" if own else "it has no functions"
        raise ConfigError(f"{path} has no function {name!r}; {there}")
    return rule


def explain_any(error: BaseException) -> str:
    """Return the first line of what an exception says."""
    return explain(error) if isinstance(error, Exception) else str(error)
