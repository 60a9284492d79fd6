"""Residual networks by depth (He et al. 2015, section 4.2; Huang et al. 2016, section 4)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minisd.backend import Array
from minisd.branches import BRANCHES, Branch, attribute, branch_function, unwrapped  # noqa: F401
from minisd.fused import fuse
from minisd.layer import floats
from minisd.layers import BatchNorm2d, Conv2d, GlobalAvgPool, Layer, Linear, ReLU, Sequential
from minisd.ops.check import cannot_take, whole_number
from minisd.recompute import Saved, backward_again, forward_forgetting
from minisd.residual import ResidualBlock, make_shortcut
from minisd.rules import Rule, survival_probabilities

NUM_GROUPS = 3
DEEPEST = 1_000_000
"""Layers. A number that was typed or read wrongly shall not fill the memory with blocks."""


class ResNet(Layer):
    """A stem, L residual blocks, the mean over the image, and a linear classifier.

    Attributes
    ----------
    stem : Sequential
        conv 3x3 - BN - ReLU.
    blocks : list of ResidualBlock
        f_1 to f_L, all groups in one list.
    recompute_every : int or None
        In training, save one input for every group of this many blocks. The backward computes the
        rest again: see `minisd.recompute`. ``checkpoint_every`` is an older name of the same.
    made_with : dict or None
        The arguments of `resnet` as plain data, own branches and classes as their names; a run
        saves it.
    normaliser : Normaliser or None
        Of a network that was trained on normalised images and loaded again: what makes them.
    """

    made_with: dict[str, Any] | None = None
    normaliser: Any = None

    def __init__(
        self,
        stem: Layer,
        blocks: list[ResidualBlock],
        pool: Layer,
        head: Layer,
        *,
        recompute_every: int | None = None,
        checkpoint_every: int | None = None,
    ) -> None:
        self.stem = stem
        self.blocks = blocks
        self.pool = pool
        self.head = head
        every = _one_value(recompute_every, checkpoint_every)
        self.recompute_every = None if every is None else whole_number("recompute_every", every, 1)

    @property
    def checkpoint_every(self) -> int | None:
        """The older name of ``recompute_every``."""
        return self.recompute_every

    @checkpoint_every.setter
    def checkpoint_every(self, every: int | None) -> None:
        self.recompute_every = every

    def forward(self, x: Array) -> Array:
        """Return logits (N, num_classes) for images (N, C, H, W)."""
        h = self.stem.forward(x)
        to_recompute: list[tuple[list[ResidualBlock], Saved]] = []
        if self.training and self.recompute_every is not None:
            every = whole_number("recompute_every", self.recompute_every, 1)
            for start in range(0, len(self.blocks), every):
                group = self.blocks[start : start + every]
                h, saved = forward_forgetting(group, h)
                to_recompute.append((group, saved))
        else:
            for block in self.blocks:
                h = block.forward(h)
        self.save(to_recompute)
        return self.head.forward(self.pool.forward(h))

    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to the images, given that of the logits."""
        to_recompute = self.take()
        dh = self.pool.backward(self.head.backward(dy))
        if to_recompute:
            while to_recompute:
                group, saved = to_recompute.pop()
                dh = backward_again(group, saved, dh)
        else:
            for block in reversed(self.blocks):
                dh = block.backward(dh)
        return self.stem.backward(dh)

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """Return 0: all the work is that of the layers inside."""
        return 0

    def __repr__(self) -> str:
        return f"ResNet({self.num_blocks} blocks, {self.num_parameters:,} parameters)"

    def __str__(self) -> str:
        """Return `summary`, for images of its ``normaliser``, or of 32x32 pixels as in CIFAR-10."""
        conv = next((layer for layer in self.stem.walk() if isinstance(layer, Conv2d)), None)
        if conv is None:
            return self.summary()
        shape = (conv.w.data.shape[1], 32, 32)
        if self.normaliser is not None:
            shape = self.normaliser.mean.shape
        try:
            text = self.summary(shape)
        except ValueError as error:  # a network of one's own, for other images
            pixels = "x".join(map(str, shape[1:]))
            return f"{self.summary()}\nImages of {pixels} pixels do not fit: {error}"
        return f"{text}\n\nFor other images: model.summary((C, H, W))"

    @property
    def num_blocks(self) -> int:
        """L."""
        return len(self.blocks)

    @property
    def survival_probs(self) -> list[float]:
        """p_1 to p_L."""
        return [block.survival_prob for block in self.blocks]

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.data.size for _, parameter in self.parameters())


def _name_in_full(code: Any) -> str:
    """Return the name of a function or class, with its module."""
    name = getattr(code, "__qualname__", type(code).__qualname__)
    return f"{getattr(code, '__module__', '')}.{name}"


def _one_value(recompute_every: int | None, checkpoint_every: int | None) -> int | None:
    """Return the value that was given under either name."""
    if checkpoint_every is None:
        return recompute_every
    if recompute_every is not None and recompute_every != checkpoint_every:
        raise ValueError(
            f"checkpoint_every is an older name of recompute_every, but they are "
            f"{checkpoint_every!r} and {recompute_every!r}: give recompute_every only"
        )
    return checkpoint_every


def num_blocks(depth: int, branch: str | Branch = "basic") -> int:
    """L for a network of ``depth`` layers: 3n for depth 6n + 2 (basic), or 9n + 2 (bottleneck).

    In general, for branches of k layers: three groups of n blocks, and two layers more, so the
    depth is 3kn + 2.

    Examples
    --------
    >>> num_blocks(110)
    54
    >>> num_blocks(11, "bottleneck")
    3
    """
    per_block, name = _layers_per_block(branch)
    step = NUM_GROUPS * per_block
    depth = whole_number("depth", depth, step + 2, DEEPEST)
    if (depth - 2) % step:
        below = depth - (depth - 2) % step
        raise ValueError(
            f"depth must be {step}n + 2 with {name} branches (three groups of n blocks of "
            f"{per_block} layers, and two more); {depth} is not: try {below} or {below + step}"
        )
    return (depth - 2) // per_block


def depth_of(num_blocks: int, branch: str | Branch = "basic") -> int:
    """Return the layers of a network of L blocks: `num_blocks` the other way round.

    Examples
    --------
    >>> depth_of(54), depth_of(3, "bottleneck")
    (110, 11)
    """
    L = whole_number("num_blocks", num_blocks, 1, DEEPEST)
    if L % NUM_GROUPS:
        raise ValueError(f"a network has 3n blocks (3, 6, 9, ...), so none has {L}")
    return L * _layers_per_block(branch)[0] + 2


def _layers_per_block(branch: str | Branch) -> tuple[int, str]:
    """Return how many layers of the depth a branch is, and its name in messages."""
    make, name = branch_function(branch)
    return whole_number(f"{name}: layers", attribute(make, "layers", 2), 1), name


def resnet(
    depth: int,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    width: int = 16,
    survival: Sequence[float] | str | Rule | None = None,
    shortcut: str = "A",
    branch: str | Branch = "basic",
    block: Callable[..., ResidualBlock] = ResidualBlock,
    gamma: str = "one",
    scale: str = "test",
    recompute_every: int | None = None,
    checkpoint_every: int | None = None,
    fused: bool = True,
    rng: np.random.Generator,
    dtype: DTypeLike = np.float32,
) -> ResNet:
    """Build the CIFAR-style residual network of ``depth`` layers.

    Three groups of n blocks at widths ``width``, 2 and 4 times that; the first block of the second
    and third group halves the image.

    Parameters
    ----------
    depth : int
        6n + 2 (20, 32, 44, 56, 110, 1202, ...), or 9n + 2 with bottleneck branches: see
        `num_blocks`.
    survival : list of L floats, function of L, or name of a rule, optional
        p_l of each block, for instance ``linear_decay(num_blocks(depth), 0.5)``; or a rule that is
        called with L, such as ``linear_decay`` or ``"cosine"`` (see
        `minisd.rules.RULES`). None: constant depth, all 1.
    shortcut : "A", "A-subsample", "projection" or "none"
        What replaces the identity where the shape changes; see `minisd.residual`. "none": no
        shortcut at all. That is a plain network of the same depth, and its blocks cannot be
        dropped.
    branch : "basic", "bottleneck", or function
        What is in a block: see `minisd.branches` for one's own.
    block : class, or function
        Makes a block of a branch and a shortcut: ``block(branch, shortcut, survival_prob=,
        scale=)``. A subclass of `minisd.residual.ResidualBlock`, for instance
        `minisd.preactivation.PreActBlock`. If its ``pre_activation`` is True, batch norm and ReLU
        stand before the pooling, and not after the first convolution.
    gamma : "one" or "uniform"
        Where batch norm's scale starts; see `minisd.layers.BatchNorm2d`.
    scale : "test" or "train"
        Where survival weights a branch; see `minisd.residual.ResidualBlock`.
    recompute_every : int, optional
        Recompute this many blocks at a time in the backward: less memory, more time, the same bits.
    checkpoint_every : int, optional
        The older name of ``recompute_every``.
    fused : bool
        Let `minisd.fused` do several layers in one pass. False: layer by layer, as written in
        `minisd.residual`. Function and parameters are the same; results differ by rounding only.
        Blocks and layers of one's own run as they are written, since `minisd.fused` knows nothing
        of them; a branch of convolution, batch norm and ReLU is done in one pass also in there.
    rng : numpy Generator
        Draws the weights, on the host: the same seed gives the same network on every device.

    Raises
    ------
    ValueError
        If the depth is not of the form above, if ``survival`` is not L probabilities, if a plain
        network has one below 1, or if ``recompute_every`` has another value under its older name.
        In the first forward: if what a branch gives does not fit its shortcut.
    TypeError
        If ``branch`` or ``block`` cannot be called as above, or makes something else.

    Examples
    --------
    >>> resnet(110, rng=np.random.default_rng(0)).num_parameters
    1727962
    """
    L = num_blocks(depth, branch)
    probs = survival_probabilities(survival, L)
    if shortcut == "none" and min(probs) < 1:
        raise ValueError(
            "with shortcut 'none' nothing passes a closed block: all survival probabilities must "
            "be 1 (constant depth)"
        )
    recompute_every = _one_value(recompute_every, checkpoint_every)
    width = whole_number("width", width, 1)
    num_classes = whole_number("num_classes", num_classes, 1)
    in_channels = whole_number("in_channels", in_channels, 1)
    dtype = floats(dtype)

    make_branch, branch_name = branch_function(branch)
    expansion = whole_number(f"{branch_name}: expansion", attribute(make_branch, "expansion", 1), 1)
    if why := cannot_take(block, None, None, survival_prob=1.0, scale=scale):
        raise TypeError(
            f"block={_short_name(block)} must make a block of (branch, shortcut, survival_prob=, "
            f"scale=), as ResidualBlock does: {why}"
        )
    pre_activation = bool(attribute(block, "pre_activation", False))

    def norm_relu(channels: int) -> list[Layer]:
        return [BatchNorm2d(channels, gamma=gamma, rng=rng, dtype=dtype), ReLU()]

    first = Conv2d(in_channels, width, 3, padding=1, rng=rng, dtype=dtype)
    stem = Sequential(first, *([] if pre_activation else norm_relu(width)))
    blocks: list[ResidualBlock] = []
    channels = width
    for number in range(L):
        group, number_in_group = divmod(number, L // NUM_GROUPS)
        stride = 2 if group > 0 and number_in_group == 0 else 1
        out_channels = width * 2**group * expansion
        options: dict[str, Any] = {"gamma": gamma, "rng": rng, "dtype": dtype}
        made = make_branch(channels, out_channels, stride=stride, **options)
        if not isinstance(made, Layer):
            raise TypeError(f"the branch function {branch_name} must return a layer, got {made!r}")
        skip = make_shortcut(shortcut, channels, out_channels, stride, **options)
        blocks.append(block(made, skip, survival_prob=probs[number], scale=scale))
        _check_block(block, blocks[-1], pre_activation)
        channels = out_channels
    pool = GlobalAvgPool()
    tail = Sequential(*norm_relu(channels), pool) if pre_activation else pool
    head = Linear(channels, num_classes, rng=rng, dtype=dtype)
    model = ResNet(stem, blocks, tail, head, recompute_every=recompute_every)
    model.made_with = {
        "depth": depth,
        "num_classes": num_classes,
        "in_channels": in_channels,
        "width": width,
        "shortcut": shortcut,
        "branch": branch if isinstance(branch, str) else _name_in_full(branch),
        "block": None if block is ResidualBlock else _name_in_full(block),
        "gamma": gamma,
        "scale": scale,
        "fused": fused,
        "dtype": dtype.name,
    }
    return fuse(model) if fused else model


def _short_name(block: object) -> str:
    return str(getattr(unwrapped(block), "__name__", type(block).__name__))


def _check_block(block: object, made: object, pre_activation: bool) -> None:
    """Raise a TypeError unless ``block`` made such a block as it says."""
    name = _short_name(block)
    if not isinstance(made, ResidualBlock):
        raise TypeError(
            f"block={name} must make a ResidualBlock, or one of a subclass, got {made!r}"
        )
    if made.pre_activation is not pre_activation:
        raise TypeError(
            f"block={name} made a {type(made).__name__}, whose pre_activation is "
            f"{made.pre_activation}, but says {pre_activation} itself: give the class, or set "
            f"{name}.pre_activation = {made.pre_activation}"
        )


def check_image_size(
    height: int, width: int, *, shortcut: str = "A", smallest_batch: int = 2
) -> None:
    """Raise a ValueError if a network cannot train on images of this size.

    The image is halved twice. Shortcut A averages tiles of 2x2 pixels, so both sides must be even
    each time. Batch norm needs more than one number per channel, even in the smallest batch.
    """
    halvings = 2 ** (NUM_GROUPS - 1)
    if min(height, width) < 1 or (shortcut == "A" and (height % halvings or width % halvings)):
        raise ValueError(
            f"images of {height}x{width} pixels cannot be halved twice into 2x2 tiles, as shortcut "
            f"'A' does: use sides that are multiples of {halvings}, or shortcut 'A-subsample' "
            "or 'projection'"
        )
    last = -(-height // halvings) * -(-width // halvings)  # pixels of the last group's image
    if last * smallest_batch < 2:
        raise ValueError(
            f"images of {height}x{width} pixels shrink to one pixel. A batch of one image then has "
            "a single number per channel, which batch norm cannot normalise: change the batch size "
            "or the number of training images"
        )
