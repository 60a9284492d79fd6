"""Answers to the exercises of tutorial 1: see `tests/tools/test_exercises.py`."""


# %% 1 right: in place, in an array of its own
def tanh_backward(dy, y):
    dx = y * y
    dx *= -1
    dx += 1
    dx *= dy
    return dx


# %% 1 right: by einsum, from the two factors of 1 - y^2
def tanh_backward(dy, y):
    return np.einsum("...,...,...->...", 1 - y, 1 + y, dy)


# %% 1 right: one number after the other
def tanh_backward(dy, y):
    dx = np.empty(y.shape)
    for index in np.ndindex(y.shape):
        dx[index] = dy[index] / np.cosh(np.arctanh(y[index])) ** 2
    return dx


# %% 1 wrong: dy is used up | your tanh_backward changed its argument dy: work on a copy
def tanh_backward(dy, y):
    dy *= 1 - y**2
    return dy


# %% 1 wrong: the cache is used up | changed its argument y
def tanh_backward(dy, y):
    y **= 2
    return dy * (1 - y)


# %% 1 wrong: forgot dy | the gradient is wrong
def tanh_backward(dy, y):
    return 1 - y**2


# %% 1 wrong: takes y for x | the gradient is wrong
def tanh_backward(dy, y):
    return dy * (1 - np.tanh(y) ** 2)


# %% 1 wrong: the slope of a sigmoid | the gradient is wrong
def tanh_backward(dy, y):
    return dy * y * (1 - y)


# %% 1 wrong: float32 | returned dx of dtype float32, where float64 is asked
def tanh_backward(dy, y):
    return (dy * (1 - y**2)).astype(np.float32)


# %% 1 wrong: a list | returned a list for dx, where an array is asked
def tanh_backward(dy, y):
    return (dy * (1 - y**2)).tolist()


# %% 1 wrong: flat | returned dx of shape (60,), where (4, 3, 5) is asked
def tanh_backward(dy, y):
    return (dy * (1 - y**2)).ravel()


# %% 2 right: the loss of one element at a time, with a generator of its own, in a list
def wrong_elements(forward, backward, x, rng):
    y, cache = forward(x)
    dy = np.random.default_rng(5).uniform(1, 2, y.shape)
    dx, found = backward(dy, cache), []
    for flat in range(x.size):
        losses = []
        for step in (1e-4, -1e-4):
            moved = x.copy()
            moved.flat[flat] += step
            losses.append(np.vdot(forward(moved)[0], dy))
        slope = (losses[0] - losses[1]) / 2e-4
        if abs(dx.flat[flat] / slope - 1) > 1e-6:
            found.append(np.unravel_index(flat, x.shape))
    return found


# %% 2 right: all directions at once, as rows of np.argwhere
def wrong_elements(forward, backward, x, rng):
    y, cache = forward(x)
    dy = rng.standard_normal(y.shape)
    dx = backward(dy, cache)
    units = np.eye(x.size).reshape(-1, *x.shape)
    slopes = [directional_slope(forward, x, dy, unit) for unit in units]
    slopes = np.array(slopes).reshape(x.shape)
    return np.argwhere(abs(dx - slopes) > 1e-6 * np.maximum(abs(dx), abs(slopes)))


# %% 2 wrong: an absolute error | wrong are
def wrong_elements(forward, backward, x, rng):
    y, cache = forward(x)
    dy = rng.standard_normal(y.shape)
    dx, found = backward(dy, cache), set()
    for index in np.ndindex(x.shape):
        d = np.zeros(x.shape)
        d[index] = 1
        if abs(dx[index] - directional_slope(forward, x, dy, d)) > 1e-6:
            found.add(index)
    return found


# %% 2 wrong: a tolerance of 5e-3 | wrong are
def wrong_elements(forward, backward, x, rng):
    y, cache = forward(x)
    dy = rng.standard_normal(y.shape)
    dx, found = backward(dy, cache), set()
    for index in np.ndindex(x.shape):
        d = np.zeros(x.shape)
        d[index] = 1
        slope = directional_slope(forward, x, dy, d)
        if abs(dx[index] - slope) > 5e-3 * max(abs(dx[index]), abs(slope)):
            found.add(index)
    return found


# %% 2 wrong: a tolerance below what a difference can tell | wrong are none
def wrong_elements(forward, backward, x, rng):
    y, cache = forward(x)
    dy = rng.standard_normal(y.shape)
    dx, found = backward(dy, cache), set()
    for index in np.ndindex(x.shape):
        d = np.zeros(x.shape)
        d[index] = 1
        slope = directional_slope(forward, x, dy, d)
        if abs(dx[index] - slope) > 1e-13 * max(abs(dx[index]), abs(slope)):
            found.add(index)
    return found


# %% 2 wrong: a dy of ones | wrong are
def wrong_elements(forward, backward, x, rng):
    y, cache = forward(x)
    dy = np.ones(y.shape)
    dx, found = backward(dy, cache), set()
    for index in np.ndindex(x.shape):
        d = np.zeros(x.shape)
        d[index] = 1
        slope = directional_slope(forward, x, dy, d)
        if abs(dx[index] - slope) > 1e-6 * max(abs(dx[index]), abs(slope), 1e-3):
            found.add(index)
    return found


# %% 2 wrong: never calls the forward | centred_forward: wrong are none, found
def wrong_elements(forward, backward, x, rng):
    dy = rng.standard_normal(x.shape)
    dx = backward(dy, x)
    return {index for index in np.ndindex(x.shape) if abs(dx[index] / (dy * x)[index] - 1) > 1e-6}


# %% 2 wrong: dy in the shape of x | wrong_elements
def wrong_elements(forward, backward, x, rng):
    _, cache = forward(x)
    dy = rng.standard_normal(x.shape)
    dx, found = backward(dy, cache), set()
    for index in np.ndindex(x.shape):
        d = np.zeros(x.shape)
        d[index] = 1
        slope = directional_slope(forward, x, dy, d)
        if abs(dx[index] - slope) > 1e-6 * max(abs(dx[index]), abs(slope)):
            found.add(index)
    return found


# %% 2 wrong: leaves x moved | your wrong_elements changed its argument x
def wrong_elements(forward, backward, x, rng):
    y, cache = forward(x)
    dy = rng.standard_normal(y.shape)
    dx, found = backward(dy, cache), set()
    for index in np.ndindex(x.shape):
        x[index] += 1e-5
        ahead = (forward(x)[0] * dy).sum()
        x[index] -= 2e-5
        slope = (ahead - (forward(x)[0] * dy).sum()) / 2e-5
        if abs(dx[index] - slope) > 1e-6 * abs(slope):
            found.add(index)
    return found


# %% 2 wrong: a one-sided difference | wrong are none
def wrong_elements(forward, backward, x, rng):
    y, cache = forward(x)
    dy = rng.standard_normal(y.shape)
    dx, found = backward(dy, cache), set()
    for index in np.ndindex(x.shape):
        d = np.zeros(x.shape)
        d[index] = 1e-5
        slope = ((forward(x + d)[0] - y) * dy).sum() / 1e-5
        if abs(dx[index] - slope) > 1e-6 * max(abs(dx[index]), abs(slope)):
            found.add(index)
    return found


# %% 2 wrong: a mask | wrong are none, found
def wrong_elements(forward, backward, x, rng):
    return np.zeros(x.shape, bool)


# %% 3 right: another h, NumPy's numbers
def complex_step(f, x):
    return np.imag(f(np.complex128(complex(x, 1e-30)))) / 1e-30


# %% 3 right: from the other side, in an array without dimensions
def complex_step(f, x):
    return np.array(-f(x - 1e-100j).imag / 1e-100)


# %% 3 wrong: a central difference | the slope is off by
def complex_step(f, x):
    return (f(x + 1e-5) - f(x - 1e-5)) / 2e-5


# %% 3 wrong: a step that is not small | the slope is off by
def complex_step(f, x):
    return f(x + 1e-4j).imag / 1e-4


# %% 3 wrong: the real part | the slope is off by
def complex_step(f, x):
    return f(x + 1e-200j).real


# %% 3 wrong: the number is left complex | where a real number is asked
def complex_step(f, x):
    return f(x + 1e-200j) / 1e-200


# %% 3 wrong: no difference is left | the slope is off by
def complex_step(f, x):
    return (f(x + 1e-200) - f(x)) / 1e-200


# %% 3 wrong: divides nothing | the slope is off by
def complex_step(f, x):
    return f(x + 1e-200j).imag


# %% 3 wrong: a sign | the slope is off by
def complex_step(f, x):
    return f(x - 1e-200j).imag / 1e-200
