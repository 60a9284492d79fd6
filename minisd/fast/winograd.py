"""A convolution with kernels three rows high, with two thirds of the multiplications.

Take two neighbouring rows of the output, y_0 and y_1. A filter's three rows g_i and the four rows
d_j that they see give them in six products (each a convolution along the row, with one channel):

    y_0 = g_0 d_0 + g_1 d_1 + g_2 d_2        y_1 = g_0 d_1 + g_1 d_2 + g_2 d_3

Four do. This is Winograd's minimal filtering algorithm F(2, 3) (Winograd 1980):

    m_0 = g_0 (d_0 - d_2)                    m_1 = (g_0 + g_1 + g_2) / 2  (d_1 + d_2)
    m_3 = -g_2 (d_1 - d_3)                   m_2 = (g_0 - g_1 + g_2) / 2  (d_2 - d_1)

    y_0 = m_0 + (m_1 + m_2)                  y_1 = m_3 + (m_1 - m_2)

(put the d in and see). The sums of the filters' rows are made once for all images, those of the
images' rows once for all filters, those of the products once for all channels. Each m is then a
product of matrices (Lavin and Gray 2016, arXiv:1509.09308), four for a pair of rows instead of six.
Images lie in memory by rows, so a sum of rows is a sum of two long runs.

It is linear in every step, so the gradient of the filters comes back the same way:

    dm_0 = dy_0        dm_1 = dy_0 + dy_1        dm_2 = dy_0 - dy_1        dm_3 = dy_1
    dg_0 = s_0 + (s_1 + s_2) / 2        dg_1 = (s_1 - s_2) / 2        dg_2 = (s_1 + s_2) / 2 - s_3

where s_j is the sum over all places of dm_j times the image rows that m_j multiplies. And the
images' gradient is a convolution again.

The additions cost time as well. They pay where there are many channels, as each sum then enters
many products: see `minisd.machine.products.additions_pay`. Nothing is multiplied by more than 1, so
float32 loses next to nothing.
"""

from collections.abc import Sequence
from typing import Any

from minisd import machine
from minisd.backend import Array, array_module, one_kernel
from minisd.fast.windows import views


class RowPairs:
    """The products of `minisd.fast.direct.Direct`, two rows at a time and with fewer of them.

    Parameters
    ----------
    w : (F, C, 3, KW)
    """

    rows = 2

    def __init__(self, w: Array) -> None:
        self.KW = w.shape[3]
        self.U = filter_transform(w)

    def correlate(self, seen: Sequence[Array], y: Array) -> None:
        """Write the convolution of ``seen``, which is `Windows[part]`, into y (R, F, OW*N)."""
        (padded,) = seen
        R, F, L = y.shape
        X = views(input_transform(padded), 1, self.KW)
        m = machine.empty((2, R // 2, 2, F, L), y.dtype, y)
        machine.sum_of_products(self.U, X.reshape(self.KW, 2, R // 2, 2, *X.shape[2:]), m)
        output_transform(m.reshape(2, R, F, L), y)

    def filter_products(self, seen: Sequence[Array], dy: Array) -> Array:
        """Return the sums s of every row: (R, 2, KW, C, F), for dy (R, F, OW*N).

        ``[h, 0]`` is s_0 where h is even and s_3 where it is odd, ``[h, 1]`` s_1 and s_2.
        """
        (padded,) = seen
        R, F, _ = dy.shape
        X = views(input_transform(padded), 1, self.KW)
        s = array_module(dy).empty((R, 2, self.KW, X.shape[2], F), dy.dtype)
        s[:, 0] = machine.products_with_transpose(X[:, :R], dy)
        s[:, 1] = machine.products_with_transpose(X[:, R:], output_gradient_transform(dy))
        return s

    @staticmethod
    def filter_gradient(parts: Sequence[Array]) -> Array:
        """Return dw (F, C, 3, KW) from the results of `filter_products` for all rows."""
        pairs = [part.reshape(-1, 2, *part.shape[1:]) for part in parts]
        (s_0, s_1), (s_3, s_2) = s = machine.sum_over_rows(pairs)
        outer = (s_1 + s_2) / 2
        dg = array_module(s).stack([s_0 + outer, (s_1 - s_2) / 2, outer - s_3])
        return dg.transpose(3, 2, 0, 1)


def filter_transform(w: Array) -> Array:
    """Return the filters of m_0 and m_3, m_1 and m_2: (KW, 2, 1, 2, F, C), as ``[j, :, 0]``."""
    xp = array_module(w)
    g = xp.ascontiguousarray(w.transpose(2, 3, 0, 1))
    outer, inner = (g[0] + g[2]) / 2, g[1] / 2
    U = xp.stack([g[0], -g[2], outer + inner, outer - inner], axis=1)
    KW, _, F, C = U.shape
    return U.reshape(KW, 2, 1, 2, F, C)


def input_transform(seen: Array) -> Array:
    """Return sums of rows (2*R, C, W, N) for padded rows (R+2, C, W, N); R is even.

    First d_0 - d_2 and d_1 - d_3 of all pairs in turn, then d_1 + d_2 and d_2 - d_1.
    """
    R = len(seen) - 2
    sums = machine.empty((2 * R, *seen.shape[1:]), seen.dtype, seen)
    xp = array_module(seen)
    xp.subtract(seen[:R], seen[2:], out=sums[:R])
    sums_and_differences(seen[2 : R + 2 : 2], seen[1:R:2], sums[R::2], sums[R + 1 :: 2])
    return sums


def output_transform(m: Array, y: Array) -> None:
    """Write y (R, F, L), given m (2, R, F, L): m_0 and m_3 of all pairs in turn, m_1 and m_2."""
    sums_and_differences(m[1, 0::2], m[1, 1::2], y[0::2], y[1::2])
    y += m[0]


def output_gradient_transform(dy: Array) -> Array:
    """Return dm_1 and dm_2 of all pairs in turn, (R, F, L), for dy of the same shape."""
    dm = machine.empty(dy.shape, dy.dtype, dy)
    sums_and_differences(dy[0::2], dy[1::2], dm[0::2], dm[1::2])
    return dm


@one_kernel
def sums_and_differences(xp: Any, a: Array, b: Array, sums: Array, differences: Array) -> None:
    """Write a + b and a - b."""
    xp.add(a, b, out=sums)
    xp.subtract(a, b, out=differences)
