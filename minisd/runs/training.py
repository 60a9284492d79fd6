"""The state of a training: network, optimiser, data, generators, position; saving and restoring it.

`minisd.runs.run.Run` makes one from settings, for `minisd train`; `minisd.fit` makes one from
objects. The loop (`minisd.runs.fit`) and the folder (`minisd.runs.session`) do not know which.
"""

import dataclasses
import platform
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from minisd.backend import Array, to_numpy
from minisd.data_parallel import UNLIKE, alike
from minisd.distributed import ALONE, Group, ShardedGroup
from minisd.errors import CheckpointError, ConfigError, DataError
from minisd.gates import draw_image_gates, set_image_gates
from minisd.gpu import describe_gpu
from minisd.layer import Layer
from minisd.machine import blas_description
from minisd.ops.check import number
from minisd.optim import Optimizer, Schedule
from minisd.runs import checkpoint
from minisd.runs.material import Material
from minisd.runs.position import Position
from minisd.runs.saved_state import PARTS, Expected, Parts, read_state
from minisd.stochastic_depth import Sampler, draw_gates, expected_depth, sample_gates
from minisd.version import __version__

Callback = Callable[[str, "Training"], Any]
"""``f(moment, run)``; see `minisd.runs.callbacks`."""


class Training:
    """Network, optimiser, data, generators and position.

    Attributes
    ----------
    schedule : function of the epoch
        The learning rate. It knows how long the run is.
    position : Position
        How far it has come, with the history and the best evaluation.
    best_arrays : dict
        The weights and running statistics of the best evaluation, on the host.
    settings : dict
        Everything that decides the result, as ``config.json`` has it.
    origin : dict
        Where it came from, if that is more than its settings: the run whose weights it started
        from, a rule for the survival probabilities, changes of its length.
    loss : float or 0-d array
        Of the last step; for callbacks.
    folder : path or None
        Where it is saved; None: nowhere.
    group : Group
        The ranks that train together, each with a part of every mini-batch. All have the same
        state at every step, and only the first has to do with files.
    """

    data_help = "hand over the original images"
    memory_help = (
        "build the network with recompute_every=25, which saves less between forward and backward, "
        "or use a smaller batch_size"
    )
    what = "this network"
    rate_help = "with a smaller learning rate, or one that warms up"

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        material: Material,
        *,
        schedule: Schedule,
        epochs: int,
        batch_size: int,
        validate_every: int | None,
        data_rng: np.random.Generator,
        gate_rng: np.random.Generator,
        device: str,
        threads: int,
        flow: int | None = None,
        gates: Sampler | None = None,
        per_image: bool = False,
        callbacks: Iterable[Callback] = (),
        settings: dict[str, Any],
        origin: dict[str, Any] | None = None,
        group: Group = ALONE,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.train, self.validation, self.test = material.train, material.validation, material.test
        self.normaliser, self.augmentation = material.normaliser, material.augmentation
        self.digest = material.digest
        self.schedule, self.epochs = schedule, epochs
        self.batch_size, self.validate_every = batch_size, validate_every
        self.data_rng, self.gate_rng = data_rng, gate_rng
        self.device, self.threads, self.flow = device, threads, flow
        self.gates, self.per_image, self.callbacks = gates, per_image, list(callbacks)
        self.settings, self.origin = settings, dict(origin or {})
        self.group = group
        self.steps_per_epoch = -(-len(self.train) // batch_size)
        _check_parts(group, len(self.train), batch_size)
        self.position = Position()
        self.best_arrays: dict[str, Array] = {}
        self.loss: Any = None
        self.folder: Path | None = None  # where it is saved, once it trains
        self.given_schedule: Schedule = schedule  # perhaps not bound to a length
        self.mark_epoch_start()

    @property
    def history(self) -> list[dict[str, Any]]:
        """One row per complete epoch, as in the log."""
        return self.position.history

    @property
    def best(self) -> dict[str, Any] | None:
        """The evaluation with the lowest validation error: epoch, step and errors."""
        return self.position.best

    @property
    def survival_probs(self) -> list[float]:
        """p_1 to p_L; empty if the network has no residual blocks."""
        return [block.survival_prob for block in getattr(self.model, "blocks", [])]

    @property
    def num_classes(self) -> int | None:
        """How many classes the labels have, if that is known."""
        return None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.train.images.shape[1:]

    def mark_epoch_start(self) -> None:
        """Remember the state of the data generator at the start of this epoch."""
        self._epoch_start = self.data_rng.bit_generator.state

    def rewind_epoch(self) -> None:
        """Set the data generator back to the start of the epoch, to repeat its draws."""
        self.data_rng.bit_generator.state = self._epoch_start

    @property
    def steps_done(self) -> int:
        """Steps since the start of the run."""
        return self.position.steps_done(self.steps_per_epoch)

    def images_in_step(self) -> int:
        """Return the number of images in the next mini-batch, those of all ranks together."""
        return min(self.batch_size, len(self.train) - self.position.step * self.batch_size)

    @property
    def is_shared(self) -> bool:
        """Whether a mini-batch is cut into parts: for several ranks, or shards."""
        return self.group.size > 1 or isinstance(self.group, ShardedGroup)

    def check_alike(self) -> None:
        """Raise a RuntimeError if ranks have come to have different weights or statistics."""
        if self.group.size > 1 and not alike(self.model, self.group):
            raise RuntimeError(UNLIKE)

    @property
    def is_complete(self) -> bool:
        """Whether all epochs are done."""
        return self.position.epoch > self.epochs

    def describe(self) -> dict[str, Any]:
        """Return the settings, what follows from them, and versions, for ``config.json``."""
        probs = self.survival_probs
        resolved = {
            "num_blocks": len(probs),
            "survival_probs": probs,
            "expected_depth": expected_depth(probs),
            "num_parameters": sum(p.data.size for _, p in self.model.parameters()),
            "num_classes": self.num_classes,
            "image_shape": list(self.image_shape),
            "training_images": len(self.train),
            "validation_images": len(self.validation),
            "test_images": 0 if self.test is None else len(self.test),
            "steps_per_epoch": self.steps_per_epoch,
            "data_digest": self.digest,
            "network": getattr(self.model, "made_with", None),
        }
        return {
            **self.settings,
            "resolved": resolved,
            **({"origin": self.origin} if self.origin else {}),
            "versions": versions() | ({"gpu": describe_gpu()} if self.device == "cuda" else {}),
        }

    def draw_gates(self, batch_size: int) -> list[float]:
        """Draw the gates of a mini-batch and set them.

        Returns
        -------
        open : list of L
            For how many of the images each block is open: 0 or 1, or with gates for each image a
            part. Empty without blocks.

        With several ranks, all draw the gates of all images, and each sets those of its own.
        """
        model: Any = self.model
        if not getattr(model, "blocks", []):
            return []
        if self.per_image:
            gates = draw_image_gates(model, self.gate_rng, batch_size)
            set_image_gates(model, gates[:, self.group.part(batch_size)])
            return gates.mean(axis=1).tolist()
        return [*draw_gates(model, self.gate_rng, sample=self.gates or sample_gates)]

    def rate(self) -> float:
        """Return the learning rate of the next step; at the end of an epoch, of its last one."""
        step = min(self.position.step, self.steps_per_epoch - 1)
        time = self.position.epoch + step / self.steps_per_epoch
        return number("the learning rate that the schedule gives", self.schedule(time), "[0, inf)")

    # ---- weights ----

    def keep_best(self) -> None:
        """Keep a copy of the present weights and running statistics as the best ones."""
        arrays = checkpoint.layer_arrays(self.model)
        self.best_arrays = {name: to_numpy(array).copy() for name, array in arrays.items()}

    def use_best(self) -> None:
        """Put the weights and running statistics of the best validation into the network.

        After training it has the last ones. The optimiser is unchanged: to go on training from the
        best weights, make a new one.
        """
        if not self.best_arrays:
            raise CheckpointError("there are no best weights yet: no validation has been done")
        targets = checkpoint.layer_arrays(self.model)
        checkpoint.restore(targets, self.best_arrays, Path("the best weights"))

    # ---- checkpoint ----

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return the whole state: arrays and numbers. It knows nothing of ranks."""
        arrays, numbers = checkpoint.split_state(self.optimizer.state())
        arrays = {
            **checkpoint.with_prefix("model", checkpoint.layer_arrays(self.model)),
            **checkpoint.with_prefix("optimizer", arrays),
            **checkpoint.with_prefix("best", self.best_arrays),
            "normaliser/mean": self.normaliser.mean,
        }
        meta = {
            "config": self.settings,
            "data_digest": self.digest,
            "normaliser_std": self.normaliser.std,
            "optimizer": numbers,
            "position": dataclasses.asdict(self.position),
            "data_rng": self._epoch_start,
            "gate_rng": self.gate_rng.bit_generator.state,
        }
        return arrays, meta

    def save(self, path: Path) -> None:
        """Write the whole state to a checkpoint."""
        checkpoint.save(path, *self.state())

    def share(self) -> None:
        """Let all ranks have the state of the first.

        Raises
        ------
        UserError
            If they have other images, or other settings.
        """
        if self.group.size == 1:
            return
        self.check_same_for_all()
        (arrays, meta), origin = self.group.first(lambda: (self.state(), self.origin))
        if self.group.rank > 0:
            parts = {part: checkpoint.without_prefix(part, arrays) for part in PARTS}
            self._take(parts, meta, Position(**meta["position"]), Path("the state of rank 0"))
            self.origin = origin

    def check_same_for_all(self) -> None:
        """Raise a ConfigError or a DataError if ranks have other settings, or other images."""
        for digest, settings in self.group.exchange((self.digest, self.settings)):
            different = self.first_difference(settings)
            if different:
                raise ConfigError(f"the ranks have different settings: {different}")
            if digest != self.digest:
                raise DataError(
                    "the ranks have different images: give all of them the same data, also on "
                    "other machines"
                )

    def restore(self, path: Path, *, epochs: Collection[int] = ()) -> None:
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
        self._take(*self._read(path, {*epochs, self.epochs}), path)

    def _take(self, parts: Parts, meta: dict[str, Any], position: Position, path: Path) -> None:
        """Take a state that was read, or given by another rank."""
        with checkpoint.CHECKPOINT.checking(path):
            data_rng, gate_rng = (_generator(meta[name]) for name in ("data_rng", "gate_rng"))
        with checkpoint.CHECKPOINT.checking(path):
            self.optimizer.restore({**parts["optimizer"], **meta.get("optimizer", {})})
        checkpoint.restore(checkpoint.layer_arrays(self.model), parts["model"], path)
        self.best_arrays = parts["best"]
        self.position = position
        # in place: what was handed to `minisd.fit` is not replaced behind its owner's back
        self.data_rng.bit_generator.state = data_rng.bit_generator.state
        self.gate_rng.bit_generator.state = gate_rng.bit_generator.state
        self.mark_epoch_start()

    def load_weights(self, path: Path, which: str) -> dict[str, Any]:
        """Load weights and running statistics only: ``"best"``, or ``"model"`` for the last ones.

        Returns
        -------
        dict
            The `Position` in the checkpoint: history, best and so on.
        """
        parts, _, position = self._read(path, None)
        if not parts[which]:
            raise CheckpointError(f"{path} has no {which} weights yet: no epoch is complete")
        checkpoint.restore(checkpoint.layer_arrays(self.model), parts[which], path)
        return dataclasses.asdict(position)

    def _read(
        self, path: Path, epochs: Collection[int] | None
    ) -> tuple[Parts, dict[str, Any], Position]:
        """Read a checkpoint of this run: its parts, meta and position."""
        arrays, counts = checkpoint.split_state(self.optimizer.state())
        expected = Expected(
            weights=checkpoint.declare(checkpoint.layer_arrays(self.model)),
            optimizer=arrays,
            counts=counts,
            mean=self.normaliser.mean.shape,
            steps_per_epoch=self.steps_per_epoch,
            num_blocks=len(self.survival_probs),
            may_leave_out=self.optimizer.dropped == "freeze",
        )
        return read_state(
            path, expected, lambda meta: self._check_same_run(meta, path, epochs), self.rate_help
        )

    def _check_same_run(
        self, meta: dict[str, Any], path: Path, epochs: Collection[int] | None
    ) -> None:
        saved, digest = dict(meta["config"]), meta["data_digest"]
        different = self.first_difference(saved)
        if different == "epochs" and (epochs is None or saved["epochs"] in epochs):
            different = self.first_difference({**saved, "epochs": self.settings["epochs"]})
        if different:
            raise CheckpointError(
                f"{path} is of another run: {different} is {saved.get(different)!r} there, "
                f"{self.settings[different]!r} here"
            )
        if digest != self.digest:
            raise CheckpointError(
                f"{path} was trained on other images than these: {self.data_help}"
            )

    def first_difference(self, saved: dict[str, Any]) -> str:
        """Return the first setting that is another one in ``saved``, a run's, or ""."""
        saved = checkpoint.as_json(saved)
        for name, value in checkpoint.as_json(self.settings).items():
            if saved.get(name) != value:
                return name
        return ""


def _check_parts(group: Group, num_images: int, batch_size: int) -> None:
    """Raise a ConfigError if a mini-batch has fewer images than it has parts."""
    shards = isinstance(group, ShardedGroup)
    num_parts = group.num_shards if isinstance(group, ShardedGroup) else group.size
    smallest = num_images % batch_size or batch_size
    if smallest < num_parts:
        raise ConfigError(
            f"the smallest mini-batch has {smallest} images ({num_images} in batches of "
            f"{batch_size}), too few for {num_parts} {'shards' if shards else 'processes'}: use "
            "another batch size"
        )


def _generator(state: dict[str, Any]) -> np.random.Generator:
    """Return a random generator in a saved state."""
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    return rng


def versions() -> dict[str, str]:
    """Return the versions of everything that computes."""
    return {
        "minisd": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas_description(),
        "platform": platform.platform(),
    }
