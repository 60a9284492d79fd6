"""The hidden cases of assignment 5: the same properties, other numbers and shapes."""

import numpy as np

from minisd.course.checks import Case
from minisd.course.handouts.a5.checks import (
    falling,
    filled,
    images,
    matrices,
    rule,
    same,
    some,
    steps,
    weights,
)


def transposed(draw):
    """Return a function that draws images whose memory runs the other way round."""

    def drawn(rng):
        values = draw(rng)
        for name in ("x", "dy"):
            turned = values[name].transpose(0, 2, 3, 1)
            values[name] = np.asarray(turned, order="C").transpose(0, 3, 1, 2)
        return values

    return drawn


BLOCK = [
    Case("a shortcut with stride 3", images(2, 2, 7, 5, 5, 3)),
    Case("memory in another order", transposed(images(2, 3, 4, 5))),
]
HIDDEN = {
    "5.1 linear decay": [rule(54, 0.5), rule(7, 0.9), rule(2, 0.1)],
    "5.1 expected depth": [Case("many", some(200)), Case("one block", some(1))],
    "5.2 gates": [Case("many", some(300)), Case("never open", some(35, 0.0, 0.0, 0.0))],
    "5.2 stream": [Case("p = 0", same(9, 0.0)), Case("many", some(120, 0.0, 1.0))],
    "5.3 open": BLOCK,
    "5.3 open backward": BLOCK,
    "5.3 closed": BLOCK,
    "5.3 closed backward": BLOCK,
    "5.3 not entered": [Case("weights that are NaN", filled(images(3, 3, 3, 5), np.nan))],
    "5.3 remembers its gate": BLOCK[1:],
    "5.4 evaluation": [Case("p = 1", weights(2, 4, 1.0, is_open=False))],
    "5.4 scale train": [Case("p = 0.3", weights(3, 2, 0.3)), Case("p = 1", weights(2, 2, 1.0))],
    "5.4 its gradient": [Case("p = 0.3", weights(3, 2, 0.3))],
    "5.5 distribution": [Case("never open", same(4, 0.0)), Case("ten", some(10, 0.0, 1.0, 1.0))],
    "5.5 many blocks": [Case("110", falling(110, 0.2))],
    "5.6 one vector": [Case("eight blocks", matrices(8, 2)), Case("one block", matrices(1, 5))],
    "5.6 several columns": [Case("p = 0", matrices(3, 4, batch=5, p=0.0))],
    "5.7 with a gradient": [Case("in turn, longer", steps("gggg"))],
    "5.7 freeze": [Case("float32", steps("--", "freeze"), float32=True)],
    "5.7 coast": [Case("five steps", steps("-----", "coast"))],
}
