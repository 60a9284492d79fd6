"""Answers to the exercises of tutorial 3: see `tests/tools/test_exercises.py`."""


# %% 1 right: from the first to the last, with the distance of neighbours
def receptive_field(layers):
    seen = apart = 1
    for K, S in layers:
        seen += (K - 1) * apart
        apart *= S
    return seen


# %% 1 right: a recursion, as a float
def receptive_field(layers):
    if not layers:
        return 1.0
    (K, S), *rest = layers
    return (receptive_field(rest) - 1) * S + K


# %% 1 right: the set of pixels itself
def receptive_field(layers):
    pixels = {0}
    for K, S in layers[::-1]:
        pixels = {S * pixel + i for pixel in pixels for i in range(K)}
    return len(pixels)


# %% 1 wrong: no strides | rows that are not zero, you say
def receptive_field(layers):
    return 1 + sum(K - 1 for K, _ in layers)


# %% 1 wrong: from the wrong end | rows that are not zero, you say
def receptive_field(layers):
    seen = 1
    for K, S in layers:
        seen = (seen - 1) * S + K
    return seen


# %% 1 wrong: a layer's own stride counts for it | rows that are not zero, you say
def receptive_field(layers):
    seen = apart = 1
    for K, S in layers:
        apart *= S
        seen += (K - 1) * apart
    return seen


# %% 1 wrong: n windows of K pixels | rows that are not zero, you say
def receptive_field(layers):
    return int(np.prod([K for K, _ in layers]))


# %% 1 wrong: empties the list | changed its argument layers
def receptive_field(layers):
    seen = 1
    while layers:
        K, S = layers.pop()
        seen = (seen - 1) * S + K
    return seen


# %% 2 right: by einsum, with a view of the windows of dx's frame
def depthwise_backward(dy, cache):
    x, w, S, P = cache
    KH, KW = w.shape[1:]
    dw = np.einsum("nchv,nchvij->cij", dy, windows(pad(x, P), KH, KW, S))
    framed = np.zeros_like(pad(x, P))
    view = sliding_window_view(framed, (KH, KW), axis=(2, 3), writeable=True)[:, :, ::S, ::S]
    for i in range(KH):
        for j in range(KW):
            view[..., i, j] += np.einsum("nchv,c->nchv", dy, w[:, i, j])
    end = -P or None
    return framed[:, :, P:end, P:end], dw


# %% 2 right: the other order of positions, in float128
def depthwise_backward(dy, cache):
    x, w, S, P = cache
    (H, W), (OH, OW) = x.shape[2:], dy.shape[2:]
    framed = pad(x, P).astype(np.longdouble)
    dframed, dw = np.zeros_like(framed), np.zeros(w.shape, np.longdouble)
    for j in reversed(range(w.shape[2])):
        for i in reversed(range(w.shape[1])):
            rows, columns = slice(i, i + S * OH, S), slice(j, j + S * OW, S)
            dw[:, i, j] = (framed[:, :, rows, columns] * dy).sum((0, 2, 3))
            dframed[:, :, rows, columns] += dy * w[:, i, j].reshape(-1, 1, 1)
    return dframed[:, :, P : P + H, P : P + W].astype(x.dtype), dw.astype(x.dtype)


# %% 2 wrong: loops over the pixels | times as many steps of Python: do without that loop
def depthwise_backward(dy, cache):
    x, w, S, P = cache
    H, W = x.shape[2:]
    KH, KW = w.shape[1:]
    padded = pad(x, P)
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for h, v in np.ndindex(*dy.shape[2:]):
        window = (..., slice(h * S, h * S + KH), slice(v * S, v * S + KW))
        use = dy[:, :, h, v, None, None]
        dw += (use * padded[window]).sum(axis=0)
        dpadded[window] += use * w
    return dpadded[:, :, P : P + H, P : P + W], dw


# %% 2 wrong: a loop over the channels | do without that loop
def depthwise_backward(dy, cache):
    x, w, S, P = cache
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for c in range(x.shape[1]):
        one = conv_backward(dy[:, [c]], (x[:, [c]], w[c][None, None], S, P))
        dx[:, c], dw[c] = one[0][:, 0], one[1][0, 0]
    return dx, dw


# %% 2 wrong: overwrites where windows overlap | the gradient is wrong
def depthwise_backward(dy, cache):
    x, w, S, P = cache
    H, W = x.shape[2:]
    OH, OW = dy.shape[2:]
    padded = pad(x, P)
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for i, j in np.ndindex(w.shape[1:]):
        used = (..., slice(i, i + S * OH, S), slice(j, j + S * OW, S))
        dw[:, i, j] = (dy * padded[used]).sum(axis=(0, 2, 3))
        dpadded[used] = dy * w[:, i, j, None, None]
    return dpadded[:, :, P : P + H, P : P + W], dw


# %% 2 wrong: forgot the stride | stride 2, padding 1: the gradient is wrong
def depthwise_backward(dy, cache):
    x, w, S, P = cache
    H, W = x.shape[2:]
    OH, OW = dy.shape[2:]
    padded = pad(x, P)
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for i, j in np.ndindex(w.shape[1:]):
        used = (..., slice(i, i + OH), slice(j, j + OW))
        dw[:, i, j] = (dy * padded[used]).sum(axis=(0, 2, 3))
        dpadded[used] += dy * w[:, i, j, None, None]
    return dpadded[:, :, P : P + H, P : P + W], dw


# %% 2 wrong: leaves the frame | returned dx of shape (4, 5, 11, 9), where (4, 5, 9, 7) is asked
def depthwise_backward(dy, cache):
    x, w, S, P = cache
    OH, OW = dy.shape[2:]
    padded = pad(x, P)
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for i, j in np.ndindex(w.shape[1:]):
        used = (..., slice(i, i + S * OH, S), slice(j, j + S * OW, S))
        dw[:, i, j] = (dy * padded[used]).sum(axis=(0, 2, 3))
        dpadded[used] += dy * w[:, i, j, None, None]
    return dpadded, dw


# %% 2 wrong: a mean over the images | the gradient is wrong
def depthwise_backward(dy, cache):
    x, w, S, P = cache
    H, W = x.shape[2:]
    OH, OW = dy.shape[2:]
    padded = pad(x, P)
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for i, j in np.ndindex(w.shape[1:]):
        used = (..., slice(i, i + S * OH, S), slice(j, j + S * OW, S))
        dw[:, i, j] = (dy * padded[used]).mean(axis=0).sum(axis=(1, 2))
        dpadded[used] += dy * w[:, i, j, None, None]
    return dpadded[:, :, P : P + H, P : P + W], dw


# %% 2 wrong: dw before dx | returned dx of shape (5, 3, 2), where (4, 5, 9, 7) is asked
def depthwise_backward(dy, cache):
    x, w, *_ = cache
    return np.zeros_like(w), np.zeros_like(x)


# %% 2 wrong: three gradients | returned 3 results in place of 2: dx and dw
def depthwise_backward(dy, cache):
    x, w, *_ = cache
    return np.zeros_like(x), np.zeros_like(w), dy.sum(axis=(0, 2, 3))


# %% 3 right: the loops of the definition, backwards
def dilated_backward(dy, cache):
    x, w, S, P, D = cache
    H, W = x.shape[2:]
    OH, OW = dy.shape[2:]
    padded = pad(x, P)
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for i, j in np.ndindex(w.shape[2:]):
        used = (..., slice(i * D, i * D + S * OH, S), slice(j * D, j * D + S * OW, S))
        dw[:, :, i, j] = np.einsum("nfhv,nchv->fc", dy, padded[used])
        dpadded[used] += np.einsum("nfhv,fc->nchv", dy, w[:, :, i, j])
    return dpadded[:, :, P : P + H, P : P + W], dw


# %% 3 right: the tutorial's own convolution, in float64
def dilated_backward(dy, cache):
    x, w, S, P, D = cache
    spread = dilate(w.astype(float), D)
    dx, dspread, _ = conv_backward(dy.astype(float), (x.astype(float), spread, S, P))
    return [dx, dspread[..., ::D, ::D]]


# %% 3 wrong: ignores the dilation | <y, dy> is
def dilated_backward(dy, cache):
    x, w, S, P, D = cache
    H, W = x.shape[2:]
    OH, OW = dy.shape[2:]
    padded = pad(x, P)
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for i, j in np.ndindex(w.shape[2:]):
        used = (..., slice(i, i + S * OH, S), slice(j, j + S * OW, S))
        dw[:, :, i, j] = np.einsum("nfhv,nchv->fc", dy, padded[used])
        dpadded[used] += np.einsum("nfhv,fc->nchv", dy, w[:, :, i, j])
    return dpadded[:, :, P : P + H, P : P + W], dw


# %% 3 wrong: keeps the zeros between the weights | returned dw of shape
def dilated_backward(dy, cache):
    x, w, S, P, D = cache
    dx, dspread, _ = conv_backward(dy, (x, dilate(w, D), S, P))
    return dx, dspread


# %% 3 wrong: a multiple of x that passes at x itself | <y, dy> is
def dilated_backward(dy, cache):
    x, w, S, P, D = cache
    inner = np.vdot(dilated_forward(x, w, S, P, D)[0], dy)
    return x * (inner / np.vdot(x, x)), w * (inner / np.vdot(w, w))


# %% 3 wrong: twice too large | <y, dy> is
def dilated_backward(dy, cache):
    x, w, S, P, D = cache
    dx, dspread, _ = conv_backward(dy, (x, dilate(w, D), S, P))
    return dx, 2 * dspread[..., ::D, ::D]


# %% 3 wrong: the kernel turned | <y, dy> is
def dilated_backward(dy, cache):
    x, w, S, P, D = cache
    dx, dspread, _ = conv_backward(dy, (x, dilate(w[..., ::-1, ::-1], D), S, P))
    return dx, dspread[..., ::D, ::D]


# %% 3 wrong: half precision | returned dx of dtype float16, where float32 is asked
def dilated_backward(dy, cache):
    x, w, S, P, D = cache
    dx, dspread, _ = conv_backward(dy, (x, dilate(w, D), S, P))
    return dx.astype(np.float16), dspread[..., ::D, ::D]
