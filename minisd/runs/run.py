"""A run made from settings: what `minisd train` trains."""

import dataclasses
from typing import Any

import numpy as np

from minisd import data
from minisd.data import Split
from minisd.data.batches import Augmentation
from minisd.distributed import ALONE, Group, ShardedGroup
from minisd.gpu import resolve_device
from minisd.machine import available_cores
from minisd.models import ResNet, resnet
from minisd.optim import SGD, Adam, AdamW, Optimizer
from minisd.runs.config import Config
from minisd.runs.material import Material
from minisd.runs.training import Training, versions

__all__ = ["MACHINE_SETTINGS", "Run", "versions"]

MACHINE_SETTINGS = ("device", "threads", "recompute_every", "data_dir")
"""Settings that may change when a run is resumed: where and how it runs, not what is trained."""


class Run(Training):
    """Network, optimiser, data, generators and position, made from a config.

    Four random generators are spawned from the seed: for the weights, the validation split, the
    data (shuffling, augmentation) and the gates. So another p_L changes neither the initial weights
    nor the order of the images.

    Of several ranks, each makes its own Run from the same settings, on the same data.
    """

    model: ResNet
    test: Split
    memory_help = (
        "resume with --recompute-every 25, which saves less between forward and backward, or start "
        "a new run with a smaller --batch-size"
    )
    rate_help = "with a smaller --lr, or with --warmup-epochs"

    def __init__(
        self, config: Config, *, origin: dict[str, Any] | None = None, group: Group = ALONE
    ) -> None:
        device, self.why_device = resolve_device(config.device)
        self.config = config = dataclasses.replace(
            config,
            device=device,
            threads=config.threads or available_cores(),
        )
        init_rng, split_rng, data_rng, gate_rng = spawned(config.seed)
        options: dict[str, Any] = {"labels": "coarse"} if config.coarse else {}
        if data.is_path(config.data):
            options["seed"] = config.seed
        dataset = data.load(config.data, config.data_dir, **options)
        if config.limit is not None:
            dataset = dataset.limited(config.limit)
        self.data_remark = dataset.remark
        self.class_names = dataset.class_names
        self._num_classes = dataset.num_classes
        train, validation = data.split_validation(dataset, split_rng)
        if config.shards is not None:
            group = ShardedGroup(group, config.shards)
        config.check_images(*dataset.image_shape[1:], num_training=len(train))
        material = Material(
            train,
            validation,
            dataset.test,
            data.Normaliser.fit(train.images),
            Augmentation(config.max_shift, config.flip),
            dataset.digest(),
        )
        model = resnet(
            config.depth,
            num_classes=dataset.num_classes,
            in_channels=dataset.image_shape[0],
            width=config.width,
            survival=config.survival_probs,
            shortcut=config.shortcut,
            branch=config.branch,
            gamma=config.gamma,
            scale=config.scale,
            recompute_every=config.recompute_every,
            rng=init_rng,
        ).to(device)
        super().__init__(
            model,
            _optimizer(config, model),
            material,
            schedule=config.rates,
            epochs=config.epochs,
            batch_size=config.batch_size,
            validate_every=config.validate_every,
            data_rng=data_rng,
            gate_rng=gate_rng,
            device=device,
            threads=config.threads,  # type: ignore[arg-type]
            flow=config.flow,
            per_image=config.gates == "image",
            settings=dataclasses.asdict(config),
            origin=origin,
            group=group,
        )

    @property
    def data_help(self) -> str:  # type: ignore[override]
        """Where the original images are looked for."""
        own = data.is_path(self.config.data)
        place, option = ("data", "--data") if own else ("data_dir", "--data-dir")
        return (
            f"{getattr(self.config, place)} has others; give the {'place' if own else 'folder'} of "
            f"the original data with {option}"
        )

    @property
    def what(self) -> str:  # type: ignore[override]
        """The network in words."""
        return f"{self.config.depth} layers"

    @property
    def num_classes(self) -> int:  # noqa: D102
        return self._num_classes

    def describe(self) -> dict[str, Any]:
        """Return what the base class does, and the names of the classes, if they are known."""
        description = super().describe()
        if self.class_names:
            description["resolved"]["class_names"] = list(self.class_names)
        return description

    def first_difference(self, saved: dict[str, Any]) -> str:
        """Return the first setting that is another one in ``saved``, a run's, or "".

        Settings that are younger than the file had their default value. Those of the machine do not
        count.
        """
        saved = {**dataclasses.asdict(Config()), **saved}
        same = {name: self.settings[name] for name in MACHINE_SETTINGS}
        if may_have_moved(saved["data"], self.config.data):
            same["data"] = self.config.data  # the digest tells whether they are the same images
        return super().first_difference({**saved, **same})


def may_have_moved(old: Any, new: Any) -> bool:
    """Whether both are paths of images of one's own. These may move, as `MACHINE_SETTINGS` may."""
    return all(isinstance(place, str) and data.is_path(place) for place in (old, new))


def _optimizer(config: Config, model: ResNet) -> Optimizer:
    """Return the optimiser that the settings name."""
    if config.optimizer == "sgd":
        return SGD(
            model,
            config.lr,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
            dropped=config.dropped,
        )
    kind = {"adam": Adam, "adamw": AdamW}[config.optimizer]
    return kind(model, config.lr, weight_decay=config.weight_decay, dropped=config.dropped)


def spawned(seed: int) -> list[np.random.Generator]:
    """Return the four generators of a run: weights, validation split, data, gates."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4)]
