"""What is checked of assignment 2, convolution: the public cases of every property."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from minisd.course.checks import Case, Check, Failure, Student
from minisd.course.looking import by_name, is_gradient, two_at_once, unchanged, varies


def images(
    N: int, C: int, H: int, W: int, F: int, KH: int, KW: int, stride: int = 1, padding: int = 0,
    *, bias: bool = True,
) -> Any:  # fmt: skip
    """Return a function that draws images, filters, a bias and the gradient that arrives."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        OH, OW = (windows(n, k, stride, padding) for n, k in ((H, KH), (W, KW)))
        return {
            "x": rng.standard_normal((N, C, H, W)),
            "w": rng.standard_normal((F, C, KH, KW)),
            "b": rng.standard_normal(F) if bias else None,
            "dy": rng.standard_normal((N, F, OH, OW)),
            "stride": stride,
            "padding": padding,
        }

    return draw


def redrawn(rng: np.random.Generator, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Draw images of another shape, in the same order in memory."""
    other = np.empty_like(x, shape=shape)
    other[...] = rng.standard_normal(shape)
    return other


def windows(pixels: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Return how many windows there are along one axis."""
    return len(range(0, pixels + 2 * padding - dilation * (kernel - 1), stride))


# ---- 2.1 ----


def sizes(x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: int, padding: int) -> Case:
    """Return a case of `conv_output_size`."""
    name = f"{x_shape[2]}x{x_shape[3]}, {w_shape[2]}x{w_shape[3]}, stride {stride}, pad {padding}"
    values = {"x_shape": x_shape, "w_shape": w_shape, "stride": stride, "padding": padding}
    return Case(name, lambda rng: dict(values))


def size(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for the size of the output."""
    return {"size": asked_size(student, case)}


def asked_size(student: Student, case: SimpleNamespace) -> Any:
    """Call the student's function."""
    return student.call(
        "conv_output_size", case.x_shape, case.w_shape, case.stride, case.padding, **case.more
    )


def refusal(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for the size where the kernel does not fit: a ValueError."""
    try:
        asked_size(student, case)
    except Failure as failure:
        if failure.kind == "NotImplementedError":
            raise
        return {"refusal": failure}
    return {"refusal": None}


# ---- 2.2 ----


def forward(student: Student, case: SimpleNamespace, *, keep: str = "cache") -> Any:
    """Call the student's forward."""
    return student.call(
        "conv2d_forward", case.x, case.w, case.b,
        stride=case.stride, padding=case.padding, keep=keep, **case.more,
    )  # fmt: skip


def output_as(name: str) -> Any:
    """Return a check of the output, as the property ``name``."""

    def run(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        return {name: first_of(forward(student, case))}

    return run


def first_of(result: Any) -> Any:
    """Return y of (y, cache); of anything else, itself."""
    return result[0] if isinstance(result, tuple) and len(result) == 2 else result


def arguments(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Look at dtype, at a bias that is None, and whether the inputs are as they were."""
    y = first_of(forward(student, case))
    return {"arguments": (y, unchanged(student, "x", "w", "b"))}


# ---- 2.3 ----


def cache_of(student: Student, case: SimpleNamespace) -> Any:
    """Return the student's own cache, or the one that the handout names if 2.2 fails."""
    try:
        result = forward(student, case)
        if isinstance(result, tuple) and len(result) == 2:
            return result[1]
    except Failure as failure:
        if failure.kind in ("Timeout", "Ended"):
            raise
    return (case.x, case.w, case.b, case.stride, case.padding, *case.more.values())


def backward(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for all three gradients."""
    result = student.call("conv2d_backward", case.dy, cache_of(student, case))
    return by_name(result, "dx", "dw", "db")


def follow(student: Student, case: SimpleNamespace) -> dict[str, bool]:
    """Whether the gradients are those of the student's own forward, right or wrong."""
    found = backward(student, case)

    def of(**changed: Any) -> Any:
        return first_of(forward(student, SimpleNamespace(**{**vars(case), **changed})))

    return {
        "dx": is_gradient(lambda x: of(x=x), case.x, found["dx"], case.dy),
        "dw": is_gradient(lambda w: of(w=w), case.w, found["dw"], case.dy),
        "db": found["db"] is None
        if case.b is None
        else is_gradient(lambda b: of(b=b), case.b, found["db"], case.dy),
    }


def interleave(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Two forwards, then two backwards: each goes by its own cache, and changes no input."""
    other = SimpleNamespace(**{**vars(case), "x": case.x[::-1] + 1, "w": -case.w})

    def gradients(case: SimpleNamespace, cache: Any) -> Any:
        return student.call("conv2d_backward", case.dy, cache)

    caches = partial(cache_of, student)
    return {"two at once": two_at_once(student, (case, other), caches, gradients)}


# ---- 2.4 ----


def growth(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """How the work in the student's own lines grows with the pixels, which are 8 times as many."""
    counts = []
    for scale in (1, 2):
        H, W = 6 * scale * scale, 5 * scale
        rng = np.random.default_rng(scale)
        x = rng.standard_normal((2, 2, H, W))
        w = rng.standard_normal((3, 2, 3, 3))
        dilation = case.more.get("dilation", 1)
        dy = rng.standard_normal((2, 3, *(windows(n, 3, 1, 1, dilation) for n in (H, W))))
        sized = SimpleNamespace(x=x, w=w, b=None, stride=1, padding=1, more=case.more)
        y = first_of(forward(student, sized))
        result = student.call("conv2d_backward", dy, cache_of(student, sized))
        if not _is_something([y, *(result if isinstance(result, tuple | list) else [result])]):
            return {"growth": 0.0}
        work = student.count("conv2d_forward", x, w, None, stride=1, padding=1, **case.more)
        work += student.count("conv2d_backward", dy, cache_of(student, sized))
        counts.append(work)
    ratio = counts[1] / max(counts[0], 1)
    return {"growth": 1.0 if ratio < 1.5 else 0.5 if ratio < 5 else 0.0}


def _is_something(results: list[Any]) -> bool:
    """Whether there are numbers in the results: what does nothing does not grow, either."""
    arrays = [array for array in results if isinstance(array, np.ndarray)]
    return len(arrays) >= 3 and all(varies(array) for array in arrays)


# ---- 2.5 ----


def tiles(N: int, C: int, H: int, W: int, K: int) -> Any:
    """Return a function that draws images, the size of a tile, and the gradient that arrives."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        return {
            "x": rng.standard_normal((N, C, H, W)),
            "K": K,
            "dy": rng.standard_normal((N, C, H // K, W // K)),
        }

    return draw


def pool(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Average pooling forward."""
    return {"average": first_of(student.call("avg_pool2d_forward", case.x, case.K, keep="cache"))}


def pool_backward(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Average pooling backward."""
    result = student.call("avg_pool2d_forward", case.x, case.K, keep="cache")
    cache = result[1] if isinstance(result, tuple) and len(result) == 2 else None
    return {"its gradient": student.call("avg_pool2d_backward", case.dy, cache)}


def pool_refusal(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """A tile that does not fit: a ValueError."""
    try:
        student.call("avg_pool2d_forward", case.x, case.K, keep="cache")
    except Failure as failure:
        if failure.kind == "NotImplementedError":
            raise
        return {"refuses a rest": failure}
    return {"refuses a rest": None}


SQUARE = images(3, 2, 5, 7, 4, 3, 3, padding=1)
CHECKS = [
    Check(
        "2.1", {"size": 5}, size,
        [
            sizes((2, 3, 8, 8), (4, 3, 3, 3), 1, 1),
            sizes((1, 3, 9, 7), (4, 3, 3, 2), 2, 0),
            sizes((1, 3, 32, 30), (4, 3, 5, 5), 3, 2),
            sizes((1, 1, 5, 6), (1, 1, 2, 2), 4, 0),
        ],
    ),
    Check("2.1", {"refusal": 3}, refusal, [sizes((1, 1, 4, 4), (1, 1, 7, 3), 1, 1)]),
    Check(
        "2.2", {"stride 1": 8}, output_as("stride 1"),
        [
            Case("padding 1", SQUARE),
            Case("no padding", images(3, 2, 6, 5, 4, 3, 3)),
            Case("as many filters as columns", images(3, 2, 5, 4, 4, 3, 3, padding=1)),
        ],
    ),
    Check(
        "2.2", {"stride": 5}, output_as("stride"),
        [
            Case("stride 2", images(3, 2, 5, 7, 4, 3, 3, 2, 1)),
            Case("stride 3", images(3, 2, 7, 10, 4, 3, 3, 3)),
        ],
    ),
    Check(
        "2.2", {"kernel shape": 5}, output_as("kernel shape"),
        [
            Case("3x2 kernel", images(3, 2, 5, 7, 4, 3, 2)),
            Case("2x4 kernel", images(3, 2, 6, 8, 4, 2, 4, 1, 1)),
        ],
    ),
    Check(
        "2.2", {"remainder": 4}, output_as("remainder"),
        [
            Case("stride 2 leaves a row", images(3, 2, 6, 8, 4, 3, 3, 2)),
            Case("stride 3 leaves two", images(3, 2, 8, 9, 4, 3, 3, 3)),
        ],
    ),
    Check(
        "2.2", {"arguments": 5}, arguments,
        [
            Case("float32", SQUARE, float32=True),
            Case("no bias", images(3, 2, 5, 7, 4, 3, 3, padding=1, bias=False)),
        ],
    ),
    Check(
        "2.3", {"dx": 20, "dw": 15, "db": 5}, backward,
        [
            Case("stride 1, padding 1", SQUARE),
            Case("no padding", images(3, 2, 6, 5, 4, 3, 3)),
            Case("one image", images(1, 2, 5, 7, 4, 3, 3, padding=1)),
            Case("windows that do not overlap", images(3, 2, 6, 9, 4, 3, 3, 3)),
            Case("stride 2", images(3, 2, 5, 7, 4, 3, 3, 2, 1)),
            Case("3x2 kernel", images(3, 2, 5, 7, 4, 3, 2)),
            Case("stride 2 leaves a row", images(3, 2, 6, 8, 4, 3, 3, 2)),
            Case("no bias", images(3, 2, 5, 7, 4, 3, 3, padding=1, bias=False)),
            Case("float32", SQUARE, float32=True),
        ],
        follow=follow, after="2.2",
    ),
    Check("2.3", {"two at once": 5}, interleave, [Case("two forwards, two backwards", SQUARE)]),
    Check("2.4", {"growth": 10}, growth, [Case("8 times the pixels", SQUARE)], shares=True),
    Check(
        "2.5", {"average": 3}, pool,
        [
            Case("2x2 tiles", tiles(3, 2, 4, 6, 2)),
            Case("3x3 tiles", tiles(2, 3, 9, 6, 3)),
            Case("float32", tiles(3, 2, 4, 6, 2), float32=True),
        ],
    ),
    Check(
        "2.5", {"its gradient": 4}, pool_backward,
        [
            Case("2x2 tiles", tiles(3, 2, 4, 6, 2)),
            Case("3x3 tiles", tiles(2, 3, 9, 6, 3)),
            Case("float32", tiles(3, 2, 4, 6, 2), float32=True),
        ],
    ),
    Check("2.5", {"refuses a rest": 3}, pool_refusal, [Case("5 rows", tiles(2, 2, 5, 4, 2))]),
]  # fmt: skip
