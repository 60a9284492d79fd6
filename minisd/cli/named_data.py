"""Whether a command names the data that its other options are meant for."""

import os
from pathlib import Path
from typing import Any

from minisd.data import found_in
from minisd.errors import ConfigError


def check_data_is_named(settings: dict[str, Any]) -> None:
    """Refuse to train on the digits, the default, where settings are meant for other data."""
    if settings.get("preset") == "own" and "data" not in settings:
        raise ConfigError("preset 'own' is for images of your own: add --data PATH")
    if "data_dir" in settings and not {"data", "preset"} & settings.keys():
        data_sets = found_in(Path(os.path.expanduser(settings["data_dir"])))
        if data_sets:
            raise ConfigError(
                f"{settings['data_dir']} has {' and '.join(data_sets)} in it: add --data "
                f"{data_sets[0]} to train on it, or leave out --data-dir to train on the digits"
            )


def check_study_data(changes: dict[str, Any], size: str) -> None:
    """`check_data_is_named`, for an experiment: the paper's size is one of CIFAR-10."""
    check_data_is_named(changes | ({"data": "cifar10"} if size == "paper" else {}))
