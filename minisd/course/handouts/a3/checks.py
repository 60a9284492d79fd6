"""What is checked of assignment 3, batch normalisation: the public cases of every property."""

from typing import Any

import numpy as np

from minisd.course.checks import Case, Check
from minisd.course.handouts.a3 import ask


def images(
    N: int, C: int, H: int, W: int, *, scale: float = 1.0, then: bool = False, **options: float
) -> Any:
    """Return a function that draws a batch and all that goes with it.

    Parameters
    ----------
    scale : float
        Of x. If it is a million, no eps of the usual size can be seen in y.
    then : bool
        A second batch comes after it.
    **options
        ``momentum`` and ``eps``; the student's own defaults if they are not given.
    """

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        spread, centre = rng.uniform(0.5, 2, (C, 1, 1)), rng.standard_normal((C, 1, 1))
        x, x2 = scale * (centre + spread * rng.standard_normal((2, N, C, H, W)))
        return {
            "x": x,
            "then": x2 if then else None,
            "gamma": rng.uniform(0.5, 2, C) * (-1) ** np.arange(C),
            "beta": rng.standard_normal(C),
            "running_mean": rng.standard_normal(C),
            "running_var": rng.uniform(0.5, 2, C),
            "dy": rng.standard_normal((N, C, H, W)),
            "options": options,
        }

    return draw


def altered(draw: Any, change: Any) -> Any:
    """Return a function that draws, then lets ``change`` write into what was drawn."""

    def drawn(rng: np.random.Generator) -> dict[str, Any]:
        values: dict[str, Any] = draw(rng)
        change(values)
        return values

    return drawn


def first_channel_constant(values: dict[str, Any]) -> None:
    """A channel that does not vary."""
    values["x"][:, 0] = 2


def no_gamma(values: dict[str, Any]) -> None:
    """A gamma of exactly zero."""
    values["gamma"][0] = 0


def convolution(F: int, C: int, KH: int, KW: int, *, bias: bool = True, eps: float = 1e-5) -> Any:
    """Return a function that draws a convolution and the batch norm after it."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        return {
            "w": rng.standard_normal((F, C, KH, KW)),
            "b": rng.standard_normal(F) if bias else None,
            "gamma": rng.uniform(0.5, 2, F) * (-1) ** np.arange(F),
            "beta": rng.standard_normal(F),
            "running_mean": rng.standard_normal(F),
            "running_var": rng.uniform(0.1, 2, F),
            "eps": eps,
        }

    return draw


LARGE, EQUAL = images(3, 2, 4, 5, scale=1e6), images(3, 3, 3, 3, scale=1e6)
USUAL = images(3, 4, 5, 2)
CHECKS = [
    Check(
        "3.1", {"normalised": 13}, ask.output_as("normalised"),
        [
            Case("several images", LARGE),
            Case("3 images, channels, rows and columns", EQUAL),
            Case("single pixels", images(6, 2, 1, 1, scale=1e6)),
        ],
    ),
    Check(
        "3.1", {"eps": 4}, ask.output_as("eps"),
        [
            Case("eps of 0.5", images(3, 3, 3, 3, eps=0.5)),
            Case("channels that hardly vary", images(3, 2, 4, 5, scale=0.003)),
            Case("a channel that does not vary", altered(USUAL, first_channel_constant)),
        ],
    ),
    Check(
        "3.1", {"arguments": 5}, ask.arguments(True),
        [
            Case("float32", EQUAL, float32=True),
            Case("one image", images(1, 2, 4, 5, scale=1e6)),
        ],
    ),
    Check("3.1", {"refusal": 3}, ask.refusal, [Case("one image of one pixel", images(1, 3, 1, 1))]),
    Check(
        "3.2", {"running mean": 6, "running var": 6}, ask.moved,
        [
            Case("the default momentum", images(3, 2, 4, 5)),
            Case("momentum of 0.3", images(4, 3, 2, 5, momentum=0.3)),
            Case("eps of 0.5", images(3, 2, 4, 5, eps=0.5)),
            Case("float32", images(3, 2, 4, 5), float32=True),
        ],
    ),
    Check(
        "3.2", {"still in evaluation": 3}, ask.at_rest,
        [Case("training, then evaluation", images(3, 2, 4, 5))],
    ),
    Check(
        "3.3", {"output": 7}, ask.output_as("output", training=False),
        [
            Case("several images", USUAL),
            Case("one image", images(1, 3, 4, 2)),
            Case("one image of one pixel", images(1, 3, 1, 1)),
            Case("eps of 0.5", images(3, 2, 4, 5, eps=0.5)),
        ],
    ),
    Check("3.3", {"arguments": 3}, ask.arguments(False), [Case("float32", USUAL, float32=True)]),
    Check(
        "3.4", {"dx": 17, "dgamma": 5, "dbeta": 5}, ask.backward,
        [
            Case("several images", images(3, 2, 4, 5)),
            Case("single pixels", images(6, 2, 1, 1)),
            Case("eps of 0.5", images(3, 2, 4, 5, eps=0.5)),
            Case("a gamma of zero", altered(images(3, 2, 4, 5), no_gamma)),
            Case("float32", images(3, 2, 4, 5), float32=True),
        ],
        follow=ask.follow, after="3.1",
    ),
    Check("3.4", {"two at once": 3}, ask.interleave, [Case("two forwards, two backwards", USUAL)]),
    Check(
        "3.5", {"dx": 4, "dgamma, dbeta": 2}, ask.evaluated,
        [
            Case("several images", USUAL),
            Case("eps of 0.5", images(3, 2, 4, 5, eps=0.5)),
            Case("one image of one pixel", images(1, 3, 1, 1)),
            Case("float32", USUAL, float32=True),
        ],
        follow=ask.follow_evaluated, after="3.3",
    ),
    Check(
        "3.5", {"after a training step": 2}, ask.overtaken,
        [Case("evaluation, training, backward", images(3, 2, 4, 5, then=True))],
    ),
    Check("3.6", {"far from zero": 5}, ask.far_from_zero, [Case("float32", images(3, 4, 4, 5))]),
    Check(
        "3.7", {"w": 3, "b": 2}, ask.fold,
        [
            Case("several filters", convolution(4, 3, 3, 2)),
            Case("as many filters as channels", convolution(3, 3, 3, 3)),
            Case("eps of 0.5", convolution(4, 2, 3, 3, eps=0.5)),
        ],
    ),
    Check(
        "3.7", {"arguments": 2}, ask.fold_arguments,
        [
            Case("no bias", convolution(3, 3, 3, 3, bias=False, eps=1e-12)),
            Case("float32", convolution(4, 3, 3, 2, bias=False, eps=1e-12), float32=True),
        ],
    ),
]  # fmt: skip
