"""The state of a run: all that follows from its settings, and all that a checkpoint saves."""

import dataclasses
import platform
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
from minisd.readers import Declared
from minisd.runs import checkpoint
from minisd.runs.config import Config
from minisd.runs.position import Position
from minisd.stochastic_depth import expected_depth
from minisd.version import __version__

MACHINE_SETTINGS = ("device", "threads", "recompute_every", "data_dir")
"""Settings that may change when a run is resumed: where and how it runs, not what is trained."""


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
        options: dict[str, Any] = {"labels": "coarse"} if config.coarse else {}
        if data.is_path(config.data):
            options["seed"] = config.seed
        dataset = data.load(config.data, config.data_dir, **options)
        if config.limit is not None:
            dataset = dataset.limited(config.limit)
        self.data_remark = dataset.remark
        self.class_names = dataset.class_names
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
        return self.position.steps_done(self.steps_per_epoch)

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
                **({"class_names": list(self.class_names)} if self.class_names else {}),
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
        """Write the whole state to a checkpoint.

        A parameter that has no momentum yet gets one of zero, from which it goes on in the same
        way. So a momentum that is missing in a file is a fault of the file.
        """
        velocity = self.optimizer.velocity
        momentum = {
            name: velocity.get(name, np.zeros(parameter.data.shape, parameter.data.dtype))
            for name, parameter in self.optimizer.parameters.items()
        }
        arrays = {
            **checkpoint.with_prefix("model", checkpoint.layer_arrays(self.model)),
            **checkpoint.with_prefix("momentum", momentum),
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
        parts, meta, position = self._read(path)
        with checkpoint.CHECKPOINT.checking(path):
            data_rng, gate_rng = (_generator(meta[name]) for name in ("data_rng", "gate_rng"))
        checkpoint.restore(checkpoint.layer_arrays(self.model), parts["model"], path)
        self.optimizer.velocity = {
            name: to_device(array, self.device) for name, array in parts["momentum"].items()
        }
        self.best_arrays = parts["best"]
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
        parts, _, position = self._read(path)
        if not parts[which]:
            raise CheckpointError(f"{path} has no {which} weights yet: no epoch is complete")
        checkpoint.restore(checkpoint.layer_arrays(self.model), parts[which], path)
        return dataclasses.asdict(position)

    def _read(self, path: Path) -> tuple[dict[str, dict[str, Array]], dict[str, Any], Position]:
        """Read a checkpoint of this run: its three parts, meta and position.

        What a run could not have saved is refused.
        """
        weights = checkpoint.declare(checkpoint.layer_arrays(self.model))
        parameters = checkpoint.declare(
            {name: parameter.data for name, parameter in self.optimizer.parameters.items()}
        )
        wanted = {"model": weights, "best": weights, "momentum": parameters}

        def check(meta: dict[str, Any], declared: Declared) -> None:
            self._check_same_run(meta, path)
            known = {
                f"{part}/{name}": wanted[part][name] for part in wanted for name in wanted[part]
            }
            checkpoint.check_known(known, declared, path)

        arrays, meta = checkpoint.load(path, check)
        with checkpoint.CHECKPOINT.checking(path):
            position = Position(**meta["position"])
            position.check(
                epochs=self.config.epochs,
                steps_per_epoch=self.steps_per_epoch,
                num_blocks=self.model.num_blocks,
            )
        parts = {part: checkpoint.without_prefix(part, arrays) for part in wanted}
        started = position.steps_done(self.steps_per_epoch) > 0
        every_momentum = (
            meta["format"] != checkpoint.FIRST_FORMAT or self.optimizer.dropped == "coast"
        )
        for part, is_needed in (
            ("model", True),
            ("best", position.best is not None),
            ("momentum", started and every_momentum),
        ):
            if is_needed:
                checkpoint.check_fits(wanted[part], checkpoint.declare(parts[part]), path)
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise CheckpointError(
                    f"{path}: {name} has numbers that are not finite, so it cannot be used: train "
                    "again, with a lower --lr if the training has diverged"
                )
        return parts, meta, position

    def _check_same_run(self, meta: dict[str, Any], path: Path) -> None:
        saved, digest = dict(meta["config"]), meta["data_digest"]
        for name, value in dataclasses.asdict(self.config).items():
            value = list(value) if isinstance(value, tuple) else value
            if name == "data" and may_have_moved(saved.get(name), value):
                continue  # the digest tells
            if name not in MACHINE_SETTINGS and saved.get(name) != value:
                raise CheckpointError(
                    f"{path} is of another run: {name} is {saved.get(name)!r} there, {value!r} here"
                )
        if digest != self.digest:
            own = data.is_path(self.config.data)
            place, option = ("data", "--data") if own else ("data_dir", "--data-dir")
            raise CheckpointError(
                f"{path} was trained on other images than those in {getattr(self.config, place)}: "
                f"give the {'place' if own else 'folder'} of the original data with {option}"
            )


def may_have_moved(old: Any, new: Any) -> bool:
    """Whether both are paths of images of one's own. These may move, as `MACHINE_SETTINGS` may."""
    return all(isinstance(place, str) and data.is_path(place) for place in (old, new))


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
