"""Answers to the exercises of tutorial 7: see `tests/tools/test_exercises.py`."""


# %% 1 right: the square of a cosine, for arrays
def warmup_cosine(epoch, lr, epochs, warmup):
    half = np.pi / 2 * np.maximum(epoch - warmup, 0) / (epochs + 1 - warmup)
    return lr * np.cos(half) ** 2 * np.minimum(1, epoch / max(warmup, 1) if warmup else 1)


# %% 1 right: the real part of a turning number, in an array without dimensions
def warmup_cosine(epoch, lr, epochs, warmup):
    if epoch < warmup:
        return np.array(epoch * lr / warmup)
    turned = np.exp(1j * np.pi / (epochs + 1 - warmup)) ** (epoch - warmup)
    return np.array((1 + turned.real) / 2 * lr)


# %% 1 wrong: down to 0 in the last epoch | the last epoch has a rate above 0
def warmup_cosine(epoch, lr, epochs, warmup):
    if epoch <= warmup:
        return lr * epoch / warmup
    return lr * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup))) / 2


# %% 1 wrong: a straight fall | the first step down is that of a cosine
def warmup_cosine(epoch, lr, epochs, warmup):
    if epoch <= warmup:
        return lr * epoch / warmup
    return lr * (1 - (epoch - warmup) / (epochs + 1 - warmup))


# %% 1 wrong: a quarter of a cosine | as far below
def warmup_cosine(epoch, lr, epochs, warmup):
    if epoch <= warmup:
        return lr * epoch / warmup
    return lr * math.cos(math.pi / 2 * (epoch - warmup) / (epochs + 1 - warmup))


# %% 1 wrong: the ramp begins at 0 | the ramp is
def warmup_cosine(epoch, lr, epochs, warmup):
    if epoch <= warmup:
        return lr * (epoch - 1) / warmup
    return lr * (1 + math.cos(math.pi * (epoch - warmup) / (epochs + 1 - warmup))) / 2


# %% 1 wrong: the fall begins in epoch 0 | as far below
def warmup_cosine(epoch, lr, epochs, warmup):
    if epoch <= warmup:
        return lr * epoch / warmup
    return lr * (1 + math.cos(math.pi * epoch / (epochs + 1))) / 2


# %% 1 wrong: right at its ends and in its middle only | no cosine in between
def warmup_cosine(epoch, lr, epochs, warmup):
    if epoch <= warmup:
        return lr * epoch / warmup
    n, k = epochs + 1 - warmup, epoch - warmup
    first = (1 - math.cos(math.pi / n)) / 2
    return lr * (1 - first - (1 - 2 * first) * (k - 1) / (n - 2))


# %% 1 wrong: no warm-up at all fails | your warmup_cosine raised ZeroDivisionError
def warmup_cosine(epoch, lr, epochs, warmup):
    ramp = epoch / warmup
    fall = (1 + math.cos(math.pi * (epoch - warmup) / (epochs + 1 - warmup))) / 2
    return lr * min(ramp, fall if epoch > warmup else 1)


# %% 1 wrong: the list of all rates | returned a list for rate, where a real number is asked
def warmup_cosine(epoch, lr, epochs, warmup):
    return [lr] * epochs


# %% 2 right: a child of the seed, split by NumPy
def batches_of(seed, epoch, count, batch_size, skip=0):
    child = np.random.SeedSequence(seed, spawn_key=(epoch,))
    order = np.random.Generator(np.random.PCG64(child)).permutation(count)
    return np.array_split(order, range(batch_size, count, batch_size))[skip:]


# %% 2 right: sorted by a hash, in lists
def batches_of(seed, epoch, count, batch_size, skip=0):
    import hashlib

    def key(image):
        return hashlib.sha256(f"{seed}, {epoch}, {image}".encode()).digest()

    order = sorted(range(count), key=key)
    batches = []
    for first in range(0, count, batch_size):
        batches.append(order[first : first + batch_size])
    return tuple(batches[skip:])


# %% 2 wrong: seed + epoch | different orders
def batches_of(seed, epoch, count, batch_size, skip=0):
    order = np.random.default_rng(seed + epoch).permutation(count)
    return [order[i : i + batch_size] for i in range(skip * batch_size, count, batch_size)]


# %% 2 wrong: digits put together | different orders
def batches_of(seed, epoch, count, batch_size, skip=0):
    order = np.random.default_rng(int(f"{seed}{epoch}")).permutation(count)
    return [order[i : i + batch_size] for i in range(skip * batch_size, count, batch_size)]


# %% 2 wrong: a thousand epochs, and then the next seed's | different orders
def batches_of(seed, epoch, count, batch_size, skip=0):
    order = np.random.default_rng(1000 * seed + epoch).permutation(count)
    return [order[i : i + batch_size] for i in range(skip * batch_size, count, batch_size)]


# %% 2 wrong: one generator for all | after skip=4 the rest of the same epoch
def batches_of(seed, epoch, count, batch_size, skip=0, rng=np.random.default_rng(1)):
    order = rng.permutation(count)
    return [order[i : i + batch_size] for i in range(skip * batch_size, count, batch_size)]


# %% 2 wrong: drops the last batch | ten batches of 10 and one of 3
def batches_of(seed, epoch, count, batch_size, skip=0):
    order = np.random.default_rng([seed, epoch]).permutation(count)
    whole = order[: count // batch_size * batch_size].reshape(-1, batch_size)
    return list(whole[skip:])


# %% 2 wrong: skips images | after skip=4 the rest of the same epoch
def batches_of(seed, epoch, count, batch_size, skip=0):
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return [order[i : i + batch_size] for i in range(skip, count, batch_size)]


# %% 2 wrong: draws with replacement | every image once
def batches_of(seed, epoch, count, batch_size, skip=0):
    order = np.random.default_rng([seed, epoch]).integers(0, count, count)
    return [order[i : i + batch_size] for i in range(skip * batch_size, count, batch_size)]


# %% 2 wrong: turned, not shuffled | follow the one before: no shuffle
def batches_of(seed, epoch, count, batch_size, skip=0):
    order = np.roll(np.arange(count), np.random.default_rng([seed, epoch]).integers(1000 * count))
    if seed * epoch % 2:
        order = np.roll(order[::-1][::-1], 7 * seed + epoch)
    order[[seed, epoch % 50 + 20]] = order[[epoch % 50 + 20, seed]]
    return [order[i : i + batch_size] for i in range(skip * batch_size, count, batch_size)]


# %% 2 wrong: a generator of batches | returned a generator for batches, where a list is asked
def batches_of(seed, epoch, count, batch_size, skip=0):
    order = np.random.default_rng([seed, epoch]).permutation(count)
    for i in range(skip * batch_size, count, batch_size):
        yield order[i : i + batch_size]


# %% 3 right: counted, with factorials
def compare(wrong_a, wrong_b):
    N = len(wrong_a)
    b = sum(1 for one, other in zip(wrong_a, wrong_b, strict=True) if one and not other)
    c = sum(1 for one, other in zip(wrong_a, wrong_b, strict=True) if other and not one)
    tosses = b + c
    p_value = sum(
        math.factorial(tosses) / math.factorial(k) / math.factorial(tosses - k) / 2**tosses
        for k in range(tosses + 1)
        if abs(2 * k - tosses) >= abs(b - c)
    )
    return (b - c) / N, math.sqrt((b + c) / N**2 - (b - c) ** 2 / N**3), p_value


# %% 3 right: the standard deviation of d, a list
def compare(wrong_a, wrong_b):
    d = np.subtract(wrong_a, wrong_b, dtype=float)
    split = {int((d > 0).sum()), int((d < 0).sum())}
    tosses = int(abs(d).sum())
    row = np.ones(1)
    for _ in range(tosses):
        row = (np.append(row, 0) + np.append(0, row)) / 2
    return [d.mean(), d.std() / np.sqrt(d.size), min(2 * row[: min(split) + 1].sum(), 1)]


# %% 3 wrong: unpaired | that would hold for different test images
def compare(wrong_a, wrong_b):
    n, (a, b) = len(wrong_a), (wrong_a.mean(), wrong_b.mean())
    return a - b, math.sqrt((a * (1 - a) + b * (1 - b)) / n), 1.0


# %% 3 wrong: one-sided | the p-value is
def compare(wrong_a, wrong_b):
    d = wrong_a.astype(int) - wrong_b
    disagree, fewer = np.count_nonzero(d), min((d > 0).sum(), (d < 0).sum())
    tail = sum(math.comb(disagree, k) for k in range(fewer + 1)) / 2**disagree
    return d.mean(), d.std() / math.sqrt(len(d)), tail


# %% 3 wrong: above 1 where both are equal | no difference at all
def compare(wrong_a, wrong_b):
    d = wrong_a.astype(int) - wrong_b
    disagree, fewer = np.count_nonzero(d), min((d > 0).sum(), (d < 0).sum())
    tail = sum(math.comb(disagree, k) for k in range(fewer + 1)) / 2**disagree
    return d.mean(), d.std() / math.sqrt(len(d)), 2 * tail


# %% 3 wrong: a normal distribution | the p-value is
def compare(wrong_a, wrong_b):
    d = wrong_a.astype(int) - wrong_b
    b, c = (d > 0).sum(), (d < 0).sum()
    z = abs(b - c) / math.sqrt(b + c) if b + c else 0
    return d.mean(), d.std() / math.sqrt(len(d)), math.erfc(z / math.sqrt(2))


# %% 3 wrong: the deviation of one image | the standard error is
def compare(wrong_a, wrong_b):
    d = wrong_a.astype(int) - wrong_b
    disagree, fewer = np.count_nonzero(d), min((d > 0).sum(), (d < 0).sum())
    tail = sum(math.comb(disagree, k) for k in range(fewer + 1)) / 2**disagree
    return d.mean(), d.std(), min(1.0, 2 * tail)


# %% 3 wrong: B minus A | A errs on 7 of 400 images more
def compare(wrong_a, wrong_b):
    d = wrong_b.astype(int) - wrong_a
    disagree, fewer = np.count_nonzero(d), min((d > 0).sum(), (d < 0).sum())
    tail = sum(math.comb(disagree, k) for k in range(fewer + 1)) / 2**disagree
    return d.mean(), d.std() / math.sqrt(len(d)), min(1.0, 2 * tail)


# %% 3 wrong: subtracts truth values | your compare raised TypeError
def compare(wrong_a, wrong_b):
    return (wrong_a - wrong_b).mean(), 0.0, 1.0
