"""The settings of a run, and presets for the paper's rows and for a laptop.

A setting is a field of `Config` and nowhere else: the command's options, their help and
``config.json`` are made from here.
"""

import dataclasses
import difflib
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from minisd.data import LOADERS
from minisd.errors import ConfigError
from minisd.layers import GAMMAS
from minisd.models import BRANCHES, check_image_size, num_blocks
from minisd.optim import DROPPED, StepSchedule
from minisd.residual import SCALES, SHORTCUTS
from minisd.stochastic_depth import linear_decay, uniform

DATA_SETS = tuple(LOADERS)
SURVIVAL_RULES = ("linear", "uniform", "constant")
DEVICES = ("cpu", "cuda", "auto")


def _setting(default: Any, text: str, *, choices: tuple[str, ...] | None = None) -> Any:
    """Declare a field with the help that the command shows."""
    return field(default=default, metadata={"help": text, "choices": choices})


@dataclass(frozen=True)
class Config:
    """Everything that decides a run. Made by `resolve`, which checks it."""

    preset: str = _setting("digits", "start from these settings; the other options override them")
    data: str = _setting("digits", "data set", choices=DATA_SETS)
    data_dir: str = _setting("data", "folder with the data set's official files")
    coarse: bool = _setting(False, "CIFAR-100: the 20 coarse labels instead of the 100 fine ones")
    limit: int | None = _setting(None, "use the first N training images only, for a quick look")
    max_shift: int = _setting(4, "augmentation: shift images by up to this many pixels; 0 for none")
    flip: bool = _setting(True, "augmentation: mirror half of the images")

    depth: int = _setting(
        20, "layers, 6n + 2: 20, 32, 44, 56, 110, 1202, ... (9n + 2 with bottleneck branches)"
    )
    width: int = _setting(16, "channels of the first group of blocks (then 2 and 4 times that)")
    branch: str = _setting("basic", "two 3x3 convolutions, or 1x1-3x3-1x1", choices=tuple(BRANCHES))
    shortcut: str = _setting(
        "A",
        "where the shape changes: average pooling and zero channels, "
        "subsampling and zero channels, or a learned projection; none: a plain network",
        choices=SHORTCUTS,
    )
    gamma: str = _setting(
        "one", "where batch norm's scale starts: 1, or U(0, 1) as Torch did", choices=GAMMAS
    )

    survival: str = _setting(
        "linear",
        "survival probabilities: linear decay to p_L, uniform, or constant depth (all 1)",
        choices=SURVIVAL_RULES,
    )
    p_last: float = _setting(0.5, "survival probability p_L of the last block (of all: uniform)")
    scale: str = _setting(
        "test",
        "weight a branch by p at test time (the paper) or by 1/p in training",
        choices=SCALES,
    )
    dropped: str = _setting(
        "coast",
        "a closed block's weights: momentum and decay go on (the "
        "released code), or stay frozen (the paper's words)",
        choices=DROPPED,
    )

    epochs: int = _setting(30, "passes through the training images")
    batch_size: int = _setting(128, "images per mini-batch")
    lr: float = _setting(0.1, "learning rate")
    drops: tuple[float, ...] = _setting(
        (0.5, 0.75),
        "divide the rate by 10 after these epochs, or fractions of the run when below 1",
    )
    warmup_epochs: int = _setting(0, "epochs at the beginning with --warmup-lr")
    warmup_lr: float = _setting(0.01, "learning rate of the warm-up")
    momentum: float = _setting(0.9, "Nesterov momentum")
    weight_decay: float = _setting(1e-4, "weight decay, on every parameter")
    validate_every: int | None = _setting(
        None, "validate (and test) every N steps as well as at the end of each epoch"
    )

    flow: int | None = _setting(
        None, "record the gradient flow (flow.jsonl): averages over every N steps"
    )

    seed: int = _setting(1, "decides weights, split, order of the data, and gates")
    device: str = _setting("cpu", "where to compute", choices=DEVICES)
    threads: int | None = _setting(
        None, "threads to compute with (default: all cores this process may use)"
    )
    checkpoint_every: int | None = _setting(
        None, "save memory: compute this many blocks at a time again in the backward"
    )

    @property
    def num_blocks(self) -> int:
        """L."""
        return num_blocks(self.depth, self.branch)

    @property
    def survival_probs(self) -> list[float] | None:
        """p_1 to p_L by the chosen rule; None for constant depth."""
        if self.survival == "constant":
            return None
        rule = linear_decay if self.survival == "linear" else uniform
        return rule(self.num_blocks, self.p_last)

    @property
    def schedule(self) -> StepSchedule:
        """Learning rate by epoch."""
        return StepSchedule(
            self.lr,
            self.epochs,
            self.drops,
            warmup_epochs=self.warmup_epochs,
            warmup_lr=self.warmup_lr,
        )

    def check_images(self, height: int, width: int, num_training: int) -> None:
        """Raise a ConfigError if the network cannot train on such images, this many of them."""
        if self.max_shift >= min(height, width):
            raise ConfigError(
                f"max_shift {self.max_shift} would move a {height}x{width} image out of sight"
            )
        smallest = num_training % self.batch_size or self.batch_size
        try:
            check_image_size(height, width, shortcut=self.shortcut, smallest_batch=smallest)
        except ValueError as error:
            raise ConfigError(str(error)) from None


_CIFAR = {"data": "cifar10", "depth": 110, "epochs": 500}
_PLAIN = {"max_shift": 0, "flip": False}
_SVHN = {"data": "svhn", "depth": 152, "epochs": 50, "drops": (30, 35), "validate_every": 200}
_1202 = {"depth": 1202, "epochs": 300, "drops": (150, 225), "warmup_epochs": 10, "warmup_lr": 0.01}
_CONSTANT = {"survival": "constant"}
_LAPTOP = {"depth": 20, "p_last": 0.9, "epochs": 40}

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "digits": (
        "the default: 20 layers on the bundled digits, under a minute",
        {
            "data": "digits",
            "p_last": 0.9,
            "max_shift": 1,
            "flip": False,
            "epochs": 32,
            "batch_size": 64,
            "lr": 0.05,
        },
    ),
    "cifar10-laptop": (
        "20 layers, p_L = 0.9, on whatever CIFAR-10 batches are there",
        {"data": "cifar10", **_LAPTOP},
    ),
    "cifar100-laptop": ("20 layers, p_L = 0.9, CIFAR-100", {"data": "cifar100", **_LAPTOP}),
    "svhn-laptop": (
        "20 layers, p_L = 0.9, SVHN",
        {"data": "svhn", **_PLAIN, **_LAPTOP, "epochs": 10},
    ),
    "cifar10": ("the paper: CIFAR-10, augmented, 110 layers, stochastic depth", _CIFAR),
    "cifar10-constant": ("the same with constant depth", _CIFAR | _CONSTANT),
    "cifar10-plain": ("the paper: CIFAR-10 without augmentation", _CIFAR | _PLAIN),
    "cifar10-plain-constant": ("the same with constant depth", _CIFAR | _PLAIN | _CONSTANT),
    "cifar100": ("the paper: CIFAR-100, augmented, 110 layers", _CIFAR | {"data": "cifar100"}),
    "cifar100-constant": (
        "the same with constant depth",
        {**_CIFAR, "data": "cifar100", **_CONSTANT},
    ),
    "cifar100-plain": (
        "the paper: CIFAR-100 without augmentation",
        {**_CIFAR, "data": "cifar100", **_PLAIN},
    ),
    "cifar100-plain-constant": (
        "the same with constant depth",
        {**_CIFAR, "data": "cifar100", **_PLAIN, **_CONSTANT},
    ),
    "svhn": ("the paper: SVHN, 152 layers", _SVHN | _PLAIN),
    "svhn-constant": ("the same with constant depth", _SVHN | _PLAIN | _CONSTANT),
    "cifar10-1202": ("the paper: CIFAR-10, augmented, 1202 layers", _CIFAR | _1202),
    "cifar10-1202-constant": ("the same with constant depth", _CIFAR | _1202 | _CONSTANT),
}
"""Name: (what it is, the settings that differ from `Config`'s defaults)."""

DEFAULT_PRESET = {"digits": "digits"} | {name: f"{name}-laptop" for name in DATA_SETS[1:]}


def resolve(overrides: dict[str, Any]) -> Config:
    """Return the settings of a preset with ``overrides`` on top, checked.

    Without a preset, that of the data set: `DEFAULT_PRESET`.

    Raises
    ------
    ConfigError
        On an unknown name, a value of the wrong type or out of range, or a combination that makes
        no network.
    """
    data = overrides.get("data", "digits")
    preset = overrides.get("preset")
    if preset is None:
        preset = DEFAULT_PRESET.get(data, "digits") if isinstance(data, str) else "digits"
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(_unknown("preset", preset, PRESETS))
    names = {setting.name for setting in dataclasses.fields(Config)}
    for name in overrides:
        if name not in names:
            raise ConfigError(_unknown("setting", name, names))
    settings = {**PRESETS[preset][1], **overrides, "preset": preset}
    if isinstance(settings.get("drops"), list):  # as JSON has it
        settings["drops"] = tuple(settings["drops"])
    config = Config(**settings)
    _check(config)
    return config


def _check(config: Config) -> None:
    hints = typing.get_type_hints(Config)
    for setting in dataclasses.fields(Config):
        value = getattr(config, setting.name)
        if not _fits(value, hints[setting.name]):
            raise ConfigError(f"{setting.name} cannot be {value!r}")
        choices = PRESETS if setting.name == "preset" else setting.metadata["choices"]
        if choices and value not in choices:
            raise ConfigError(_unknown(setting.name, value, choices))
    for name, least in (
        ("width", 1),
        ("epochs", 1),
        ("batch_size", 1),
        ("limit", 1),
        ("seed", 0),
        ("threads", 1),
        ("checkpoint_every", 1),
        ("validate_every", 1),
        ("flow", 1),
        ("max_shift", 0),
        ("warmup_epochs", 0),
    ):
        value = getattr(config, name)
        if value is not None and value < least:
            raise ConfigError(f"{name} must be at least {least}, got {value}")
    for name, least, below in (("momentum", 0, 1), ("weight_decay", 0, math.inf)):
        if not least <= getattr(config, name) < below:
            raise ConfigError(f"{name} must lie in [{least}, {below}), got {getattr(config, name)}")
    try:  # depth, probabilities and rates know best what they can be
        probs, _, _ = config.survival_probs, config.num_blocks, config.schedule
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if config.coarse and config.data != "cifar100":
        raise ConfigError("only CIFAR-100 has coarse labels: leave out --coarse")
    if config.shortcut == "none" and probs and min(probs) < 1:
        raise ConfigError(
            "with shortcut 'none' nothing would pass a closed block: use --survival constant"
        )
    if config.scale == "train" and probs and min(probs) == 0:
        raise ConfigError("scale 'train' divides by the survival probability: p_last cannot be 0")


def _fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` is of the type that a field declares; a float field also takes an int."""
    if isinstance(hint, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return isinstance(value, tuple) and all(_fits(part, item) for part in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _unknown(what: str, value: object, known: typing.Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(str(value), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    return f"unknown {what} {value!r}; {hint}"
