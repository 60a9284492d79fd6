"""Answers to the exercises of tutorial 11: see `tests/tools/test_exercises.py`."""


# %% 1 right: array by array
def bottleneck_bytes(N, C, H, W):
    one = N * C * H * W
    arrays = {"x": one, "z1": one / 4, "z2": one / 4, "z3": one}
    return sum(4 * numbers for numbers in arrays.values()) + one / 8


# %% 1 right: in units of one array
def bottleneck_bytes(N, C, H, W):
    return np.zeros((N, C, H, W), np.float32).nbytes * (2.5 + 1 / 32)


# %% 1 wrong: forgot the bits | measured
def bottleneck_bytes(N, C, H, W):
    return 4 * N * H * W * (C + C // 4 + C // 4 + C)


# %% 1 wrong: the basic block's | measured
def bottleneck_bytes(N, C, H, W):
    return int(4 * N * C * H * W * (3 + 1 / 32))


# %% 1 wrong: forgot the input | measured
def bottleneck_bytes(N, C, H, W):
    return 4 * N * H * W * (C // 4 + C // 4 + C) + N * C * H * W // 8


# %% 1 wrong: layer by layer | measured
def bottleneck_bytes(N, C, H, W):
    return int(4 * N * H * W * (C + 3 * C // 4 + 3 * C // 4 + C))


# %% 1 wrong: float64 | measured
def bottleneck_bytes(N, C, H, W):
    return 8 * N * H * W * (C + C // 4 + C // 4 + C) + N * C * H * W // 8


# %% 1 wrong: a byte a number for the ReLU | measured
def bottleneck_bytes(N, C, H, W):
    return 4 * N * H * W * (C + C // 4 + C // 4 + C) + N * C * H * W


# %% 1 wrong: one part after the other | returned a tuple for bytes, where a real number is asked
def bottleneck_bytes(N, C, H, W):
    return 4 * N * C * H * W, N * C * H * W // 8


# %% 2 right: the last segment first, an array
def lengths(L, c):
    def room(B):
        return [int((B - s) / c + 1e-9) for s in range(1, L + 1) if B - s >= c - 1e-9]

    peaks = sorted({s + c * n for s in range(1, L + 1) for n in range(1, L // s + 2)})
    found = room(next(B for B in peaks if sum(room(B)) >= L))
    while sum(found) > L:
        found[-1] -= 1
        found = [n for n in found if n]
    return np.array(found)


# %% 2 right: each block goes where it costs least
def lengths(L, c):
    found = []
    for _ in range(L):
        costs = [s + c * (n + 1) for s, n in enumerate(found, start=1)] + [len(found) + 1 + c]
        cheapest = int(np.argmin(costs))
        if cheapest == len(found):
            found.append(0)
        found[cheapest] += 1
    return tuple(found)


# %% 2 wrong: equal segments | is possible
def lengths(L, c):
    n = max(1, round((L / c) ** 0.5))
    return [n] * (L // n) + ([L % n] if L % n else [])


# %% 2 wrong: one segment | is possible
def lengths(L, c):
    return [L]


# %% 2 wrong: nearly the smallest peak | is possible
def lengths(L, c):
    B, found = (2 * c * L) ** 0.5 + c + 0.9, []
    while sum(found) < L:
        found.append(min(max(1, int((B - len(found) - 1) / c)), L - sum(found)))
    return found


# %% 2 wrong: the shortest first | is possible
def lengths(L, c):
    found = []
    for _ in range(L):
        costs = [s + c * (n + 1) for s, n in enumerate(found, start=1)] + [len(found) + 1 + c]
        cheapest = int(np.argmin(costs))
        if cheapest == len(found):
            found.append(0)
        found[cheapest] += 1
    return found[::-1]


# %% 2 wrong: too few blocks | blocks instead of
def lengths(L, c):
    n = int((L / c) ** 0.5)
    return [n] * (L // n - 1)


# %% 2 wrong: empty segments | a segment has at least one block
def lengths(L, c):
    return [L, 0]


# %% 2 wrong: their number | returned an int for lengths, where a list is asked
def lengths(L, c):
    return round((2 * L / c) ** 0.5)


# %% 3 right: a chain of its own kind
class TwoLevels(Careful):
    def __init__(self, layers, outer, inner):
        super().__init__(layers, outer)
        self.inner = inner

    def backward(self, dy):
        for segment, saved in reversed(self.take()):
            again = Careful(segment, self.inner)
            self.again([again], saved)
            dy = again.backward(dy)
        return dy


def two_levels(layers, outer, inner):
    return TwoLevels(layers, outer, inner)


# %% 3 right: made in another order
def two_levels(layers, outer, inner):
    inside = []
    for first in reversed(range(0, len(layers), outer)):
        inside.insert(0, Careful(layers[first : first + outer], inner))
    return Careful(inside, k=1)


# %% 3 wrong: one level | arrays; one level needs
def two_levels(layers, outer, inner):
    return Careful(layers, inner)


# %% 3 wrong: statistics move again | are not those of the plain chain
def two_levels(layers, outer, inner):
    segments = [layers[at : at + outer] for at in range(0, len(layers), outer)]
    return Recomputed([Recomputed(segment, inner) for segment in segments], 1)


# %% 3 wrong: careful outside only | are not those of the plain chain
def two_levels(layers, outer, inner):
    segments = [layers[at : at + outer] for at in range(0, len(layers), outer)]
    return Careful([Recomputed(segment, inner) for segment in segments], 1)


# %% 3 wrong: nothing is recomputed | arrays; one level needs
def two_levels(layers, outer, inner):
    return Sequential(*layers)


# %% 3 wrong: the inner level keeps all | arrays; one level needs
def two_levels(layers, outer, inner):
    segments = [layers[at : at + outer] for at in range(0, len(layers), outer)]
    return Careful([Sequential(*segment) for segment in segments], 1)


# %% 3 wrong: 6 and 2 are hard-coded | are outer and inner used?
def two_levels(layers, outer, inner):
    segments = [layers[at : at + 6] for at in range(0, len(layers), 6)]
    return Careful([Careful(segment, 2) for segment in segments], 1)


# %% 3 wrong: a third level | no block needs more than 3 forwards
def two_levels(layers, outer, inner):
    segments = [layers[at : at + outer] for at in range(0, len(layers), outer)]
    return Careful([Careful([Careful(segment, inner)], 1) for segment in segments], 1)


# %% 3 wrong: the layers are handed back | returned a list for layer, where a Layer is asked
def two_levels(layers, outer, inner):
    return [Careful(layers[at : at + outer], inner) for at in range(0, len(layers), outer)]
