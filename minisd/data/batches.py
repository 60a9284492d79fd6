"""Mini-batches: shuffled, normalised, shifted and flipped.

All random numbers come from one generator. Their order and number do not depend on the images, so
an epoch can be repeated from the state that the generator had at its start. They are drawn on the
host, whatever the device.

A batch goes to a GPU in one transfer: images as they are stored, labels, shifts and flips. An image
of CIFAR is 3 KiB as stored, but 12 KiB as normalised floats. So images are normalised, mirrored and
shifted on the GPU.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from minisd.backend import Array, array_module, to_device_together
from minisd.data.dataset import Normaliser, Split


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images (section 4: "standard data augmentation").

    Attributes
    ----------
    max_shift : int
        Shift by -max_shift to max_shift pixels down and across, and fill with zeros. The images
        are normalised before, so zero is the mean image.
    flip : bool
        Mirror half of the images, left to right.
    """

    max_shift: int = 4
    flip: bool = True

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw shifts (count, 2) and flips (count,) for a batch.

        Always draws three uniform numbers per image, so ``max_shift`` does not change later draws.
        """
        u = rng.random((count, 3))
        shifts = np.floor(u[:, :2] * (2 * self.max_shift + 1)).astype(int) - self.max_shift
        return shifts, u[:, 2] < (0.5 if self.flip else 0.0)

    def apply(self, images: Array, shifts: Array, flips: Array) -> Array:
        """Return a copy of ``images`` (N, C, H, W), mirrored and then shifted (down, right).

        All pixels are picked from the padded images in a single operation.
        """
        xp = array_module(images, shifts, flips)
        P = self.max_shift
        N, C, H, W = images.shape
        height, width = H + 2 * P, W + 2 * P
        padded = xp.zeros((N, C, height, width), images.dtype)
        padded[:, :, P : P + H, P : P + W] = images
        rows = (P - shifts[:, 0])[:, None] + xp.arange(H)
        columns = (P - shifts[:, 1])[:, None] + xp.arange(W)
        columns = xp.where(flips[:, None], width - 1 - columns, columns)
        pixels = rows[:, None, :, None] * width + columns[:, None, None, :]
        channels = xp.arange(N * C).reshape(N, C, 1, 1) * (height * width)
        return padded.reshape(-1)[channels + pixels]


NO_AUGMENTATION = Augmentation(max_shift=0, flip=False)


def training_batches(
    split: Split,
    batch_size: int,
    *,
    normaliser: Normaliser,
    augmentation: Augmentation = NO_AUGMENTATION,
    rng: np.random.Generator,
    skip: int = 0,
    device: str = "cpu",
    part: Callable[[int], slice] = slice,
) -> Iterator[tuple[Array, Array]]:
    """Yield the batches of one epoch in random order. The last batch may be smaller.

    A batch is (images, labels); the images are float32.

    Parameters
    ----------
    skip : int
        Number of batches to skip, to resume an interrupted epoch. Their random numbers are drawn
        all the same, so the other batches do not change.
    device : "cpu" or "cuda"
        Where the batches go.
    part : function of the number of images
        Which images of each batch to yield, such as `minisd.distributed.Group.part`. The random
        numbers of all are drawn all the same. Default: all.
    """
    _check_batch_size(batch_size)
    normaliser = normaliser.to(device)
    order = rng.permutation(len(split))
    for step, start in enumerate(range(0, len(split), batch_size)):
        index = order[start : start + batch_size]
        draws = augmentation.draw(len(index), rng)
        if step >= skip:
            mine = part(len(index))
            index = index[mine]
            stored, labels, *changes = to_device_together(
                [_small(split.images[index]), split.labels[index], *(draw[mine] for draw in draws)],
                device,
            )
            yield augmentation.apply(normaliser(stored), *changes), labels


def evaluation_batches(
    split: Split,
    batch_size: int,
    *,
    normaliser: Normaliser,
    device: str = "cpu",
    rank: int = 0,
    size: int = 1,
) -> Iterator[tuple[Array, Array]]:
    """Yield the batches of all images once, in order, normalised and otherwise unchanged.

    Of several ranks, each has every ``size``-th batch.
    """
    _check_batch_size(batch_size)
    normaliser = normaliser.to(device)
    for start in range(rank * batch_size, len(split), batch_size * size):
        part = split[start : start + batch_size]
        stored, labels = to_device_together([_small(part.images), part.labels], device)
        yield normaliser(stored), labels


def _check_batch_size(size: int) -> None:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, got {size!r}")


def _small(images: Array) -> Array:
    """Return the images as they are transferred: bytes unchanged, floats as float32."""
    return images if images.dtype == np.uint8 else images.astype(np.float32, copy=False)
