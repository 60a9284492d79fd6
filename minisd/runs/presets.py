"""Presets: settings of the paper's experiments, and others for a laptop."""

from typing import Any

from minisd.data import LOADERS

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
        "20 layers, p_L = 0.9, CIFAR-10 (any of its five batches will do)",
        {"data": "cifar10", **_LAPTOP},
    ),
    "cifar100-laptop": ("20 layers, p_L = 0.9, CIFAR-100", {"data": "cifar100", **_LAPTOP}),
    "svhn-laptop": (
        "20 layers, p_L = 0.9, SVHN",
        {"data": "svhn", **_PLAIN, **_LAPTOP, "epochs": 10},
    ),
    "own": (
        "20 layers, p_L = 0.9, images of your own: --data PATH takes it",
        {**_LAPTOP, "max_shift": 2, "flip": False, "batch_size": 64, "lr": 0.05},
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
"""Name: (description, the settings that differ from `Config`'s defaults)."""

DEFAULT_PRESET = {"digits": "digits"} | {name: f"{name}-laptop" for name in list(LOADERS)[1:]}
