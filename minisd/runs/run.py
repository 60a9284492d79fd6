"""The state of a run: all that follows from its settings, and all that a checkpoint saves."""

import dataclasses
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minisd import data
from minisd.backend import Array, to_device, to_numpy
from minisd.data.batches import Augmentation
from minisd.errors import CheckpointError
from minisd.gpu import describe_gpu, resolve_device
from minisd.machine import available_cores, blas_description
from minisd.models import resnet
from minisd.optim import SGD
from minisd.runs import checkpoint
from minisd.runs.config import Config
from minisd.stochastic_depth import expected_depth
from minisd.version import __version__

MACHINE_SETTINGS = ("device", "threads", "recompute_every", "data_dir")
"""Settings that may change when a run is resumed: where and how it runs, not what is trained."""


@dataclass
class Position:
    """How far a run has come. Its values are numbers, lists and dicts, as JSON can hold them."""

    epoch: int = 1
    """The epoch in progress, from 1. After the last epoch: one more than there are epochs."""
    step: int = 0
    """Steps done in this epoch."""
    evaluated_at: int = 0
    """Steps done in the whole run when it was last validated."""
    loss_sum: float = 0.0
    """Sum of the losses of this epoch's images so far."""
    open_sum: int = 0
    """Sum of the numbers of open blocks, over the steps of this epoch."""
    seconds: float = 0.0
    """Time spent in this epoch."""
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    """Evaluations in this epoch: epoch, step, val_error, test_error."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One row per complete epoch, as in the log."""
    best: dict[str, Any] | None = None
    """The evaluation with the lowest validation error; the earliest if several share it."""

    def end_epoch(self, *, num_images: int, num_steps: int, lr: float) -> dict[str, Any]:
        """Add the epoch to the history and return its row; then start the next epoch."""
        row = {
            "epoch": self.epoch,
            "train_loss": self.loss_sum / num_images,
            "val_error": self.evaluations[-1]["val_error"],
            "test_error": self.evaluations[-1]["test_error"],
            "lr": lr,
            "seconds": round(self.seconds, 3),
            "mean_open": self.open_sum / num_steps,
        }
        if len(self.evaluations) > 1:
            row["evaluations"] = self.evaluations
        self.history.append(row)
        self.epoch, self.step = self.epoch + 1, 0
        self.loss_sum, self.open_sum, self.seconds, self.evaluations = 0.0, 0, 0.0, []
        return row


class Run:
    """Network, optimiser, data, generators and position, made from a config.

    Four random generators are spawned from the seed: for the weights, the validation split, the
    data (shuffling, augmentation) and the gates. So another p_L changes neither the initial weights
    nor the order of the images.
    """

    def __init__(self, config: Config) -> None:
        device, self.why_device = resolve_device(config.device)
        self.config = config = dataclasses.replace(
            config,
            device=device,
            threads=config.threads or available_cores(),
        )
        init_rng, split_rng, self.data_rng, self.gate_rng = (
            np.random.default_rng(child) for child in np.random.SeedSequence(config.seed).spawn(4)
        )
        self.device = config.device
        options = {"labels": "coarse"} if config.coarse else {}
        dataset = data.load(config.data, config.data_dir, **options)
        if config.limit is not None:
            dataset = dataset.limited(config.limit)
        self.num_classes = dataset.num_classes
        self.image_shape = dataset.image_shape
        self.digest = dataset.digest()
        self.train, self.validation = data.split_validation(dataset, split_rng)
        self.test = dataset.test
        config.check_images(*self.image_shape[1:], num_training=len(self.train))
        self.normaliser = data.Normaliser.fit(self.train.images)
        self.augmentation = Augmentation(config.max_shift, config.flip)
        self.model = resnet(
            config.depth,
            num_classes=self.num_classes,
            in_channels=self.image_shape[0],
            width=config.width,
            survival=config.survival_probs,
            shortcut=config.shortcut,
            branch=config.branch,
            gamma=config.gamma,
            scale=config.scale,
            recompute_every=config.recompute_every,
            rng=init_rng,
        ).to(self.device)
        self.optimizer = SGD(
            self.model,
            config.lr,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
            dropped=config.dropped,
        )
        self.schedule = config.schedule
        self.steps_per_epoch = -(-len(self.train) // config.batch_size)
        self.position = Position()
        self.best_arrays: dict[str, Array] = {}
        self.mark_epoch_start()

    def mark_epoch_start(self) -> None:
        """Remember the state of the data generator at the start of this epoch."""
        self._epoch_start = self.data_rng.bit_generator.state

    def rewind_epoch(self) -> None:
        """Set the data generator back to the start of the epoch, to repeat its draws."""
        self.data_rng.bit_generator.state = self._epoch_start

    @property
    def steps_done(self) -> int:
        """Steps since the start of the run."""
        return (self.position.epoch - 1) * self.steps_per_epoch + self.position.step

    @property
    def is_complete(self) -> bool:
        """Whether all epochs are done."""
        return self.position.epoch > self.config.epochs

    def describe(self) -> dict[str, Any]:
        """Return the settings, what follows from them, and versions, for ``config.json``."""
        probs = self.model.survival_probs
        return {
            **dataclasses.asdict(self.config),
            "resolved": {
                "num_blocks": self.model.num_blocks,
                "survival_probs": probs,
                "expected_depth": expected_depth(probs),
                "num_parameters": self.model.num_parameters,
                "num_classes": self.num_classes,
                "image_shape": list(self.image_shape),
                "training_images": len(self.train),
                "validation_images": len(self.validation),
                "test_images": len(self.test),
                "steps_per_epoch": self.steps_per_epoch,
                "data_digest": self.digest,
            },
            "versions": versions() | ({"gpu": describe_gpu()} if self.device == "cuda" else {}),
        }

    def keep_best(self) -> None:
        """Keep a copy of the present weights and running statistics as the best ones."""
        arrays = checkpoint.layer_arrays(self.model)
        self.best_arrays = {name: to_numpy(array).copy() for name, array in arrays.items()}

    def save(self, path: Path) -> None:
        """Write the whole state to a checkpoint."""
        arrays = {
            **checkpoint.with_prefix("model", checkpoint.layer_arrays(self.model)),
            **checkpoint.with_prefix("momentum", dict(self.optimizer.buffers())),
            **checkpoint.with_prefix("best", self.best_arrays),
        }
        meta = {
            "config": dataclasses.asdict(self.config),
            "data_digest": self.digest,
            "position": dataclasses.asdict(self.position),
            "data_rng": self._epoch_start,
            "gate_rng": self.gate_rng.bit_generator.state,
        }
        checkpoint.save(path, arrays, meta)

    def restore(self, path: Path) -> None:
        """Load the whole state from a checkpoint.

        Raises
        ------
        CheckpointError
            If the checkpoint is damaged, or has other settings, other data or another network. The
            state is then unchanged.
        """
        arrays, meta = checkpoint.load(path)
        self._check_same_run(meta, path)
        weights = checkpoint.layer_arrays(self.model)
        parameters = {name: p.data for name, p in self.optimizer.parameters.items()}
        model, best, momentum = (
            checkpoint.without_prefix(prefix, arrays) for prefix in ("model", "best", "momentum")
        )
        try:
            position = Position(**meta["position"])
            data_rng, gate_rng = (_generator(meta[name]) for name in ("data_rng", "gate_rng"))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} lacks part of a run's state ({error})") from error
        with_momentum = {name: w for name, w in parameters.items() if name in momentum}
        checkpoint.check_fits(with_momentum, momentum, path)
        if best or position.best:
            checkpoint.check_fits(weights, best, path)
        checkpoint.restore(weights, model, path)

        self.optimizer.velocity = {
            name: to_device(array, self.device) for name, array in momentum.items()
        }
        self.best_arrays = best
        self.position = position
        self.data_rng, self.gate_rng = data_rng, gate_rng
        self.mark_epoch_start()

    def load_weights(self, path: Path, which: str) -> dict[str, Any]:
        """Load weights and running statistics only: ``"best"``, or ``"model"`` for the last ones.

        Returns
        -------
        dict
            The `Position` in the checkpoint: history, best and so on.
        """
        arrays, meta = checkpoint.load(path)
        self._check_same_run(meta, path)
        weights = checkpoint.without_prefix(which, arrays)
        if not weights:
            raise CheckpointError(f"{path} has no {which} weights yet: no epoch is complete")
        checkpoint.restore(checkpoint.layer_arrays(self.model), weights, path)
        return dict(meta["position"])

    def _check_same_run(self, meta: dict[str, Any], path: Path) -> None:
        try:
            saved, digest = dict(meta["config"]), meta["data_digest"]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is not the checkpoint of a run ({error})") from error
        for name, value in dataclasses.asdict(self.config).items():
            value = list(value) if isinstance(value, tuple) else value
            if name not in MACHINE_SETTINGS and saved.get(name) != value:
                raise CheckpointError(
                    f"{path} is of another run: {name} is {saved.get(name)!r} there, {value!r} here"
                )
        if digest != self.digest:
            raise CheckpointError(
                f"{path} was trained on other images than those in {self.config.data_dir}: give "
                "the folder of the original data with --data-dir"
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
