"""Answers to the exercises of tutorial 10: see `tests/tools/test_exercises.py`."""


# %% 1 right: ask the view
def patches(x, K, S):
    view = sliding_window_view(x, (K, K), axis=(2, 3))[:, :, ::S, ::S]
    return view.shape, view.strides


# %% 1 right: measured with an index, in lists
def patches(x, K, S):
    N, C, H, W = x.shape
    row, column = x[:, :, 1:].strides[2], x.strides[3]
    shape = [N, C, len(range(0, H - K + 1, S)), len(range(0, W - K + 1, S)), K, K]
    return [shape, [*x.strides[:2], *x[:, :, ::S, ::S].strides[2:], row, column]]


# %% 1 wrong: as if it were contiguous | strides are
def patches(x, K, S):
    N, C, H, W = x.shape
    shape = N, C, (H - K) // S + 1, (W - K) // S + 1, K, K
    b = x.itemsize
    return shape, (C * H * W * b, H * W * b, S * W * b, S * b, W * b, b)


# %% 1 wrong: float32 is hard-coded | strides are
def patches(x, K, S):
    N, C, H, W = x.shape
    shape = N, C, (H - K) // S + 1, (W - K) // S + 1, K, K
    image, channel, row, _ = x.strides
    return shape, (image, channel, S * row, 4 * S, row, 4)


# %% 1 wrong: forgot the stride | strides are
def patches(x, K, S):
    N, C, H, W = x.shape
    shape = N, C, (H - K) // S + 1, (W - K) // S + 1, K, K
    return shape, (*x.strides, *x.strides[2:])


# %% 1 wrong: the stride within a window | strides are
def patches(x, K, S):
    N, C, H, W = x.shape
    shape = N, C, (H - K) // S + 1, (W - K) // S + 1, K, K
    image, channel, row, column = x.strides
    return shape, (image, channel, row, column, S * row, S * column)


# %% 1 wrong: one window too many | shape is
def patches(x, K, S):
    N, C, H, W = x.shape
    shape = N, C, -(-(H - K) // S) + 1, -(-(W - K) // S) + 1, K, K
    image, channel, row, column = x.strides
    return shape, (image, channel, S * row, S * column, row, column)


# %% 1 wrong: counted in numbers | strides are
def patches(x, K, S):
    N, C, H, W = x.shape
    shape = N, C, (H - K) // S + 1, (W - K) // S + 1, K, K
    image, channel, row, column = (stride // x.itemsize for stride in x.strides)
    return shape, (image, channel, S * row, S * column, row, column)


# %% 1 wrong: the view itself | in place of shape and strides
def patches(x, K, S):
    return sliding_window_view(x, (K, K), axis=(2, 3))[:, :, ::S, ::S]


# %% 2 right: position by position
def average_backward(dy, K):
    H, C, W, N = dy.shape
    dx = np.empty((K * H, C, K * W, N), dy.dtype)
    for i in range(K):
        for j in range(K):
            np.divide(dy, K**2, out=dx[i::K, :, j::K])
    return dx


# %% 2 right: a view that is copied once, in its own order
def average_backward(dy, K):
    H, C, W, N = dy.shape
    share = dy * dy.dtype.type(1 / K**2)
    return np.broadcast_to(share[:, None, :, :, None], (H, K, C, W, K, N)).reshape(
        H * K, C, W * K, N
    )


# %% 2 wrong: repeated twice | times the size of dy is allocated
def average_backward(dy, K):
    return (dy / K**2).repeat(K, axis=0).repeat(K, axis=2)


# %% 2 wrong: by another order, and back | times the size of dy is allocated
def average_backward(dy, K):
    dy = as_images(dy)
    _, cache = ops.avg_pool2d_forward(np.zeros((*dy.shape[:2], 8 * K, 6 * K), dy.dtype), K)
    return by_rows(ops.avg_pool2d_backward(dy, cache)).copy()


# %% 2 wrong: divided by K | K = 2: not the gradient
def average_backward(dy, K):
    H, C, W, N = dy.shape
    dx = np.empty((H * K, C, W * K, N), dy.dtype)
    dx.reshape(H, K, C, W, K, N)[...] = (dy / K)[:, None, :, :, None]
    return dx


# %% 2 wrong: windows of 2 are hard-coded | K = 3: not the gradient
def average_backward(dy, K):
    H, C, W, N = dy.shape
    dx = np.empty((H * K, C, W * K, N), dy.dtype)
    dx.reshape(H, K, C, W, K, N)[...] = (dy / 4)[:, None, :, :, None]
    return dx


# %% 2 wrong: windows side by side, not apart | K = 2: not the gradient
def average_backward(dy, K):
    H, C, W, N = dy.shape
    dx = np.empty((H * K, C, W * K, N), dy.dtype)
    dx.reshape(K, H, C, K, W, N)[...] = (dy / K**2)[None, :, :, None]
    return dx


# %% 2 wrong: one pixel gets it all | K = 2: not the gradient
def average_backward(dy, K):
    H, C, W, N = dy.shape
    dx = np.zeros((H * K, C, W * K, N), dy.dtype)
    dx[::K, :, ::K] = dy
    return dx


# %% 2 wrong: not yet joined | returned dx of shape
def average_backward(dy, K):
    return np.broadcast_to((dy / K**2)[:, None], (len(dy), K, *dy.shape[1:]))


# %% 2 wrong: divides the caller's | changed its argument dy
def average_backward(dy, K):
    H, C, W, N = dy.shape
    dy /= K**2
    dx = np.empty((H * K, C, W * K, N), dy.dtype)
    dx.reshape(H, K, C, W, K, N)[...] = dy[:, None, :, :, None]
    return dx


# %% 3 right: row by row and pixel by pixel, rectangles of the frame
def strided(frame, w, S):
    height, C, width, N = frame.shape
    F, _, K, _ = w.shape
    OH, OW = (height - K) // S + 1, (width - K) // S + 1
    y, W_j = np.zeros((OH, OW, F, N), frame.dtype), by_column(w)
    M = frame.reshape(height * C, width * N)
    for h in range(OH):
        for v in range(OW):
            for j in range(K):
                at = (S * v + j) * N
                y[h, v] += W_j[j] @ M[S * h * C : (S * h + K) * C, at : at + N]
    return y


# %% 3 right: one position of the kernel after the other
def strided(frame, w, S):
    height, _, width, _ = frame.shape
    K = w.shape[2]
    OH, OW = (height - K) // S + 1, (width - K) // S + 1
    y = 0
    for i, j in np.ndindex(K, K):
        seen = frame[i : i + S * OH : S, :, j : j + S * OW : S].transpose(0, 2, 1, 3)
        y = y + np.matmul(w[:, :, i, j], seen)
    return y


# %% 3 wrong: copies the windows | are windows copied?
def strided(frame, w, S):
    K = w.shape[2]
    view = sliding_window_view(frame, (K, K), axis=(0, 2))[::S, :, ::S]  # h, c, v, n, i, j
    return np.tensordot(view, w, ((1, 4, 5), (1, 2, 3))).transpose(0, 1, 3, 2)


# %% 3 wrong: copies the rows of windows | are windows copied?
def strided(frame, w, S):
    K, F = w.shape[2], len(w)
    view = sliding_window_view(frame, (K, K), axis=(0, 2))[::S, :, ::S]
    X = view.transpose(0, 2, 1, 4, 5, 3)
    X = X.reshape(*X.shape[:2], -1, X.shape[-1])
    return w.reshape(F, -1) @ X


# %% 3 wrong: forgot the stride of columns | S = 2: not the convolution
def strided(frame, w, S):
    height, C, width, N = frame.shape
    K = w.shape[2]
    row, channel, pixel, number = frame.strides
    shape = K, (height - K) // S + 1, (width - K) // S + 1, K * C, N
    X = as_strided(frame, shape, (pixel, S * row, pixel, channel, number))
    return sum(W @ x for W, x in zip(by_column(w), X, strict=True))


# %% 3 wrong: the kernel turned | S = 1: not the convolution
def strided(frame, w, S):
    height, C, width, N = frame.shape
    K = w.shape[2]
    row, channel, pixel, number = frame.strides
    shape = K, (height - K) // S + 1, (width - K) // S + 1, K * C, N
    X = as_strided(frame, shape, (pixel, S * row, S * pixel, channel, number))
    return sum(W @ x for W, x in zip(by_column(w[..., ::-1, ::-1]), X, strict=True))


# %% 3 wrong: the first column of the kernel only | S = 1: not the convolution
def strided(frame, w, S):
    height, C, width, N = frame.shape
    K = w.shape[2]
    row, channel, pixel, number = frame.strides
    shape = K, (height - K) // S + 1, (width - K) // S + 1, K * C, N
    X = as_strided(frame, shape, (pixel, S * row, S * pixel, channel, number))
    return by_column(w)[0] @ X[0]


# %% 3 wrong: by rows | returned y of shape (13, 4, 12, 64), where (13, 12, 4, 64) is asked
def strided(frame, w, S):
    height, C, width, N = frame.shape
    K = w.shape[2]
    row, channel, pixel, number = frame.strides
    shape = K, (height - K) // S + 1, (width - K) // S + 1, K * C, N
    X = as_strided(frame, shape, (pixel, S * row, S * pixel, channel, number))
    return sum(W @ x for W, x in zip(by_column(w), X, strict=True)).swapaxes(1, 2)
