"""Arguments of the command: one sentence says what is wrong with them and what was perhaps meant.

`argparse` prints the whole usage before its errors, 14 lines for ``minisd train``, and guesses
nothing.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Never

from minisd.errors import UserError, closest, known_or_close
from minisd.terminal import columns, wrapped


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{"width": columns() - 2, **options})

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):  # else long names get lines of their own
            longest = max(map(len, action.choices)) + 2 * self._indent_increment
            self._action_max_length = max(self._action_max_length, longest)


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


class Parser(argparse.ArgumentParser):
    """A parser whose errors are a sentence with a guess, and whose help fits the terminal.

    Its commands have parsers of this class, too.

    Attributes
    ----------
    before_help : function of the arguments, optional
        Called before help is printed, for what the help says of the other arguments.
    """

    before_help: Callable[[Sequence[str]], None] | None = None

    def __init__(
        self, *, description: str | None = None, epilog: str | None = None, **options: Any
    ) -> None:
        options.setdefault("formatter_class", _Formatter)
        super().__init__(
            description=wrapped(description or ""), epilog=wrapped(epilog or ""), **options
        )
        self.register("type", int, _whole_number)
        self.register("type", float, _number)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse the arguments. Unlike the base class, refuse those that are not known."""
        arguments = sys.argv[1:] if args is None else list(args)
        self._refuse_unknown_options(arguments)  # first: else their values pass for other arguments
        if self.before_help is not None and {"-h", "--help"} & set(arguments):
            try:
                self.before_help(arguments)
            except UserError as error:
                self.error(str(error))
        parsed, left = super().parse_known_args(arguments, namespace)
        if left:
            self.error(f"too many arguments: {' '.join(left)}")
        return parsed, []

    def _refuse_unknown_options(self, arguments: Sequence[str]) -> None:
        known = {flag: action for action in self._actions for flag in action.option_strings}
        for word in arguments:
            is_option = re.match(r"--?[^-\d.\s]\S*$", word.partition("=")[0])
            if word == "--" or (not is_option and self._subparsers is not None):
                return  # what follows are no options, or a command's
            flag = word.partition("=")[0]
            if is_option and not any(name.startswith(flag) for name in known):
                offered = {
                    name.lstrip("-"): name
                    for name, action in known.items()
                    if action.help != argparse.SUPPRESS
                }
                close = closest(flag.lstrip("-"), offered)
                self.error(
                    f"unknown option {flag}"
                    + (f"; did you mean {offered[close]}?" if close is not None else "")
                )

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        what = "/".join(action.option_strings) or str(action.metavar or action.dest).lower()
        advice = known_or_close(value, action.choices)
        raise argparse.ArgumentError(None, f"unknown {what} {value!r}; {advice}")

    def error(self, message: str) -> Never:
        """Print what is wrong, in one sentence, and exit with 2."""
        message = message.removeprefix("argument ")
        if "; did you mean " not in message:
            message += f"; see '{self.prog} --help'"
        self.exit(2, f"minisd: {UserError(message)}\n")
