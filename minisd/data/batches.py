"""Mini-batches: shuffled, normalised, shifted and flipped.

All draws come from one generator, in the same order and number whatever the images are, so that an
epoch can be repeated from the generator's state at its start.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from minisd.backend import Array
from minisd.data.dataset import Normaliser, Split


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images (section 4: "standard data augmentation").

    Attributes
    ----------
    max_shift : int
        Shift by -max_shift to max_shift pixels down and across, zeros moving in. The images are
        normalised before, so zero is the mean image.
    flip : bool
        Mirror left and right, half of the time.
    """

    max_shift: int = 4
    flip: bool = True

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw shifts (count, 2) and flips (count,) for a batch.

        Always three uniform numbers an image: another ``max_shift`` changes no later draw.
        """
        u = rng.random((count, 3))
        shifts = np.floor(u[:, :2] * (2 * self.max_shift + 1)).astype(int) - self.max_shift
        return shifts, u[:, 2] < (0.5 if self.flip else 0.0)

    def apply(self, images: Array, shifts: Array, flips: Array) -> Array:
        """Return a copy of ``images`` (N, C, H, W), mirrored and then shifted (down, right)."""
        P = self.max_shift
        N, _, H, W = images.shape
        padded = np.pad(images, ((0, 0), (0, 0), (P, P), (P, P)))
        padded[flips] = padded[flips, :, :, ::-1]
        windows = np.lib.stride_tricks.sliding_window_view(padded, (H, W), axis=(2, 3))
        return windows[np.arange(N), :, P - shifts[:, 0], P - shifts[:, 1]]


NO_AUGMENTATION = Augmentation(max_shift=0, flip=False)


def training_batches(
    split: Split,
    batch_size: int,
    *,
    normaliser: Normaliser,
    augmentation: Augmentation = NO_AUGMENTATION,
    rng: np.random.Generator,
    skip: int = 0,
) -> Iterator[tuple[Array, Array]]:
    """Yield one epoch, (images float32, labels), in a random order; the last batch may be smaller.

    Parameters
    ----------
    skip : int
        Batches to leave out at the beginning. Their draws are made all the same, so the rest is
        just what it would have been: this is how an interrupted epoch goes on.
    """
    order = rng.permutation(len(split))
    for step, start in enumerate(range(0, len(split), batch_size)):
        index = order[start : start + batch_size]
        draws = augmentation.draw(len(index), rng)
        if step >= skip:
            images = normaliser(split.images[index])
            yield augmentation.apply(images, *draws), split.labels[index]


def evaluation_batches(
    split: Split, batch_size: int, *, normaliser: Normaliser
) -> Iterator[tuple[Array, Array]]:
    """Yield all images once, in order, unchanged but for the normalisation."""
    for start in range(0, len(split), batch_size):
        part = split[start : start + batch_size]
        yield normaliser(part.images), part.labels
