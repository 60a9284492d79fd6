"""The hidden cases of assignment 2: the same properties, other shapes. Not in the package."""

import numpy as np

from minisd.course.checks import Case
from minisd.course.handouts.a2.checks import images, sizes, tiles


def transposed(draw):
    """Return a function that draws images whose memory runs the other way round."""

    def drawn(rng):
        values = draw(rng)
        values["x"] = np.asarray(values["x"].transpose(0, 2, 3, 1), order="C").transpose(0, 3, 1, 2)
        return values

    return drawn


FIRST = images(3, 2, 5, 7, 4, 3, 3, padding=1)
HIDDEN = {
    "2.1 size": [
        sizes((3, 5, 11, 17), (2, 5, 4, 3), 2, 3),
        sizes((1, 1, 3, 9), (1, 1, 3, 3), 5, 0),
    ],
    "2.1 refusal": [sizes((2, 2, 9, 2), (1, 2, 3, 5), 2, 1)],
    "2.2 stride 1": [Case("memory in another order", transposed(FIRST))],
    "2.2 stride": [Case("stride 4", images(3, 2, 11, 7, 4, 3, 3, 4))],
    "2.2 kernel shape": [
        Case("one output pixel", images(3, 2, 4, 3, 5, 4, 3)),
        Case("more padding than needed", images(2, 3, 4, 5, 4, 2, 3, 1, 3)),
    ],
    "2.2 remainder": [Case("2x2 kernel, stride 3, a rest", images(2, 3, 7, 9, 4, 2, 2, 3))],
    "2.3 dx, dw, db": [
        Case("3x2 kernel, stride 3, a rest", images(2, 3, 8, 10, 4, 3, 2, 3)),
        Case("1x1 kernel, stride 2", images(3, 2, 5, 6, 4, 1, 1, 2)),
        Case("more padding than needed", images(2, 3, 4, 5, 4, 2, 3, 1, 3)),
        Case("one output pixel", images(3, 2, 4, 3, 5, 4, 3)),
        Case("memory in another order", transposed(FIRST)),
    ],
    "2.5 average": [Case("4x4 tiles", tiles(3, 5, 8, 12, 4)), Case("1x1", tiles(2, 2, 3, 4, 1))],
    "2.5 its gradient": [Case("4x4 tiles", tiles(3, 5, 8, 12, 4))],
    "2.5 refuses a rest": [Case("7 columns", tiles(2, 2, 6, 7, 3))],
}
