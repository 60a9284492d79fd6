"""The hidden cases of assignment 3: the same properties, other shapes. Not in the package."""

import numpy as np

from minisd.course.checks import Case
from minisd.course.handouts.a3.checks import altered, convolution, images, no_gamma


def other_order(values):
    """x and dy lie in memory with the channels last."""
    for name in ("x", "dy"):
        last = np.ascontiguousarray(values[name].transpose(0, 2, 3, 1))
        values[name] = last.transpose(0, 3, 1, 2)


LARGE, USUAL = images(5, 3, 2, 7, scale=1e6), images(5, 3, 2, 7)
HIDDEN = {
    "3.1 normalised": [
        Case("memory in another order", altered(LARGE, other_order)),
        Case("one channel", images(5, 1, 2, 3, scale=1e6)),
    ],
    "3.1 eps": [Case("eps of 2", images(2, 3, 5, 4, eps=2.0))],
    "3.1 arguments": [Case("a gamma of zero", altered(LARGE, no_gamma))],
    "3.1 refusal": [Case("one pixel, five channels", images(1, 5, 1, 1))],
    "3.2 running mean, running var": [
        Case("two batches", images(2, 3, 4, 5, then=True)),
        Case("two batches, momentum of 0.6", images(5, 4, 3, 2, then=True, momentum=0.6)),
    ],
    "3.3 output": [
        Case("memory in another order", altered(USUAL, other_order)),
        Case("eps of 2", images(2, 3, 5, 4, eps=2.0)),
    ],
    "3.4 dx, dgamma, dbeta": [
        Case("memory in another order", altered(USUAL, other_order)),
        Case("eps of 2", images(2, 3, 5, 4, eps=2.0)),
        Case("one channel", images(5, 1, 2, 3)),
    ],
    "3.5 dx, dgamma, dbeta": [
        Case("eps of 2", images(2, 3, 5, 4, eps=2.0)),
        Case("a gamma of zero", altered(USUAL, no_gamma)),
    ],
    "3.7 w, b": [
        Case("1x1 kernels", convolution(5, 2, 1, 1)),
        Case("eps of 2", convolution(2, 3, 2, 4, eps=2.0)),
    ],
    "3.7 arguments": [Case("one filter, no bias", convolution(1, 3, 2, 2, bias=False, eps=1e-12))],
}
