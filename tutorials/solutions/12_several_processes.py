"""Solutions to the exercises of tutorial 12, to be read as if they stood in it."""


def factor(mine, whole, ranks):
    """An image of this rank weighs factor / (ranks mine) in the average; it should 1 / whole."""
    return ranks * mine / whole


def without(whole, part):
    """Chan's formula for whole = rest + part, solved for the rest.

    The mean moves away from that of the part. The squared deviations from the mean of the rest are
    those of the whole minus those of the part, and each of the two is its own variance and the
    square of a small difference. (So it is pooled_moments of the whole and a part of count -M_b.)
    """
    (M, mean, var), (M_part, mean_part, var_part) = whole, part
    M_rest = M - M_part
    mean_rest = mean + (mean - mean_part) * (M_part / M_rest)
    squares = M * (var + (mean - mean_rest) ** 2)
    squares_part = M_part * (var_part + (mean_part - mean_rest) ** 2)
    return M_rest, mean_rest, (squares - squares_part) / M_rest


def ring_sum(mine, rank, ranks, send):
    """Two rounds of ranks - 1 steps, in each of which a rank hands on one piece.

    In the first round piece p begins at rank p, and each rank adds its own share before it hands
    the piece on. After it, rank r has piece r + 1 complete. Each piece was added up in one order
    and is then only copied, so all ranks have the same bits. Handed on are 2 (R - 1) / R arrays.
    """
    pieces = np.array_split(mine, ranks)
    for step in range(ranks - 1):
        arrives = (rank - step - 1) % ranks
        pieces[arrives] = send(pieces[(rank - step) % ranks]) + pieces[arrives]
    for step in range(ranks - 1):
        pieces[(rank - step) % ranks] = send(pieces[(rank - step + 1) % ranks])
    return np.concatenate(pieces)
