"""What is checked of assignment 1, gradients and softmax: the public cases of every property."""

from minisd.course.checks import Case, Check
from minisd.course.handouts.a1.ask import (
    FUNCTIONS,
    backward,
    batches,
    entropy,
    follow,
    full_batch,
    images,
    interleave,
    large,
    linear_arguments,
    loss_arguments,
    no_gradient,
    output_as,
    points,
    rows,
    scores,
    shifted,
    slopes_as,
    step_arguments,
    step_as,
    stream,
    train_arguments,
    two_rates,
    unlikely,
    untouched,
    weights,
)

ROWS = rows(5, 4, 3)
CHECKS = [
    Check(
        "1.1", {"slopes": 6}, slopes_as("slopes"),
        [
            Case("5 numbers", points("cubic", 5), tolerance=1e-7),
            Case("3 numbers", points("cubic", 3), tolerance=1e-7),
        ],
        helpers=FUNCTIONS,
    ),
    Check(
        "1.1", {"any shape": 4}, slopes_as("any shape"),
        [
            Case("2 rows of 3", points("cubic", 2, 3), tolerance=1e-7),
            Case("memory by columns", points("cubic", 2, 4, transposed=True), tolerance=1e-7),
        ],
        helpers=FUNCTIONS,
    ),
    Check(
        "1.1", {"the step": 3}, slopes_as("the step"),
        [
            Case("6 digits of f and h = 1/8", points("coarse", 4, h=1 / 8), tolerance=1e-7),
            Case("6 digits of f and h = 1/16", points("coarse", 3, h=1 / 16), tolerance=1e-7),
        ],
        helpers=FUNCTIONS,
    ),
    Check(
        "1.1", {"x untouched": 2}, untouched,
        [Case("7 small numbers and h = 0.1", points("cubic", 7, h=0.1, size=0.01))],
        helpers=FUNCTIONS,
    ),
    Check(
        "1.2", {"output": 6}, output_as("output"),
        [
            Case("5 rows with 4 inputs and 3 outputs", ROWS),
            Case("as many outputs as inputs", rows(5, 3, 3)),
            Case("as many rows as outputs", rows(3, 4, 3)),
            Case("1 row", rows(1, 4, 3)),
        ],
    ),
    Check("1.2", {"no b": 2}, output_as("no b"), [Case("no bias", rows(5, 4, 3, bias=False))]),
    Check(
        "1.2", {"forward's arguments": 2}, linear_arguments,
        [Case("float32", rows(3, 3, 3), float32=True), Case("float64", rows(3, 3, 3))],
    ),
    Check(
        "1.2", {"dx": 6, "dw": 6, "db": 4}, backward,
        [
            Case("5 rows with 4 inputs and 3 outputs", ROWS),
            Case("as many outputs as inputs", rows(5, 3, 3)),
            Case("as many rows as outputs", rows(3, 4, 3)),
            Case("1 row", rows(1, 4, 3)),
            Case("float32", ROWS, float32=True),
        ],
        follow=follow, after="1.2 output",
    ),
    Check(
        "1.2", {"db without b": 2}, no_gradient,
        [Case("no bias", rows(4, 3, 3, bias=False))],
    ),
    Check(
        "1.2", {"two at once": 2}, interleave,
        [Case("two forwards and two backwards", rows(5, 3, 3))],
    ),
    Check(
        "1.3", {"loss": 8, "dlogits": 10}, entropy,
        [
            Case("6 images of 4 classes", scores(6, 4), tolerance=1e-6),
            Case("as many images as classes", scores(4, 4), tolerance=1e-6),
            Case("1 image", scores(1, 3), tolerance=1e-6),
            Case("equal scores", scores(5, 2, size=0), tolerance=1e-6),
        ],
    ),
    Check(
        "1.3", {"large logits": 5}, large,
        [
            Case("all scores near 1000", shifted(5, 3, 1000)),
            Case("rows 2000 apart", shifted(5, 3, 1000, -1000)),
            Case("a right class of probability 1e-17", unlikely(4, 40)),
            Case("a right class 1000 below", unlikely(4, 1000)),
        ],
    ),
    Check(
        "1.3", {"arguments": 2}, loss_arguments,
        [Case("float32", scores(4, 4), float32=True), Case("float64", scores(4, 4))],
    ),
    Check(
        "1.4", {"w": 6}, step_as("w"),
        [
            Case("3 steps", weights(4, 3, steps=3, momentum=0.9, decay=0.1)),
            Case("4 steps without decay", weights(5, steps=4, momentum=0.5, decay=0)),
        ],
    ),
    Check(
        "1.4", {"v": 4}, step_as("v"),
        [
            Case("1 step", weights(4, 3, steps=1, momentum=0.9, decay=0.3, rest=False)),
            Case("4 steps without decay", weights(5, steps=4, momentum=0.5, decay=0)),
        ],
    ),
    Check(
        "1.4", {"lr changes": 3}, two_rates,
        [Case("1 step", weights(4, 3, steps=1, momentum=0.9, decay=0.3, rest=False))],
    ),
    Check(
        "1.4", {"arguments": 2}, step_arguments,
        [
            Case("float32", weights(4, 3, steps=2, momentum=0.9, decay=0.1), float32=True),
            Case("float64", weights(4, 3, steps=2, momentum=0.9, decay=0.1)),
        ],
    ),
    Check(
        "1.5", {"full batch": 5}, full_batch,
        [
            Case("1 step with 8 images", images(8, 4, 3, steps=1, batch=8)),
            Case("3 steps with 7 images", images(7, 4, 3, steps=3, batch=7)),
        ],
        given=("1.2", "1.3", "1.4"),
    ),
    Check(
        "1.5", {"batches": 5}, batches,
        [
            Case("4 of 9 images", images(9, 4, 3, steps=5, batch=4)),
            Case("1 of 8 images", images(8, 3, 4, steps=6, batch=1)),
        ],
        given=("1.2", "1.3", "1.4"),
    ),
    Check(
        "1.5", {"random numbers": 3}, stream,
        [
            Case("4 of 9 images", images(9, 4, 3, steps=5, batch=4)),
            Case("5 of 12 images", images(12, 3, 4, steps=3, batch=5)),
        ],
        given=("1.2", "1.3", "1.4"),
    ),
    Check(
        "1.5", {"arguments": 2}, train_arguments,
        [Case("4 of 9 images", images(9, 4, 3, steps=5, batch=4))],
        given=("1.2", "1.3", "1.4"),
    ),
]  # fmt: skip
