"""A training: network, optimiser, data, random generators and position.

`minisd.runs.run.Run` makes one from settings, for `minisd train`; `minisd.fit` makes one from
objects. The loop (`minisd.runs.fit`), the saving (`minisd.runs.snapshot`) and the folder
(`minisd.runs.session`) do not know which.
"""

import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from minisd.backend import Array, to_numpy
from minisd.data_parallel import UNLIKE, alike
from minisd.distributed import ALONE, Group, ShardedGroup
from minisd.errors import CheckpointError, ConfigError
from minisd.gates import draw_image_gates, set_image_gates
from minisd.gpu import describe_gpu
from minisd.layer import Layer
from minisd.machine import blas_description
from minisd.ops.check import number
from minisd.optim import Optimizer, Schedule
from minisd.runs import checkpoint
from minisd.runs.material import Material
from minisd.runs.position import Position
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
        self.epoch_start = self.data_rng.bit_generator.state

    def rewind_epoch(self) -> None:
        """Set the data generator back to the start of the epoch, to repeat its draws."""
        self.data_rng.bit_generator.state = self.epoch_start

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


def versions() -> dict[str, str]:
    """Return the versions of everything that computes."""
    return {
        "minisd": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas_description(),
        "platform": platform.platform(),
    }
