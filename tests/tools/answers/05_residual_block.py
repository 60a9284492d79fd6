"""Answers to the exercises of tutorial 5: see `tests/tools/test_exercises.py`."""


# %% 1 right: pixel by pixel
def subsample_backward(dy, shape):
    dx = np.zeros(shape)
    for n, c, h, v in np.ndindex(shape[0], shape[1], *dy.shape[2:]):
        dx[n, c, 2 * h, 2 * v] = dy[n, c, h, v]
    return dx


# %% 1 right: repeated, then masked and cut
def subsample_backward(dy, shape):
    _, C, H, W = shape
    dx = dy[:, :C].repeat(2, axis=2).repeat(2, axis=3)[:, :, :H, :W]
    dx[:, :, 1::2] = 0
    dx[..., 1::2] = 0
    return dx


# %% 1 wrong: the mean's gradient | the gradient is wrong
def subsample_backward(dy, shape):
    _, C, H, W = shape
    return dy[:, :C].repeat(2, axis=2).repeat(2, axis=3)[:, :, :H, :W] / 4


# %% 1 wrong: even sizes only | images of 7x5 pixels
def subsample_backward(dy, shape):
    N, C, H, W = shape
    if H % 2:
        return np.zeros(shape)
    dx = np.zeros((N, C, H // 2, 2, W // 2, 2))
    dx[:, :, :, 0, :, 0] = dy[:, :C]
    return dx.reshape(shape)


# %% 1 wrong: the last pixel of each tile | the gradient is wrong
def subsample_backward(dy, shape):
    dx = np.zeros(shape)
    dx[:, :, 1::2, 1::2] = dy[:, : shape[1]]
    return dx


# %% 1 wrong: the gradient of the zeros | the gradient is wrong
def subsample_backward(dy, shape):
    dx = np.zeros(shape)
    dx[:, :, ::2, ::2] = dy[:, shape[1] :]
    return dx


# %% 1 wrong: the channels of zeros, too | returned dx of shape
def subsample_backward(dy, shape):
    N, C, H, W = shape
    dx = np.zeros((N, 2 * C, H, W))
    dx[:, :, ::2, ::2] = dy
    return dx


# %% 1 wrong: of integers | returned dx of dtype int64, where float64 is asked
def subsample_backward(dy, shape):
    dx = np.zeros(shape, int)
    dx[:, :, ::2, ::2] = dy[:, : shape[1]]
    return dx


# %% 2 right: a row of lists, from the last block to the first
def gradients_by_length(jacobians, dh):
    sums = [dh]
    for J in jacobians[::-1]:
        through = [J.T @ each for each in sums]
        around = [*sums, np.zeros(len(dh))]
        sums = [around[0]] + [a + b for a, b in zip(around[1:], through, strict=True)]
    return np.stack(sums)


# %% 2 right: a polynomial in z, interpolated at the roots of one
def gradients_by_length(jacobians, dh):
    points = len(jacobians) + 1
    values = []
    for z in np.exp(2j * np.pi * np.arange(points) / points):
        along = dh.astype(complex)
        for J in reversed(jacobians):
            along = along + z * (J.T @ along)
        values.append(along)
    return np.fft.fft(np.array(values), axis=0).real / points


# %% 2 wrong: all paths, one by one | L = 54 would not end
def gradients_by_length(jacobians, dh):
    L = len(jacobians)
    sums = np.zeros((L + 1, len(dh)))
    for path in product([False, True], repeat=L):
        along = dh
        for through, J in zip(reversed(path), reversed(jacobians), strict=True):
            along = J.T @ along if through else along
        sums[sum(path)] += along
    return sums


# %% 2 wrong: from the first block on | the sum for
def gradients_by_length(jacobians, dh):
    L = len(jacobians)
    sums = np.zeros((L + 1, len(dh)))
    sums[0] = dh
    for J in jacobians:
        sums[1:] += (sums @ J)[:-1]
    return sums


# %% 2 wrong: not transposed | the sum for 1 branches should be another
def gradients_by_length(jacobians, dh):
    L = len(jacobians)
    sums = np.zeros((L + 1, len(dh)))
    sums[0] = dh
    for J in reversed(jacobians):
        sums[1:] += (sums @ J.T)[:-1]
    return sums


# %% 2 wrong: each length overwrites the one it needs | the sum for
def gradients_by_length(jacobians, dh):
    L = len(jacobians)
    sums = np.zeros((L + 1, len(dh)))
    sums[0] = dh
    for J in reversed(jacobians):
        for k in range(L):
            sums[k + 1] += J.T @ sums[k]
    return sums


# %% 2 wrong: the longest first | the sum for 0 branches should be another
def gradients_by_length(jacobians, dh):
    L = len(jacobians)
    sums = np.zeros((L + 1, len(dh)))
    sums[0] = dh
    for J in reversed(jacobians):
        sums[1:] += (sums @ J)[:-1]
    return sums[::-1]


# %% 2 wrong: no row for no branch | returned sums of shape (5, 4), where (6, 4) is asked
def gradients_by_length(jacobians, dh):
    L = len(jacobians)
    sums = np.zeros((L + 1, len(dh)))
    sums[0] = dh
    for J in reversed(jacobians):
        sums[1:] += (sums @ J)[:-1]
    return sums[1:]


# %% 2 wrong: the list is used up | changed its argument jacobians
def gradients_by_length(jacobians, dh):
    L = len(jacobians)
    sums = np.zeros((L + 1, len(dh)))
    sums[0] = dh
    while jacobians:
        sums[1:] += (sums @ jacobians.pop())[:-1]
    return sums


# %% 3 right: written out, the shortcut first
def preactivation_backward(dy, caches):
    (norm1, relu1, conv1), (norm2, relu2, conv2) = caches
    dx = dy.copy()
    d, dw2, _ = ops.conv2d_backward(dy, conv2)
    d, dgamma2, dbeta2 = ops.batchnorm2d_backward(ops.relu_backward(d, relu2), norm2)
    d, dw1, _ = ops.conv2d_backward(d, conv1)
    d, dgamma1, dbeta1 = ops.batchnorm2d_backward(ops.relu_backward(d, relu1), norm1)
    dx += d
    return dx, dgamma1, dbeta1, dw1, dgamma2, dbeta2, dw2


# %% 3 right: a recursion from the last layer to the first
def preactivation_backward(dy, caches):
    def back(d, rest):
        if not rest:
            return d, []
        norm, relu, conv = rest[-1]
        d, dw, _ = ops.conv2d_backward(d, conv)
        d, *own = ops.batchnorm2d_backward(ops.relu_backward(d, relu), norm)
        d, before = back(d, rest[:-1])
        return d, [*before, *own, dw]

    d, gradients = back(dy, caches)
    return [np.add(d, dy), *gradients]


# %% 3 wrong: forgot the shortcut | the gradient is wrong
def preactivation_backward(dy, caches):
    dh, gradients = dy, []
    for norm, relu, conv in reversed(caches):
        dh, dw, _ = ops.conv2d_backward(dh, conv)
        dh, dgamma, dbeta = ops.batchnorm2d_backward(ops.relu_backward(dh, relu), norm)
        gradients = [dgamma, dbeta, dw, *gradients]
    return dh, *gradients


# %% 3 wrong: forgot the ReLUs | the gradient is wrong
def preactivation_backward(dy, caches):
    dh, gradients = dy, []
    for norm, _, conv in reversed(caches):
        dh, dw, _ = ops.conv2d_backward(dh, conv)
        dh, dgamma, dbeta = ops.batchnorm2d_backward(dh, norm)
        gradients = [dgamma, dbeta, dw, *gradients]
    return dy + dh, *gradients


# %% 3 wrong: a shortcut around each half | the gradient is wrong
def preactivation_backward(dy, caches):
    dh, gradients = dy, []
    for norm, relu, conv in reversed(caches):
        d, dw, _ = ops.conv2d_backward(dh, conv)
        d, dgamma, dbeta = ops.batchnorm2d_backward(ops.relu_backward(d, relu), norm)
        dh = dh + d
        gradients = [dgamma, dbeta, dw, *gradients]
    return dh, *gradients


# %% 3 wrong: the halves exchanged | the gradient is wrong
def preactivation_backward(dy, caches):
    dh, gradients = dy, []
    for norm, relu, conv in reversed(caches):
        dh, dw, _ = ops.conv2d_backward(dh, conv)
        dh, dgamma, dbeta = ops.batchnorm2d_backward(ops.relu_backward(dh, relu), norm)
        gradients = [*gradients, dgamma, dbeta, dw]
    return dy + dh, *gradients


# %% 3 wrong: the bias's None, too | returned 9 results in place of 7: dx, dgamma1, dbeta1, dw1
def preactivation_backward(dy, caches):
    dh, gradients = dy, []
    for norm, relu, conv in reversed(caches):
        dh, *of_conv = ops.conv2d_backward(dh, conv)
        dh, *of_norm = ops.batchnorm2d_backward(ops.relu_backward(dh, relu), norm)
        gradients = [*of_norm, *of_conv, *gradients]
    return dy + dh, *gradients


# %% 3 wrong: adds into dy | changed its argument dy
def preactivation_backward(dy, caches):
    dh, gradients = dy, []
    for norm, relu, conv in reversed(caches):
        dh, dw, _ = ops.conv2d_backward(dh, conv)
        dh, dgamma, dbeta = ops.batchnorm2d_backward(ops.relu_backward(dh, relu), norm)
        gradients = [dgamma, dbeta, dw, *gradients]
    dy += dh
    return dy, *gradients
