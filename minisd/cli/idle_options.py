"""Options without an effect are refused: who gives one expects that something changes."""

from typing import Any

from minisd.errors import ConfigError
from minisd.runs.config import Config, resolve

_NEEDS = {
    "momentum": ("optimizer", ("sgd",)),
    "drops": ("schedule", ("step",)),
    "warmup_lr": ("schedule", ("step",)),
}
"""Setting: another one, and the values of that with which it has an effect."""


def check_effect(given: dict[str, Any], config: Config) -> None:
    """Raise a ConfigError if an option on the command line changes nothing.

    One that repeats the preset's own value is taken: lines that list all settings do so.

    Parameters
    ----------
    given : dict
        The settings on the command line. A file of settings has all of them, so it does not count.
    config : Config
        The settings that they lead to.
    """
    usual = resolve({"preset": config.preset})
    for name, value in given.items():
        if (tuple(value) if isinstance(value, list) else value) == getattr(usual, name):
            continue
        if name in _NEEDS:
            other, values = _NEEDS[name]
            if getattr(config, other) not in values:
                _refuse(name, f"with --{other} {getattr(config, other)}")
        if name == "warmup_lr" and config.warmup_epochs == 0:
            _refuse(name, "without --warmup-epochs")
        if name == "p_last" and config.survival == "constant" and value != 1:  # which is what it is
            _refuse(name, "with --survival constant")


def _refuse(name: str, where: str) -> None:
    raise ConfigError(f"--{name.replace('_', '-')} has no effect {where}: leave it out")
