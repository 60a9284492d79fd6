"""Answers to the exercises of tutorial 9: see `tests/tools/test_exercises.py`."""


# %% 1 right: scaled where the images are, maximum and minimum for clip
def noisy(images, rng, scale):
    xp = array_module(images)
    noise = xp.asarray(rng.normal(size=images.shape).astype("float32"))
    return xp.minimum(xp.maximum(noise * np.float32(scale) + images, 0), 1)


# %% 1 right: scaled on the host, in float64 there
def noisy(images, rng, scale):
    noise = (scale * rng.standard_normal(images.shape)).astype(images.dtype)
    xp = array_module(images)
    return xp.clip(xp.asarray(noise) + images, np.float32(0), np.float32(1)).astype(np.float32)


# %% 1 wrong: the images come to the host | waits; none is needed
def noisy(images, rng, scale):
    if isinstance(images, np.ndarray):
        return noisy_on_numpy(images, rng, scale)
    return toy.asarray(noisy_on_numpy(images.get(), rng, scale))


# %% 1 wrong: twice as many bytes | 1024 bytes; 512 will do
def noisy(images, rng, scale):
    xp = array_module(images)
    noise = xp.asarray(rng.standard_normal(images.shape))
    return xp.clip(images + scale * noise, 0, 1).astype(images.dtype)


# %% 1 wrong: float32 is drawn, which is other noise | on NumPy it must be what it was
def noisy(images, rng, scale):
    xp = array_module(images)
    noise = xp.asarray(rng.standard_normal(images.shape, dtype=images.dtype))
    return xp.clip(images + scale * noise, 0, 1)


# %% 1 wrong: not clipped | on NumPy it must be what it was
def noisy(images, rng, scale):
    xp = array_module(images)
    return images + scale * xp.asarray(rng.standard_normal(images.shape).astype(images.dtype))


# %% 1 wrong: scale 0.1 is hard-coded | on NumPy it must be what it was
def noisy(images, rng, scale):
    xp = array_module(images)
    noise = xp.asarray(rng.standard_normal(images.shape).astype(images.dtype))
    return xp.clip(images + np.float32(0.1) * noise, 0, 1)


# %% 1 wrong: for NumPy only | your noisy raised TypeError
def noisy(images, rng, scale):
    noise = rng.standard_normal(images.shape).astype(images.dtype)
    return np.clip(images + scale * noise, 0, 1)


# %% 1 wrong: two transfers | 2 transfers; only the noise travels
def noisy(images, rng, scale):
    xp = array_module(images)
    noise = rng.standard_normal(images.shape).astype(images.dtype)
    one, two = xp.asarray(noise[:1]), xp.asarray(noise[1:])
    noise = (
        one if isinstance(one, np.ndarray) else There(np.concatenate([one._numbers, two._numbers]))
    )
    noise = np.concatenate([one, two]) if isinstance(one, np.ndarray) else noise
    return xp.clip(images + scale * noise, 0, 1)


# %% 1 wrong: in place | your noisy changed its argument images: work on a copy
def noisy(images, rng, scale):
    xp = array_module(images)
    images += scale * xp.asarray(rng.standard_normal(images.shape).astype(images.dtype))
    return xp.clip(images, 0, 1)


# %% 1 wrong: back on the host | returned an array of shape (2, 1, 8, 8) for images
def noisy(images, rng, scale):
    xp = array_module(images)
    noise = xp.asarray(rng.standard_normal(images.shape).astype(images.dtype))
    found = xp.clip(images + scale * noise, 0, 1)
    return found if xp is np else found.get()


# %% 2 right: a quotient that is at most 1
def clipped_update(w, dw, lr, limit):
    xp = array_module(w, dw)
    square = (dw**2).sum()
    return w - dw * (lr * xp.minimum(1, limit * xp.maximum(square, 1e-30) ** -0.5)) * limit / limit


# %% 2 right: where instead of if
def clipped_update(w, dw, lr, limit):
    xp = array_module(w, dw)
    norm = xp.sqrt(xp.sum(dw * dw))
    factor = xp.where(norm > limit, limit / xp.maximum(norm, 1e-30), 1)
    return xp.subtract(w, lr * factor * dw)


# %% 2 wrong: Python's max | it waited 1 times
def clipped_update(w, dw, lr, limit):
    xp = array_module(w, dw)
    norm = xp.sqrt((dw * dw).sum())
    return w - lr * limit / max(norm, limit) * dw


# %% 2 wrong: as it was | it waited 2 times
def clipped_update(w, dw, lr, limit):
    return waits_twice(w, dw, lr, limit)


# %% 2 wrong: not clipped | other weights
def clipped_update(w, dw, lr, limit):
    return w - lr * dw


# %% 2 wrong: always of that length | other weights
def clipped_update(w, dw, lr, limit):
    xp = array_module(w, dw)
    return w - lr * limit / xp.maximum(xp.sqrt((dw * dw).sum()), 1e-30) * dw


# %% 2 wrong: clips each number | other weights
def clipped_update(w, dw, lr, limit):
    xp = array_module(w, dw)
    return w - lr * xp.clip(dw, -limit, limit)


# %% 2 wrong: 0 / 0 | a norm of 0.00: other weights
def clipped_update(w, dw, lr, limit):
    xp = array_module(w, dw)
    norm = xp.sqrt((dw * dw).sum())
    with np.errstate(invalid="ignore"):
        return w - lr * xp.minimum(norm, limit) / norm * dw


# %% 2 wrong: a limit of 1 is hard-coded | other weights
def clipped_update(w, dw, lr, limit):
    xp = array_module(w, dw)
    return w - lr / xp.maximum(xp.sqrt((dw * dw).sum()), 1) * dw


# %% 2 wrong: in place | your clipped_update changed its argument w
def clipped_update(w, dw, lr, limit):
    xp = array_module(w, dw)
    w -= lr * limit / xp.maximum(xp.sqrt((dw * dw).sum()), limit) * dw
    return w


# %% 2 wrong: comes to the host | other weights on the device
def clipped_update(w, dw, lr, limit):
    if isinstance(w, There):
        return There(w._numbers)
    return waits_twice(w, dw, lr, limit)


# %% 3 right: a recursion for each step, an array
def finish_times(load, step, buffers):
    def loaded(k):
        before = loaded(k - 1) if k else 0
        return max(before, done(k - buffers)) + load[k]

    def done(k):
        if k not in known:
            known[k] = max(loaded(k), done(k - 1)) + step[k]
        return known[k]

    known = dict.fromkeys(range(-buffers - 1, 0), 0)
    return np.array([done(k) for k in range(len(load))])


# %% 3 right: moment by moment
def finish_times(load, step, buffers):
    now, done, ready, loading, running = 0, [], 0, None, None
    begun = 0
    while len(done) < len(load):
        if running is not None and running == now:
            done.append(now)
            running = None
        if loading is not None and loading == now:
            ready += 1
            loading = None
        if loading is None and begun < len(load) and begun - len(done) < buffers:
            loading = now + load[begun]
            begun += 1
        if running is None and len(done) < ready:
            running = now + step[len(done)]
        now += 1
    return done


# %% 3 wrong: they take turns | 2 buffers: steps end at
def finish_times(load, step, buffers):
    return np.cumsum(np.add(load, step)).tolist()


# %% 3 wrong: endless buffers | 1 buffers: steps end at
def finish_times(load, step, buffers):
    loaded, now, done = np.cumsum(load).tolist(), 0, []
    for ready, needs in zip(loaded, step, strict=True):
        now = max(now, ready) + needs
        done.append(now)
    return done


# %% 3 wrong: a buffer is free when its step begins | 1 buffers: steps end at
def finish_times(load, step, buffers):
    loaded, done = 0, []
    for k in range(len(load)):
        free = done[k - buffers] - step[k - buffers] if k >= buffers else 0
        loaded = max(loaded, free) + load[k]
        done.append(max(loaded, done[-1] if done else 0) + step[k])
    return done


# %% 3 wrong: one buffer more than there are | 1 buffers: steps end at
def finish_times(load, step, buffers):
    loaded, done = 0, []
    for k in range(len(load)):
        free = done[k - buffers - 1] if k > buffers else 0
        loaded = max(loaded, free) + load[k]
        done.append(max(loaded, done[-1] if done else 0) + step[k])
    return done


# %% 3 wrong: the end only | returned an int for times, where a list is asked
def finish_times(load, step, buffers):
    return sum(load) + sum(step)


# %% 3 wrong: with 0 | steps end at
def finish_times(load, step, buffers):
    loaded, done = 0, [0]
    for k in range(len(load)):
        free = done[k + 1 - buffers] if k >= buffers else 0
        loaded = max(loaded, free) + load[k]
        done.append(max(loaded, done[-1]) + step[k])
    return done


# %% 3 wrong: the list is used up | changed its argument load
def finish_times(load, step, buffers):
    done = []
    while load:
        done.append((done[-1] if done else 0) + load.pop(0))
    return done
