"""Solutions to the exercises of tutorial 11, to be read as if they stood in it."""


def bottleneck_bytes(N, C, H, W):
    """The input, what three convolutions wrote, and one bit a number for the last ReLU.

    C + C/4 + C/4 + C channels are 2.5 arrays of the block's size, and C/32 of one the bits. That is
    for three layers; a basic block keeps 3 1/32 for two. (But C is four times as large here.)
    """
    numbers = N * H * W * (C + C // 4 + C // 4 + C)
    return 4 * numbers + N * C * H * W // 8


def lengths(L, c):
    """Fill every segment up to the same peak B: n_s = (B - s) / c, rounded down.

    The first is the longest. Without rounding they add up to B^2 / 2c, which is L for
    B = sqrt(2 c L): less than the 2 sqrt(cL) of equal segments by a factor of sqrt(2). It still
    grows like the root of L. We look for the smallest B among the peaks that there can be.
    """
    peaks = sorted(s + c * n for s in range(1, L + 1) for n in range(1, L // s + 1))
    low, high = 0, len(peaks) - 1
    while low < high:  # the larger B, the more blocks there is room for: so halve the interval
        middle = (low + high) // 2
        if sum(_filled(peaks[middle], c)) >= L:
            high = middle
        else:
            low = middle + 1
    found = _filled(peaks[low], c)
    too_many = sum(found) - L
    while too_many:  # the last segments are the ones to do without
        taken = min(too_many, found[-1])
        found[-1] -= taken
        too_many -= taken
        if found[-1] == 0:
            found.pop()
    return found


def _filled(B, c):
    """The lengths of the segments, as long as there is room for a block."""
    found, s = [], 1
    while (n := int((B - s) / c + 1e-9)) >= 1:
        found.append(n)
        s += 1
    return found


def two_levels(layers, outer, inner):
    """A chain whose layers are recomputed chains themselves.

    Outside, one layer is one segment. Its first forward keeps only its input. Its second keeps what
    the inner chain keeps, the inputs of its segments; its backward runs those again. So a block
    runs forward at most three times. What is held is about L/a + a/b + c b, with a = outer and
    b = inner. It is smallest where the three are equal, b = (L / c^2)^(1/3): then each of them is
    (c L)^(1/3). Every further level takes a higher root and costs one forward more.
    """
    segments = [layers[at : at + outer] for at in range(0, len(layers), outer)]
    return Careful([Careful(segment, inner) for segment in segments], 1)
