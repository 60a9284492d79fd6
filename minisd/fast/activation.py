"""`minisd.ops.activation` slab by slab: the rectifier, and addition."""

from collections.abc import Callable
from typing import Any

from minisd import machine
from minisd.backend import Array, array_module, one_kernel
from minisd.fast.layout import as_images, empty_like, in_order, numbers_per_slab
from minisd.fast.sources import Normalised
from minisd.ops.check import check_arrays, check_shape, check_upstream

Cache = tuple[Any, ...]


def relu_forward(x: Array, *, keep: bool = True) -> tuple[Array, Any]:
    """Return max(x, 0): see `minisd.ops.relu_forward`. The cache has one bit a number."""
    check_arrays("relu", x=x)
    return _rectified(x, None, keep)


def relu_backward(dy: Array, cache: Cache) -> Array:
    """Pass ``dy`` on where x was positive: see `minisd.ops.relu_backward`."""
    return relu_backward_in_slabs(dy, cache)[0]


def relu_backward_in_slabs(
    dy: Array, cache: Cache, finish: Callable[[slice, Array], Any] | None = None
) -> tuple[Array, list[Any]]:
    """`relu_backward`, with ``finish`` called for every slab of dx while the processor caches it.

    Parameters
    ----------
    finish : function of (which numbers, those numbers of dx), optional

    Returns
    -------
    dx : the shape of x
    list
        The results of ``finish``, in the order of the slabs.
    """
    positive, thickness, shape, dtype = cache
    xp = check_upstream("relu_backward", dy, shape, positive[0], dtype)
    dx = empty_like(dy)
    given, result = in_order(dy), in_order(dx)

    def one_slab(part: slice) -> Any:
        bits = positive[part.start // thickness]
        keep_where(given[part], xp.unpackbits(bits)[: part.stop - part.start], result[part])
        return finish(part, result[part]) if finish is not None else None

    return dx, machine.in_slabs(one_slab, dx.size, thickness, dx)


def keep_where(x: Array, mask: Array, out: Array) -> None:
    """Write ``x`` into ``out`` where ``mask`` is 1, and 0 where it is 0.

    The product would be NaN where x is infinite or NaN and the mask is 0, and NumPy takes twenty
    times as long to select as to multiply. So the bits of x are multiplied, taken as integers.
    """
    array_module(x).multiply(bits_of(x), mask, out=bits_of(out))


def bits_of(x: Array) -> Array:
    """View the bits of floats as integers of the same size. The integer 0 is the float 0."""
    return x.view(f"i{x.dtype.itemsize}")


def add_relu_forward(a: Array, b: Array | Normalised, *, keep: bool = True) -> tuple[Array, Any]:
    """Return max(a + b, 0) in one pass: see `minisd.ops.add_relu_forward`.

    ``b`` may also be a `Normalised` source of images, read slab by slab and never written.
    """
    array = as_images(b.z) if isinstance(b, Normalised) else b
    check_arrays("add_relu", a=a, b=array)
    check_shape("add_relu", "b", array, a.shape)
    return _rectified(a, b, keep)


def add(a: Array, b: Array) -> Array:
    """Return a + b; refuse to broadcast: see `minisd.ops.add`."""
    xp = check_arrays("add", a=a, b=b)
    check_shape("add", "b", b, a.shape)
    y = empty_like(a)
    first, second, result = in_order(a), in_order(b), in_order(y)

    def one_slab(part: slice) -> None:
        xp.add(first[part], second[part], out=result[part])

    machine.in_slabs(one_slab, y.size, numbers_per_slab(y), y)
    return y


@one_kernel
def add_and_rectify(xp: Any, a: Array, b: Array, zeros: Array, out: Array) -> None:
    """Write max(a + b, 0) into ``out``."""
    xp.add(a, b, out=out)
    xp.maximum(out, zeros, out=out)


def _rectified(a: Array, b: Array | Normalised | None, keep: bool) -> tuple[Array, Any]:
    """Return max(a, 0) or max(a + b, 0); the cache has packed bits, 1 where it is positive."""
    y = empty_like(a)
    xp = array_module(y)
    first, result = in_order(a), in_order(y)
    second = None if b is None or isinstance(b, Normalised) else in_order(b)
    thickness = numbers_per_slab(y)
    zeros = machine.zeros((min(thickness, y.size),), y)

    def one_slab(part: slice) -> Array | None:
        y_part = result[part]
        none = zeros[: len(y_part)]
        if isinstance(b, Normalised):
            b.read_run(part, y_part)
            add_and_rectify(y_part, first[part], none, y_part)
        elif second is not None:
            add_and_rectify(first[part], second[part], none, y_part)
        else:
            xp.maximum(first[part], none, out=y_part)
        return xp.packbits(y_part > 0) if keep else None

    positive = machine.in_slabs(one_slab, y.size, thickness, y)
    return y, (positive, thickness, y.shape, y.dtype) if keep else None
