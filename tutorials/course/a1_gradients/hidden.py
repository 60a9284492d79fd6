"""The hidden cases of assignment 1: the same properties, other shapes. Not in the package."""

from minisd.course.checks import Case
from minisd.course.handouts.a1.ask import (
    images,
    points,
    rows,
    scores,
    shifted,
    unlikely,
    weights,
)

HIDDEN = {
    "1.1 slopes": [Case("a steep function", points("steep", 6), tolerance=1e-7)],
    "1.1 any shape": [
        Case("one number without a dimension", points("cubic"), tolerance=1e-7),
        Case("3 dimensions", points("cubic", 2, 3, 2), tolerance=1e-7),
    ],
    "1.1 the step": [
        Case("6 digits of f and h = 1/32", points("coarse", 6, h=1 / 32), tolerance=1e-7)
    ],
    "1.2 output": [Case("7 outputs", rows(6, 2, 7))],
    "1.2 no b": [Case("1 row without a bias", rows(1, 2, 5, bias=False))],
    "1.2 dx, dw, db": [Case("7 outputs", rows(6, 2, 7)), Case("1 output", rows(4, 3, 1))],
    "1.2 db without b": [Case("1 row without a bias", rows(1, 4, 4, bias=False))],
    "1.3 loss, dlogits": [
        Case("1 class", scores(5, 1), tolerance=1e-6),
        Case("9 images of 5 classes", scores(9, 5), tolerance=1e-6),
    ],
    "1.3 large logits": [
        Case("scores near 10000", shifted(6, 4, 10000)),
        Case("rows 20000 apart", shifted(6, 4, -10000, 10000, 0)),
        Case("a right class 10000 below", unlikely(3, 10000)),
    ],
    "1.4 w": [Case("6 steps", weights(2, 3, 2, steps=6, momentum=0.8, decay=0.05, lr=0.3))],
    "1.4 lr changes": [Case("3 steps", weights(5, steps=3, momentum=0.8, decay=0))],
    "1.5 batches": [Case("7 of 20 images", images(20, 5, 4, steps=9, batch=7))],
    "1.5 random numbers": [Case("7 of 20 images", images(20, 5, 4, steps=9, batch=7))],
}
