"""The options made of the fields of `Config`, and their defaults as the help shows them."""

import argparse
import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Any

from minisd.runs.config import OLDER_NAMES, Config, resolve


def add_settings(group: Any, names: Sequence[str]) -> dict[str, argparse.Action]:
    """Add an option for each of these fields of `Config`; return the options by field."""
    actions = {}
    older_names = {name: older for older, name in OLDER_NAMES.items()}
    hints = typing.get_type_hints(Config)
    for setting in dataclasses.fields(Config):
        if setting.name not in names:
            continue
        flag = "--" + setting.name.replace("_", "-")
        text = setting.metadata["help"]
        choices = setting.metadata["choices"]
        hint = hints[setting.name]
        if hint is bool:
            action = group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        elif typing.get_origin(hint) is tuple:
            action = group.add_argument(flag, type=float, nargs="*", metavar="E", help=text)
        else:
            kind = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
            metavar = None if choices else {int: "N", float: "X"}.get(kind, "NAME")
            metavar = {"data_dir": "DIR", "data": "NAME|PATH"}.get(setting.name, metavar)
            action = group.add_argument(
                flag, type=kind, choices=choices, metavar=metavar, help=text
            )
            if setting.name in older_names:
                older = older_names[setting.name]
                flag = "--" + older.replace("_", "-")
                group.add_argument(flag, dest=older, type=kind, help=argparse.SUPPRESS)
        actions[setting.name] = action
    return actions


def show_defaults(
    group: Any, actions: dict[str, argparse.Action], arguments: Sequence[str]
) -> None:
    """Let the help of ``train`` show the defaults that the preset in the arguments has."""
    chosen = argparse.ArgumentParser(
        add_help=False, allow_abbrev=False, exit_on_error=False, argument_default=argparse.SUPPRESS
    )
    chosen.add_argument("--preset")
    chosen.add_argument("--data")
    try:
        names, _ = chosen.parse_known_args(arguments)
    except argparse.ArgumentError:  # which the command's own parser explains
        return
    config = resolve(vars(names))
    group.title = f"settings (default in brackets, as preset {config.preset} has it)"
    for setting in dataclasses.fields(Config):
        value = getattr(config, setting.name)
        bracket = "" if value is None else f" [{shown(value)}]".replace("%", "%%")
        actions[setting.name].help = setting.metadata["help"] + bracket


def shown(value: Any) -> str:
    """Return the value of a setting as a person types it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
