"""Softmax and cross-entropy in one, with the gradient that makes them belong together."""

from typing import Any

import numpy as np

from minisd.backend import Array, array_module
from minisd.ops.check import check_arrays, check_labels, check_ndim, whole_number
from minisd.ops.sums import sum_over


@np.errstate(under="ignore")  # exp(-1000) is 0, and that is right
def softmax_cross_entropy(
    logits: Array, labels: Array, *, labels_are_checked: bool = False, of: int | None = None
) -> tuple[Any, Array]:
    """Mean cross-entropy of the softmax of ``logits`` against ``labels``, and its gradient.

        p = exp(logits) / sum(exp(logits))      loss = mean over n of -log p[n, labels[n]]
        dlogits = (p - onehot(labels)) / N

    The row's maximum is taken off first, which changes nothing but keeps ``exp`` from overflowing.

    Parameters
    ----------
    logits : (N, K)
        Scores, any real numbers.
    labels : (N,), integers
        The right class of each image, 0 to K - 1.
    labels_are_checked : bool
        They were, on the host: to look at them on a GPU is to wait for it. A label that is none
        is not noticed then.
    of : int, optional
        Images of the whole batch, if these are a part of it: both results are then the part's share
        of the whole. None: N.

    Returns
    -------
    loss : scalar of the logits' dtype
        On a GPU a 0-d array, so that nothing waits for it until it is asked for.
    dlogits : (N, K)
        Gradient of ``loss``.

    Raises
    ------
    TypeError, ValueError
        If labels are not integers, not (N,), or not all between 0 and K - 1.

    Examples
    --------
    >>> import numpy as np
    >>> loss, dlogits = softmax_cross_entropy(np.zeros((1, 4)), np.array([2]))
    >>> bool(np.isclose(loss, np.log(4)))  # no preference among four classes
    True
    >>> dlogits.tolist()
    [[0.25, 0.25, -0.75, 0.25]]
    """
    xp = check_arrays("softmax_cross_entropy", logits=logits)
    check_ndim("softmax_cross_entropy", "logits", logits, "NK")
    array_module(logits, labels)  # refuses a mix of NumPy and CuPy
    if not labels_are_checked:
        check_labels(labels, *logits.shape)
    N = len(labels) if of is None else whole_number("softmax_cross_entropy: of", of, len(labels))

    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - xp.log(sum_over(xp.exp(shifted), axis=1)[:, None])
    image = xp.arange(len(labels))
    loss = -sum_over(log_p[image, labels], axis=0) / N
    dlogits = xp.exp(log_p)
    dlogits[image, labels] -= 1
    dlogits /= N
    return loss, dlogits
