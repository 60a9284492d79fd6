"""A snapshot of a training, its whole state: take it, save it, restore it, give it to all ranks.

The state is what decides every later bit: weights, running statistics, what the optimiser
remembers, both random generators and the position. `minisd.runs.checkpoint` knows how arrays and
numbers become a file, `minisd.runs.saved_state` what such a file must have.
"""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from minisd.backend import Array
from minisd.errors import CheckpointError, ConfigError, DataError
from minisd.runs import checkpoint
from minisd.runs.position import Position
from minisd.runs.saved_state import PARTS, Expected, Parts, read_state
from minisd.runs.training import Training


def take(run: Training) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the whole state: arrays and numbers. It knows nothing of ranks."""
    arrays, numbers = checkpoint.split_state(run.optimizer.state())
    arrays = {
        **checkpoint.with_prefix("model", checkpoint.layer_arrays(run.model)),
        **checkpoint.with_prefix("optimizer", arrays),
        **checkpoint.with_prefix("best", run.best_arrays),
        "normaliser/mean": run.normaliser.mean,
    }
    meta = {
        "config": run.settings,
        "data_digest": run.digest,
        "normaliser_std": run.normaliser.std,
        "optimizer": numbers,
        "position": dataclasses.asdict(run.position),
        "data_rng": run.epoch_start,
        "gate_rng": run.gate_rng.bit_generator.state,
    }
    return arrays, meta


def save(run: Training, path: Path) -> None:
    """Write the whole state to a checkpoint."""
    checkpoint.save(path, *take(run))


def restore(run: Training, path: Path, *, epochs: Collection[int] = ()) -> None:
    """Load the whole state from a checkpoint.

    Parameters
    ----------
    epochs : collection of int
        Other lengths that the run may have had when it was saved.

    Raises
    ------
    CheckpointError
        If the checkpoint is damaged, or has other settings, other data or another network. The
        state is then unchanged.
    """
    _put(run, *_read(run, path, {*epochs, run.epochs}), path)


def load_weights(run: Training, path: Path, which: str) -> dict[str, Any]:
    """Load weights and running statistics only: ``"best"``, or ``"model"`` for the last ones.

    Returns
    -------
    dict
        The `Position` in the checkpoint: history, best and so on.
    """
    parts, _, position = _read(run, path, None)
    if not parts[which]:
        raise CheckpointError(f"{path} has no {which} weights yet: no epoch is complete")
    checkpoint.restore(checkpoint.layer_arrays(run.model), parts[which], path)
    return dataclasses.asdict(position)


def share(run: Training) -> None:
    """Let all ranks have the state of the first.

    Raises
    ------
    UserError
        If they have other images, or other settings.
    """
    if run.group.size == 1:
        return
    check_same_for_all(run)
    (arrays, meta), origin = run.group.first(lambda: (take(run), run.origin))
    if run.group.rank > 0:
        parts = {part: checkpoint.without_prefix(part, arrays) for part in PARTS}
        _put(run, parts, meta, Position(**meta["position"]), Path("the state of rank 0"))
        run.origin = origin


def check_same_for_all(run: Training) -> None:
    """Raise a ConfigError or a DataError if ranks have other settings, or other images."""
    for digest, settings in run.group.exchange((run.digest, run.settings)):
        different = run.first_difference(settings)
        if different:
            raise ConfigError(f"the ranks have different settings: {different}")
        if digest != run.digest:
            raise DataError(
                "the ranks have different images: give all of them the same data, also on other "
                "machines"
            )


def _put(run: Training, parts: Parts, meta: dict[str, Any], position: Position, path: Path) -> None:
    """Put a state that was read, or given by another rank, into the training."""
    with checkpoint.CHECKPOINT.checking(path):
        data_rng, gate_rng = (_generator(meta[name]) for name in ("data_rng", "gate_rng"))
    with checkpoint.CHECKPOINT.checking(path):
        run.optimizer.restore({**parts["optimizer"], **meta.get("optimizer", {})})
    checkpoint.restore(checkpoint.layer_arrays(run.model), parts["model"], path)
    run.best_arrays = parts["best"]
    run.position = position
    # in place: what was handed to `minisd.fit` is not replaced behind its owner's back
    run.data_rng.bit_generator.state = data_rng.bit_generator.state
    run.gate_rng.bit_generator.state = gate_rng.bit_generator.state
    run.mark_epoch_start()


def _read(
    run: Training, path: Path, epochs: Collection[int] | None
) -> tuple[Parts, dict[str, Any], Position]:
    """Read a checkpoint of this run: its parts, meta and position."""
    arrays, counts = checkpoint.split_state(run.optimizer.state())
    expected = Expected(
        weights=checkpoint.declare(checkpoint.layer_arrays(run.model)),
        optimizer=arrays,
        counts=counts,
        mean=run.normaliser.mean.shape,
        steps_per_epoch=run.steps_per_epoch,
        num_blocks=len(run.survival_probs),
        may_leave_out=run.optimizer.dropped == "freeze",
    )
    return read_state(
        path, expected, lambda meta: _check_same_run(run, meta, path, epochs), run.rate_help
    )


def _check_same_run(
    run: Training, meta: dict[str, Any], path: Path, epochs: Collection[int] | None
) -> None:
    saved, digest = dict(meta["config"]), meta["data_digest"]
    different = run.first_difference(saved)
    if different == "epochs" and (epochs is None or saved["epochs"] in epochs):
        different = run.first_difference({**saved, "epochs": run.settings["epochs"]})
    if different:
        raise CheckpointError(
            f"{path} is of another run: {different} is {saved.get(different)!r} there, "
            f"{run.settings[different]!r} here"
        )
    if digest != run.digest:
        raise CheckpointError(f"{path} was trained on other images than these: {run.data_help}")


def _generator(state: dict[str, Any]) -> np.random.Generator:
    """Return a random generator in a saved state."""
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    return rng
