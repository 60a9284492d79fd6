"""The settings of a run.

Each setting is defined once, as a field of `Config`. The options of the command, their help and
``config.json`` are made from these fields.
"""

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from minisd.data import LOADERS, is_path, own
from minisd.errors import ConfigError, known_or_close
from minisd.layers import GAMMAS
from minisd.models import BRANCHES, check_image_size, depth_of, num_blocks
from minisd.ops.check import whole_number
from minisd.optim import DROPPED, Schedule, StepSchedule, cosine, one_cycle
from minisd.residual import SCALES, SHORTCUTS
from minisd.rules import RULES, survival_probabilities
from minisd.runs.presets import DEFAULT_PRESET, PRESETS

DATA_SETS = tuple(LOADERS)
NAMED_RULES = tuple(RULES)
"""The survival rules that come with this package. A run that uses another one saves what it gives,
because a program that reads the run does not have the rule."""
GATES = ("batch", "image")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("step", "cosine", "one-cycle")
DEVICES = ("cpu", "cuda", "auto")
OLDER_NAMES = {"checkpoint_every": "recompute_every"}
"""Older names of settings, still used by older run folders and commands."""


def _setting(default: Any, text: str, *, choices: tuple[str, ...] | None = None) -> Any:
    """Define a field, with the help text of its option."""
    return field(default=default, metadata={"help": text, "choices": choices})


@dataclass(frozen=True)
class Config:
    """All settings of a run. Made by `resolve`, which checks them."""

    preset: str = _setting("digits", "start from these settings; the other options override them")
    data: str = _setting(
        "digits",
        f"data set: {', '.join(DATA_SETS)}; or images of your own: an .npz file, or a folder",
    )
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
        "what replaces the identity where the shape changes: average pooling and zero channels, "
        "subsampling and zero channels, or a learned projection; none: a plain network",
        choices=SHORTCUTS,
    )
    gamma: str = _setting(
        "one", "initial scale of batch norm: 1, or drawn from U(0, 1) as Torch did", choices=GAMMAS
    )

    survival: str | tuple[float, ...] = _setting(
        "linear",
        f"survival probabilities: a rule ({', '.join(NAMED_RULES)}); all of them, as in "
        "0.9,0.8,0.7, whose number decides the depth; or a function of yours of the number of "
        "blocks, and perhaps of p_L, as in my_rules.py:rule",
    )
    p_last: float = _setting(
        0.5, "survival probability p_L of the last block (uniform: of every block)"
    )
    scale: str = _setting(
        "test",
        "weight a branch by p at test time (the paper) or by 1/p in training",
        choices=SCALES,
    )
    gates: str = _setting(
        "batch",
        "draw a gate for each block and mini-batch (the paper), or for each of its images, as "
        "torchvision and timm do, which saves no time",
        choices=GATES,
    )
    dropped: str = _setting(
        "coast",
        "weights of a closed block: momentum and weight decay go on (coast, the released code), "
        "or nothing changes them (freeze, the paper's words)",
        choices=DROPPED,
    )

    epochs: int = _setting(30, "passes through the training images")
    batch_size: int = _setting(128, "images per mini-batch")
    optimizer: str = _setting("sgd", "how gradients move the weights", choices=OPTIMIZERS)
    lr: float = _setting(0.1, "learning rate, the highest of the schedule")
    schedule: str = _setting(
        "step",
        "learning rate over time: by --drops; half a cosine down to 0; or one cycle, up and down",
        choices=SCHEDULES,
    )
    drops: tuple[float, ...] = _setting(
        (0.5, 0.75),
        "divide the learning rate by 10 after these epochs; below 1: fractions of the run",
    )
    warmup_epochs: int = _setting(0, "number of first epochs, which use --warmup-lr")
    warmup_lr: float = _setting(0.01, "learning rate of the warm-up epochs (cosine: it rises)")
    momentum: float = _setting(0.9, "Nesterov momentum of SGD")
    weight_decay: float = _setting(1e-4, "weight decay, on every parameter")
    validate_every: int | None = _setting(
        None, "validate and test every N steps, in addition to the end of each epoch"
    )

    flow: int | None = _setting(
        None, "record the gradient flow in flow.jsonl, averaged over every N steps"
    )

    init: str | None = _setting(None, "start from the best weights of the run in this folder")
    seed: int = _setting(
        1,
        "seed of the initial weights, the validation split, the order of the images, and the gates",
    )
    device: str = _setting("cpu", "where to compute", choices=DEVICES)
    threads: int | None = _setting(
        None, "number of threads (default: all cores that this process may use)"
    )
    recompute_every: int | None = _setting(
        None, "save memory: recompute this many blocks at a time in the backward"
    )
    shards: int | None = _setting(
        None,
        "cut every batch into N parts, a power of two: slower, but the same bits with any number "
        "of processes that divides N",
    )

    @property
    def data_name(self) -> str:
        """Name of the data set, or of the file or folder with images of one's own."""
        return own.short_name(self.data)

    @property
    def num_blocks(self) -> int:
        """L, the number of residual blocks."""
        return num_blocks(self.depth, self.branch)

    @property
    def survival_probs(self) -> list[float]:
        """p_1 to p_L: the chosen ones, or those of the chosen rule."""
        return survival_probabilities(self.survival, self.num_blocks, self.p_last)

    @property
    def rates(self) -> Schedule:
        """The learning rate as a function of the epoch."""
        if self.schedule == "cosine":
            return cosine(self.lr, warmup_epochs=self.warmup_epochs, epochs=self.epochs)
        if self.schedule == "one-cycle":
            return one_cycle(self.lr, epochs=self.epochs)
        return StepSchedule(
            self.lr,
            self.epochs,
            self.drops,
            warmup_epochs=self.warmup_epochs,
            warmup_lr=self.warmup_lr,
        )

    def check_images(self, height: int, width: int, num_training: int) -> None:
        """Raise a ConfigError if the network cannot train on this many images of this size."""
        if self.max_shift >= min(height, width):
            raise ConfigError(
                f"max_shift {self.max_shift} can shift a {height}x{width} image out of view"
            )
        smallest = num_training % self.batch_size or self.batch_size
        try:
            check_image_size(height, width, shortcut=self.shortcut, smallest_batch=smallest)
        except ValueError as error:
            raise ConfigError(str(error)) from None


def with_present_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with each of `OLDER_NAMES` replaced by the name it has now.

    Raises
    ------
    ConfigError
        If a setting has one value under its older name and another under its present name.
    """
    renamed = {name: value for name, value in settings.items() if name not in OLDER_NAMES}
    for older, name in OLDER_NAMES.items():
        if settings.get(older) is None:
            if older in settings:
                renamed.setdefault(name, None)
        elif renamed.get(name) in (None, settings[older]):
            renamed[name] = settings[older]
        else:
            raise ConfigError(
                f"{older} is an older name of {name}, but they are {settings[older]!r} and "
                f"{renamed[name]!r}: give {name} only"
            )
    return renamed


def resolve(overrides: dict[str, Any]) -> Config:
    """Return the settings of a preset, with some replaced by ``overrides``, and check them.

    Without a preset, the data set decides which: `DEFAULT_PRESET`, or "own". A path of images of
    one's own becomes absolute, so that a run finds them from any folder.

    Raises
    ------
    ConfigError
        If a name is unknown, if a value has the wrong type or is out of range, or if the settings
        do not fit together.
    """
    overrides = with_present_names(overrides)
    data = overrides.get("data", "digits")
    is_own = isinstance(data, str) and is_path(data)
    if is_own:
        overrides["data"] = own.absolute(data)
    preset = overrides.get("preset")
    if preset is None:
        known = DEFAULT_PRESET.get(data, "digits") if isinstance(data, str) else "digits"
        preset = "own" if is_own else known
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(_unknown("preset", preset, PRESETS))
    names = {setting.name for setting in dataclasses.fields(Config)}
    for name in overrides:
        if name not in names:
            raise ConfigError(_unknown("setting", name, names))
    settings = {**PRESETS[preset][1], **overrides, "preset": preset}
    for name in ("drops", "survival"):
        if isinstance(settings.get(name), list):  # as JSON has it
            settings[name] = tuple(settings[name])
    survival = settings.get("survival", "constant")
    if isinstance(survival, tuple) and "depth" not in overrides:  # they decide L, as in a study
        try:
            settings["depth"] = depth_of(len(survival), settings.get("branch", Config.branch))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{len(survival)} survival probabilities fit no network: {error}"
            ) from None
    is_added = isinstance(survival, str) and survival in RULES and survival not in NAMED_RULES
    if is_added or not isinstance(survival, str | tuple):
        settings["survival"] = _resolved_rule(settings)
    config = Config(**settings)
    _check(config)
    return config


def _resolved_rule(settings: dict[str, Any]) -> tuple[float, ...]:
    """Return the probabilities that a function, or a rule added to `RULES`, gives."""
    plain = Config(**{**settings, "survival": "constant"})
    try:
        probs = survival_probabilities(settings["survival"], plain.num_blocks, plain.p_last)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
    return tuple(probs)


def _check(config: Config) -> None:
    hints = typing.get_type_hints(Config)
    for setting in dataclasses.fields(Config):
        value = getattr(config, setting.name)
        if not _fits(value, hints[setting.name]):
            raise ConfigError(f"{setting.name} cannot be {value!r}")
        choices = PRESETS if setting.name == "preset" else setting.metadata["choices"]
        if choices and value not in choices:
            raise ConfigError(_unknown(setting.name, value, choices))
    if isinstance(config.survival, str) and config.survival not in NAMED_RULES:
        raise ConfigError(
            f"{_unknown('survival rule', config.survival, NAMED_RULES)} (or give the probabilities "
            "of all blocks, as in 0.9,0.8,0.7)"
        )
    if config.data not in DATA_SETS and not is_path(config.data):
        raise ConfigError(
            f"{_unknown('data set', config.data, DATA_SETS)} "
            "(--data also takes the path of an .npz file, or of a folder with class folders)"
        )
    for name, lowest in (
        ("width", 1),
        ("epochs", 1),
        ("batch_size", 1),
        ("limit", 1),
        ("seed", 0),
        ("threads", 1),
        ("recompute_every", 1),
        ("validate_every", 1),
        ("flow", 1),
        ("max_shift", 0),
        ("warmup_epochs", 0),
    ):
        value = getattr(config, name)
        if value is not None and value < lowest:
            raise ConfigError(f"{name} must be at least {lowest}, got {value}")
    for name, lowest, limit in (("momentum", 0, 1), ("weight_decay", 0, math.inf)):
        value = getattr(config, name)
        if not lowest <= value < limit:
            raise ConfigError(f"{name} must lie in [{lowest}, {limit}), got {value}")
    try:  # depth, probabilities and learning rates are checked where they are used
        probs, _, _ = config.survival_probs, config.num_blocks, config.rates
        whole_number("width", config.width, 1)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
    if config.schedule == "one-cycle" and config.warmup_epochs:
        raise ConfigError("schedule 'one-cycle' has a rise of its own: set warmup_epochs to 0")
    if is_path(config.data) and config.data_dir != Config.data_dir:
        raise ConfigError(
            f"images of your own are read from --data, here {config.data}: leave out --data-dir"
        )
    if config.shards is not None and config.flow is not None:
        raise ConfigError("the gradient flow cannot be recorded in shards: leave out one of them")
    if config.coarse and config.data != "cifar100":
        raise ConfigError("only CIFAR-100 has coarse labels: leave out --coarse")
    if config.shortcut == "none" and min(probs) < 1:
        raise ConfigError(
            "with shortcut 'none' nothing passes a closed block: use --survival constant"
        )
    if config.scale == "train" and min(probs) == 0:
        raise ConfigError("scale 'train' divides by the survival probability: p_last cannot be 0")


def _fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` has the type of a field. A float field also takes an int."""
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
    """Return the message for a name that is not among the known ones."""
    return f"unknown {what} {value!r}; {known_or_close(value, known)}"
