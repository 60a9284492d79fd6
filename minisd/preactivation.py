"""Pre-activation blocks (He et al. 2016b, "Identity Mappings in Deep Residual Networks").

arXiv:1603.05027. A worked example of a block and a branch of one's own: this file is all that
there is, and nothing elsewhere knows of it.

    resnet(32, branch=preact_branch, block=PreActBlock, survival=linear_decay, rng=rng)

An ordinary block rectifies the sum, H = ReLU(f(x) + id(x)), so the shortcut is not quite an
identity. Here nothing follows the sum, and batch norm and ReLU come before each convolution:

    x_{l+1} = x_l + F(f^(x_l))                                                    (their eq. 9)

with f^ batch norm and ReLU, at the front of the branch. If all shortcuts are identities, any deeper
x_L is x_l plus a sum, and the gradient reaches x_l both unchanged and through the branches:

    x_L = x_l + sum_{i=l}^{L-1} F(x_i)                                            (their eq. 4)
    dE/dx_l = dE/dx_L (1 + d/dx_l sum_{i=l}^{L-1} F(x_i))                         (their eq. 5)

Stochastic depth works as before, without the ReLU: x_{l+1} = b_l F(x_l) + id(x_l) in training, and
p_l F(x_l) + id(x_l) in evaluation. A closed block does nothing but its shortcut.

A sum that is not rectified must be, before it is averaged. So such a network has batch norm and
ReLU between its last block and the pooling, and neither after its first convolution: the first
block begins with them. `minisd.models.resnet` asks the block for that: ``pre_activation``.

Here the shortcut always takes x itself, as in eq. 9. In the authors' code, where a shortcut is a
convolution, it takes batch norm and ReLU of x, together with the branch.
"""

import numpy as np
from numpy.typing import DTypeLike

from minisd.backend import Array
from minisd.layers import BatchNorm2d, Conv2d, Layer, ReLU, Sequential
from minisd.residual import ResidualBlock, Weight, misfit


class PreActBlock(ResidualBlock):
    """y = b F(x) + id(x): a residual block without the ReLU after the sum (their eq. 9).

    Parameters, attributes, gates and evaluation are those of `minisd.residual.ResidualBlock`. Only
    its four methods are other ones. They are the old ones without the ReLU.
    """

    pre_activation = True

    def __init__(
        self, branch: Layer, shortcut: Layer, *, survival_prob: float = 1.0, scale: str = "test"
    ) -> None:
        super().__init__(branch, shortcut, survival_prob=survival_prob, scale=scale)
        del self.relu  # no layer that never runs, in a summary for instance

    def open_forward(self, x: Array, weight: Weight) -> Array:
        """Return weight F(x) + id(x)."""
        shortcut, branch = self.shortcut.forward(x), self.run_branch(x)
        if shortcut.shape != branch.shape:
            raise misfit(self, shortcut.shape, branch.shape)
        return self.ops.add(shortcut, weight * branch)

    def open_backward(self, dy: Array, weight: Weight) -> Array:
        """Return dx = dy (d id/dx + weight dF/dx): the 1 in eq. 5 is the shortcut's."""
        return self.ops.add(self.shortcut.backward(dy), self.branch.backward(weight * dy))

    def closed_forward(self, x: Array) -> Array:
        """Return id(x). The branch is not entered."""
        self.branch.forget()
        return self.shortcut.forward(x)

    def closed_backward(self, dy: Array) -> Array:
        """Return dx: nothing goes back through the branch."""
        return self.shortcut.backward(dy)


def preact_branch(
    in_channels: int,
    out_channels: int,
    *,
    stride: int = 1,
    gamma: str = "one",
    rng: np.random.Generator,
    dtype: DTypeLike = np.float32,
) -> Sequential:
    """BN - ReLU - conv 3x3 - BN - ReLU - conv 3x3: "full pre-activation" (their Fig. 4e)."""
    return Sequential(
        BatchNorm2d(in_channels, gamma=gamma, rng=rng, dtype=dtype),
        ReLU(),
        Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, rng=rng, dtype=dtype),
        BatchNorm2d(out_channels, gamma=gamma, rng=rng, dtype=dtype),
        ReLU(),
        Conv2d(out_channels, out_channels, 3, padding=1, rng=rng, dtype=dtype),
    )
