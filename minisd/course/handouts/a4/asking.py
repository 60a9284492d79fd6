"""How assignment 4 is checked: what is called, and what is looked at of the results."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from minisd.course.answers import difference
from minisd.course.checks import REMEMBERED, Failure, Student
from minisd.course.looking import is_gradient, varies

KEYS = ("w1", "gamma1", "beta1", "w2", "gamma2", "beta2")
GRADIENTS = ("dx", *(f"d{key}" for key in KEYS))
STEP = 1e-7
"""Of finite differences: so small that hardly one meets the kink of a ReLU."""


def cache_of(student: Student, name: str, args: tuple[Any, ...]) -> tuple[Any, Failure | None]:
    """Return the student's own cache, or the arguments and why the forward has failed."""
    try:
        result = student.call(f"{name}_forward", *args, keep="cache")
    except Failure as failure:
        if failure.kind in ("Timeout", "Ended"):
            raise
        return args, failure
    return (result[1] if isinstance(result, tuple) and len(result) == 2 else args), None


def backward(student: Student, name: str, dy: np.ndarray, args: tuple[Any, ...]) -> Any:
    """Call forward and backward. Where both fail, it is the forward's failure that counts."""
    cache, failed = cache_of(student, name, args)
    try:
        return student.call(f"{name}_backward", dy, cache)
    except Failure as failure:
        is_written = "NotImplementedError" not in (failure.kind, failed and failed.kind)
        raise (failed if failed and is_written else failure) from None


def output(student: Student, forward: str, *args: Any) -> Any:
    """Return y of (y, cache); of anything else, itself."""
    result = student.call(forward, *args, keep="cache")
    return result[0] if isinstance(result, tuple) and len(result) == 2 else result


def split(result: Any, count: int) -> list[Any]:
    """Return ``count`` results one by one; anything else stands for each of them."""
    is_right = isinstance(result, tuple | list) and len(result) == count
    return list(result) if is_right else [result] * count


def by_key(grads: Any) -> dict[str, Any]:
    """Return the gradients of the six parameters; what is no dict stands for each of them."""
    return {key: grads.get(key) if isinstance(grads, dict) else grads for key in KEYS}


def dtype_of(result: Any) -> Any:
    """Return an empty array of the dtype of a result. What is constant tells nothing."""
    is_something = isinstance(result, np.ndarray) and varies(result)
    return np.empty(0, result.dtype) if is_something else None


def refusal(student: Student, name: str, *args: Any) -> Failure | None:
    """Return how a call fails."""
    try:
        student.call(name, *args, keep="cache")
    except Failure as failure:
        if failure.kind == "NotImplementedError":
            raise
        return failure
    return None


# ---- 4.1 ----


def relu(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for max(x, 0)."""
    return {"output": output(student, "relu_forward", case.x)}


def relu_gradient(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for dx."""
    return {"its gradient": backward(student, "relu", case.dy, (case.x,))}


def relu_arguments(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Look at dtypes, and whether x and dy are as they were."""
    return {"arguments": arguments(student, "relu", (case.x,), case.dy)}


def arguments(student: Student, name: str, args: tuple[Any, ...], dy: np.ndarray) -> list[Any]:
    """Return the dtypes of y and of all gradients, and what the calls have changed."""
    y = output(student, f"{name}_forward", *args)
    found = [student.purity(), *student.inputs]
    result = backward(student, name, dy, args)
    found += [student.purity(), *student.inputs]
    gradients = result if isinstance(result, tuple | list) else [result]
    if len(gradients) > 1:
        gradients = [gradients[0], *by_key(gradients[1]).values()]
    return [*map(dtype_of, [y, *gradients]), *found]


# ---- 4.2 and 4.3 ----


def block_output(name: str) -> Any:
    """Return a check of y, as the property ``name``."""

    def ask(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        return {name: output(student, "block_forward", case.x, case.p)}

    return ask


def block_arguments(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Look at the dtype, and whether x and p are as they were."""
    y = output(student, "block_forward", case.x, case.p)
    return {"arguments": [dtype_of(y), student.purity(), *student.inputs]}


def block_gradients(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for all seven gradients."""
    dx, grads = split(backward(student, "block", case.dy, (case.x, case.p)), 2)
    return {"dx": dx, **{f"d{key}": value for key, value in by_key(grads).items()}}


def block_follows(student: Student, case: SimpleNamespace) -> Mapping[str, bool]:
    """Whether the gradients are those of the student's own forward."""
    found = block_gradients(student, case)
    return follows(case, found, lambda x, p: output(student, "block_forward", x, p))


def follows(
    case: SimpleNamespace, found: Mapping[str, Any], y: Callable[..., Any]
) -> dict[str, bool]:
    """Compare gradients with finite differences of y(x, p). On a kink there is nothing to say."""
    if case.zeros:
        return dict.fromkeys(GRADIENTS, True)

    def held(f: Callable[[Any], Any], value: np.ndarray, gradient: Any) -> bool:
        return is_gradient(f, value, gradient, case.dy, step=STEP)

    return {"dx": held(lambda x: y(x, case.p), case.x, found["dx"])} | {
        f"d{key}": held(lambda v, key=key: y(case.x, {**case.p, key: v}), value, found[f"d{key}"])  # type: ignore[misc]
        for key, value in case.p.items()
    }


def block_dtypes(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """In float32 rounding may turn a ReLU's mask over: only dtypes are looked at."""
    return {"float32": [dtype_of(g) for g in block_gradients(student, case).values()]}


def interleave(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Two forwards, then two backwards: each goes by its own cache, and leaves dy as it is."""
    other = {key: value[::-1] + 1 for key, value in case.p.items()}
    pairs = [(case.x, case.p), (case.x[::-1] + 1, other)]

    def gradients(result: Any) -> list[Any]:
        dx, grads = split(result, 2)
        return [dx, by_key(grads)]

    alone = [gradients(backward(student, "block", case.dy, pair)) for pair in pairs]
    caches = [cache_of(student, "block", pair)[0] for pair in pairs]
    together = [gradients(student.call("block_backward", case.dy, cache)) for cache in caches]
    if difference(alone[0], alone[1], 0) is None:
        return {"two at once": Failure("the gradients are the same for any x and p")}
    own = Failure(REMEMBERED) if difference(together, alone, 0) else None
    return {"two at once": [own, student.purity()]}


# ---- 4.4 ----


def pad(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for the shortcut's output."""
    return {"output": pad_output(student, case, case.x)}


def pad_output(student: Student, case: SimpleNamespace, x: Any) -> Any:
    """Call the student's forward with x."""
    return output(student, "pad_shortcut_forward", x, case.out_channels, case.stride)


def pad_gradient(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for dx."""
    args = (case.x, case.out_channels, case.stride)
    return {"its gradient": backward(student, "pad_shortcut", case.dy, args)}


def pad_follows(student: Student, case: SimpleNamespace) -> dict[str, bool]:
    """Whether dx is the gradient of the student's own forward."""
    dx = pad_gradient(student, case)["its gradient"]
    held = is_gradient(lambda x: pad_output(student, case, x), case.x, dx, case.dy)
    return {"its gradient": held}


def pad_arguments(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Look at dtypes, and whether x and dy are as they were."""
    args = (case.x, case.out_channels, case.stride)
    return {"arguments": arguments(student, "pad_shortcut", args, case.dy)}


def pad_refusal(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """What does not fit is a ValueError; what fits is not."""
    fitting = np.zeros((2, 3, 2 * case.stride, case.stride))
    student.call("pad_shortcut_forward", fitting, 5, case.stride, keep="cache")
    args = (case.x, case.out_channels, case.stride)
    return {"refuses": refusal(student, "pad_shortcut_forward", *args)}


# ---- 4.5 ----


def scaled(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for the output of the scaled block."""
    return {"output": output(student, "scaled_block_forward", case.x, case.p, case.alpha)}


def scaled_gradients(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for all gradients; dalpha is any kind of number."""
    args = (case.x, case.p, case.alpha)
    dx, grads, dalpha = split(backward(student, "scaled_block", case.dy, args), 3)
    return {"dx and grads": [dx, by_key(grads)], "dalpha": number(dalpha, case.dy)}


def number(dalpha: Any, dy: np.ndarray) -> Any:
    """Return a number, of any type, next to the one that it is compared by: sum |dy|."""
    is_array = isinstance(dalpha, np.ndarray)
    if is_array and not dalpha.ndim and dalpha.dtype.kind in "iuf":
        dalpha = dalpha[()]
    if isinstance(dalpha, int | float | np.integer | np.floating):
        return np.array([float(dalpha), np.abs(dy).sum()])
    name = getattr(dalpha, "type_name", type(dalpha).__name__)
    what = f"an array of shape {dalpha.shape}" if is_array else f"of type {name}"
    return Failure(f"dalpha is {what}, not a number")


def scaled_follows(student: Student, case: SimpleNamespace) -> dict[str, bool]:
    """Whether the gradients are those of the student's own forward."""
    found = scaled_gradients(student, case)
    dx, grads = found["dx and grads"]
    dalpha = None if isinstance(found["dalpha"], Failure) else np.array(found["dalpha"][0])

    def y(x: Any, p: Any, alpha: Any = case.alpha) -> Any:
        return output(student, "scaled_block_forward", x, p, float(alpha))

    others = follows(case, {"dx": dx, **{f"d{key}": grads[key] for key in KEYS}}, y)
    of_alpha = is_gradient(
        lambda alpha: y(case.x, case.p, alpha),
        np.array(case.alpha, float), dalpha, case.dy, step=STEP,
    )  # fmt: skip
    return {"dx and grads": all(others.values()), "dalpha": of_alpha}


def scaled_arguments(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Look at dtypes, and whether x, p and dy are as they were."""
    args = (case.x, case.p, case.alpha)
    return {"arguments": arguments(student, "scaled_block", args, case.dy)}
