"""What is checked of assignment 4, residual block and shortcuts: the public cases."""

from minisd.course.checks import Case, Check
from minisd.course.handouts.a4 import asking
from minisd.course.handouts.a4.cases import block, misfit, numbers, shrinking
from minisd.course.handouts.a4.given import ALLOWED, GIVEN, STAGED

__all__ = ["ALLOWED", "CHECKS", "GIVEN", "STAGED"]

BLOCK, HALF = block(3, 4, 5, 6), block(3, 4, 5, 6, alpha=0.5)
SHRINK = shrinking(2, 3, 4, 6, 6, 2)
SHRINKS = [
    Case("3 to 6 channels at stride 2", SHRINK),
    Case("2 to 5 channels at stride 2", shrinking(3, 2, 6, 4, 5, 2)),
    Case("2 to 3 channels at stride 1", shrinking(3, 2, 3, 4, 3, 1)),
]
ALPHAS = [
    Case("alpha = 0.5", HALF),
    Case("alpha = 1", block(2, 4, 4, 6)),
    Case("alpha = -2", block(1, 3, 6, 5, alpha=-2.0)),
]
CHECKS = [
    Check(
        "4.1", {"output": 3}, asking.relu,
        [Case("images", numbers(2, 3, 4, 5)), Case("a matrix", numbers(6, 5))],
    ),
    Check(
        "4.1", {"its gradient": 5}, asking.relu_gradient,
        [
            Case("images", numbers(2, 3, 4, 5)),
            Case("a matrix", numbers(6, 5)),
            Case("exact zeros in x", numbers(5, 7, zeros=True)),
        ],
    ),
    Check(
        "4.1", {"arguments": 2}, asking.relu_arguments,
        [Case("float32", numbers(2, 3, 4, 5), float32=True)],
    ),
    Check(
        "4.2", {"output": 13}, asking.block_output("output"),
        [Case("three images", BLOCK), Case("one image", block(1, 3, 6, 5))],
        given=("4.1",),
    ),
    Check(
        "4.2", {"shortcut and last ReLU": 4}, asking.block_output("shortcut and last ReLU"),
        [Case("gamma2 = 0 (f = beta2)", block(3, 4, 5, 6, constant=True))],
    ),
    Check(
        "4.2", {"arguments": 3}, asking.block_arguments,
        [Case("float32", BLOCK, float32=True)],
    ),
    Check(
        "4.3", {"dx": 11, **dict.fromkeys(asking.GRADIENTS[1:], 3)}, asking.block_gradients,
        [Case("three images", BLOCK), Case("one image", block(1, 3, 6, 5))],
        follow=asking.block_follows, after="4.2", given=("4.1",),
    ),
    Check(
        "4.3", {"two at once": 4}, asking.interleave,
        [Case("two forwards, two backwards", BLOCK)],
    ),
    Check("4.3", {"float32": 2}, asking.block_dtypes, [Case("float32", BLOCK, float32=True)]),
    Check(
        "4.4", {"output": 6}, asking.pad,
        [*SHRINKS, Case("tiles of one value", shrinking(2, 3, 6, 4, 5, 2, uniform=True))],
    ),
    Check(
        "4.4", {"its gradient": 8}, asking.pad_gradient, SHRINKS,
        follow=asking.pad_follows, after="4.4 output",
    ),
    Check("4.4", {"arguments": 3}, asking.pad_arguments, [Case("float32", SHRINK, float32=True)]),
    Check(
        "4.4", {"refuses": 3}, asking.pad_refusal,
        [
            Case("5 rows at stride 2", misfit(5, 4, 6, 2)),
            Case("3 to 2 channels", misfit(4, 4, 2, 2)),
        ],
    ),
    Check(
        "4.5", {"output": 4}, asking.scaled, ALPHAS,
        given=("4.1", "4.2", "4.3"),
    ),
    Check(
        "4.5", {"dx and grads": 4, "dalpha": 5}, asking.scaled_gradients, ALPHAS,
        follow=asking.scaled_follows, after="4.5 output",
    ),
    Check("4.5", {"arguments": 2}, asking.scaled_arguments, [Case("float32", HALF, float32=True)]),
]  # fmt: skip
