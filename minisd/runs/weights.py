"""Weights of a run, read without its data set: into a new network, or into one of your own.

Nothing that a run's folder says is ever executed. It has numbers, and names of what this package
can build; branches and blocks of your own are handed over again, as functions and classes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minisd.backend import Array
from minisd.branches import BRANCHES
from minisd.data import Normaliser
from minisd.errors import CheckpointError, ConfigError
from minisd.layer import Layer
from minisd.models import ResNet, resnet
from minisd.preactivation import PreActBlock, preact_branch
from minisd.readers import Declared
from minisd.runs import checkpoint
from minisd.runs import folder as runfolder

PARTS = {"best": "best", "last": "model"}
"""Where a checkpoint has the weights of the best validation, and the last ones."""
SHIPPED: dict[str, dict[str | None, Any]] = {
    "branch": {
        None: None,
        **{name: name for name in BRANCHES},
        "minisd.preactivation.preact_branch": preact_branch,
    },
    "block": {None: None, "minisd.preactivation.PreActBlock": PreActBlock},
}
"""Branches and blocks of this package, by the names that `minisd.models.ResNet.made_with` has."""
_HEAD = "head."


def load_model(
    run: str | Path,
    which: str = "best",
    *,
    branch: str | Callable[..., Any] | None = None,
    block: Callable[..., Any] | None = None,
    device: str = "cpu",
) -> ResNet:
    """Return the network of a run with its trained weights, ready to be tested.

    It is in evaluation mode: every block is present, weighted by its survival probability. Call
    ``train()`` to train it further. The data set is not needed. ``model.normaliser`` makes of
    images what the network was trained on::

        model = minisd.load_model("runs/digits-1")
        classes = model.forward(model.normaliser(images)).argmax(axis=1)

    Parameters
    ----------
    run : path
        The folder of a run of ``minisd train`` or `minisd.fit`.
    which : "best" or "last"
        The weights of the epoch of lowest validation error, or the last ones.
    branch, block : function, class
        As in `minisd.resnet`, if the run had one of your own: code is not saved with a run.
    device : "cpu" or "cuda"

    Raises
    ------
    RunFolderError, CheckpointError
        If there is no run, it is damaged, or it has no such weights yet.
    ConfigError
        If the run had a branch or block of your own, which is not handed over; or if its network
        was not made by `minisd.resnet`: make it, and use `load_weights`.
    """
    run = Path(run)
    content = runfolder.read_json(run / runfolder.CONFIG)
    with runfolder.SETTINGS.checking(run / runfolder.CONFIG):
        settings = _network_settings(run, content, branch, block)
    weights, _, normaliser = read_weights(run / runfolder.CHECKPOINT, which)
    with runfolder.SETTINGS.checking(run / runfolder.CONFIG):
        _check_size(settings, checkpoint.declare(weights))
        model = resnet(**settings, rng=np.random.default_rng(0))
    checkpoint.restore(checkpoint.layer_arrays(model), weights, run / runfolder.CHECKPOINT)
    model.normaliser = normaliser
    return model.to(device).eval()


def load_weights(model: Layer, run: str | Path, which: str = "best") -> None:
    """Copy the trained weights and running statistics of a run into a network of the same shape.

    ``model.normaliser`` is then the one that the run's images went through; None if the run is of a
    version of minisd that did not save it (then it is ``Normaliser.fit`` of its training images).

    Parameters
    ----------
    model : Layer
    run : path
        The folder of the run.
    which : "best" or "last"

    Raises
    ------
    CheckpointError
        If names, shapes or dtypes of the weights are not those of the network. It is unchanged.
    """
    path = Path(run) / runfolder.CHECKPOINT
    targets = checkpoint.layer_arrays(model)
    arrays, _, normaliser = read_weights(path, which)
    checkpoint.restore(targets, arrays, path)
    model.normaliser = normaliser  # type: ignore[attr-defined]


def read_weights(
    path: Path, which: str = "best"
) -> tuple[dict[str, Array], dict[str, Any], Normaliser | None]:
    """Return the weights in a checkpoint, its meta, and the normaliser of its images."""
    if which not in PARTS:
        raise ConfigError(f"which is 'best' or 'last', not {which!r}")
    arrays, meta = checkpoint.load(path)
    weights = checkpoint.without_prefix(PARTS[which], arrays)
    if not weights:
        raise CheckpointError(f"{path} has no {which} weights yet: no epoch is complete")
    checkpoint.check_finite(weights, path)
    normaliser = None
    if "normaliser/mean" in arrays:
        with checkpoint.CHECKPOINT.checking(path):
            normaliser = Normaliser(arrays["normaliser/mean"], float(meta["normaliser_std"]))
    return weights, meta, normaliser


def _network_settings(run: Path, content: dict[str, Any], branch: Any, block: Any) -> Any:
    """Return the arguments of `resnet` that a run's ``config.json`` stands for."""
    resolved = content["resolved"]
    if "network" in resolved and resolved["network"] is None:
        raise ConfigError(
            f"{run} has a network that minisd.resnet did not make: make it yourself, and call "
            f"minisd.load_weights(model, {str(run)!r})"
        )
    network = resolved.get("network") or {
        **{name: content[name] for name in ("depth", "width", "shortcut", "branch", "gamma")},
        "scale": content["scale"],
        "num_classes": resolved["num_classes"],
        "in_channels": resolved["image_shape"][0],
    }
    settings = {**network, "survival": resolved["survival_probs"]}
    for what, given in (("branch", branch), ("block", block)):
        recorded = settings.pop(what, None)
        if given is None and recorded not in SHIPPED[what]:
            raise ConfigError(
                f"{run} has a {what} of its own, {recorded}, and a run never brings code: hand it "
                f"over, minisd.load_model({str(run)!r}, {what}=...)"
            )
        chosen = SHIPPED[what][recorded] if given is None else given
        settings |= {} if chosen is None else {what: chosen}
    return settings


def _check_size(settings: dict[str, Any], weights: Declared) -> None:
    """Raise a ValueError, before memory is taken for a network, if it is not that of the weights.

    The number of blocks is that of the survival probabilities, which `resnet` checks.
    """
    if not isinstance(settings["survival"], list):
        raise ValueError("survival_probs is not a list")
    sizes = weights["stem.0.w"][0][:2] + weights["head.b"][0]
    wanted = tuple(settings[name] for name in ("width", "in_channels", "num_classes"))
    if sizes != wanted:
        raise ValueError(f"width, channels and classes are {wanted}, but the weights' are {sizes}")


def start_from(model: Layer, run: Path, scale: str | None = None) -> dict[str, Any]:
    """Give ``model`` the best weights of another run; return what ``config.json`` says of it.

    A classifier for another number of classes keeps the weights that were drawn for it.

    Raises
    ------
    CheckpointError
        If anything else has another shape. The message lists what.
    """
    path = run / runfolder.CHECKPOINT
    runfolder.read_json(run / runfolder.CONFIG)  # says what is wrong if it is no run
    arrays, meta, _ = read_weights(path)
    targets = checkpoint.layer_arrays(model)
    different = _differences(checkpoint.declare(arrays), checkpoint.declare(targets))
    others = [text for name, text in different.items() if not name.startswith(_HEAD)]
    if others:
        more = f", and {len(others) - 3} more" if len(others) > 3 else ""
        raise CheckpointError(
            f"{run} is of another network and cannot be started from ({'; '.join(others[:3])}"
            f"{more}): choose the same depth, width, branch, shortcut and kind of images"
        )
    remarks = []
    if different:
        targets = {name: array for name, array in targets.items() if not name.startswith(_HEAD)}
        remarks.append(
            "its classifier does not fit, and is drawn anew: " + "; ".join(different.values())
        )
    with checkpoint.CHECKPOINT.checking(path):
        epoch, there = meta["position"]["best"]["epoch"], meta["config"].get("scale")
    if scale is not None and there != scale:
        remarks.append(
            f"its branches were weighted otherwise: scale is {there} there, {scale} here"
        )
    checkpoint.restore(targets, {name: arrays[name] for name in targets}, path)
    return {
        "run": str(run),
        "epoch": epoch,
        "digest": checkpoint.fingerprint(arrays),
        "remarks": remarks,
    }


def _differences(there: Declared, here: Declared) -> dict[str, str]:
    """Return a phrase for each array that is not the same in both, by name."""
    found = {}
    for name in sorted(there.keys() | here.keys()):
        a, b = there.get(name), here.get(name)
        if a != b:
            shapes = [f"is {x[0]} {x[1]}" if x else "is missing" for x in (a, b)]
            found[name] = f"{name} {shapes[0]} there, {shapes[1].removeprefix('is ')} here"
    return found
