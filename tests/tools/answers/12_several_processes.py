"""Answers to the exercises of tutorial 12: see `tests/tools/test_exercises.py`."""


# %% 1 right: this part against the mean part
def factor(mine, whole, ranks):
    mean_part = whole / ranks
    return mine / mean_part


# %% 1 right: what an image weighs and what it should
def factor(mine, whole, ranks):
    weighs, should = 1 / ranks / mine, 1 / whole
    return np.float64(should / weighs)


# %% 1 wrong: nothing, as for even parts | 10 images on 3 ranks: not the gradient
def factor(mine, whole, ranks):
    return 1.0


# %% 1 wrong: right if gradients are added up | 12 images on 3 ranks: not the gradient
def factor(mine, whole, ranks):
    return mine / whole


# %% 1 wrong: the other way round | 10 images on 3 ranks: not the gradient
def factor(mine, whole, ranks):
    return whole / (ranks * mine)


# %% 1 wrong: the number of ranks | 12 images on 3 ranks: not the gradient
def factor(mine, whole, ranks):
    return ranks


# %% 1 wrong: parts in whole images | 10 images on 3 ranks: not the gradient
def factor(mine, whole, ranks):
    return mine / (whole // ranks)


# %% 1 wrong: a fraction in two parts | returned a tuple for factor, where a real number is asked
def factor(mine, whole, ranks):
    return ranks * mine, whole


# %% 2 right: a part that counts negative
def without(whole, part):
    M, mean, var = part
    return pooled_moments([whole, (-M, mean, var)])


# %% 2 right: within and between
def without(whole, part):
    (M, mean, var), (N, its_mean, its_var) = whole, part
    rest = M - N
    its_deviation = its_mean - mean
    deviation = -N / rest * its_deviation
    between = N * its_deviation**2 + rest * deviation**2
    return [rest, mean + deviation, (M * var - N * its_var - between) / rest]


# %% 2 wrong: squares of the numbers themselves | float32, mean 1000, without 1 of 8 images: the var
def without(whole, part):
    (M, mean, var), (N, its_mean, its_var) = whole, part
    rest = M - N
    rest_mean = (M * mean - N * its_mean) / rest
    squares = M * (var + mean**2) - N * (its_var + its_mean**2)
    return rest, rest_mean, squares / rest - rest_mean**2


# %% 2 wrong: within parts only | float64, mean 3, without 1 of 8 images: the variance is off by
def without(whole, part):
    (M, mean, var), (N, its_mean, its_var) = whole, part
    rest = M - N
    return rest, (M * mean - N * its_mean) / rest, (M * var - N * its_var) / rest


# %% 2 wrong: put together, not taken apart | numbers are left, not
def without(whole, part):
    return pooled_moments([whole, part])


# %% 2 wrong: means as if of equal counts | without 1 of 8 images: not the mean
def without(whole, part):
    (M, mean, _), (N, its_mean, _) = whole, part
    count, _, var = pooled_moments([whole, (-N, its_mean, part[2])])
    return count, 2 * mean - its_mean, var


# %% 2 wrong: squares from the mean of the whole | the variance is off by
def without(whole, part):
    (M, mean, var), (N, its_mean, its_var) = whole, part
    rest = M - N
    squares = M * var - N * (its_var + (its_mean - mean) ** 2)
    return rest, (M * mean - N * its_mean) / rest, squares / rest


# %% 2 wrong: the unbiased variance | the variance is off by
def without(whole, part):
    count, mean, var = pooled_moments([whole, (-part[0], *part[1:])])
    return count, mean, var * count / (count - 1)


# %% 2 wrong: without the count | returned 2 results in place of 3: count, mean and var
def without(whole, part):
    return pooled_moments([whole, (-part[0], *part[1:])])[1:]


# %% 2 wrong: changes the moments of the whole | changed its argument whole: work on a copy
def without(whole, part):
    mean = whole[1]
    mean -= part[1]
    return whole


# %% 3 right: one buffer, and slices of it
def ring_sum(mine, rank, ranks, send):
    total = mine.copy()
    cuts = [len(mine) * r // ranks for r in range(ranks + 1)]
    pieces = [slice(*ends) for ends in zip(cuts, cuts[1:])]
    for step in range(ranks - 1):
        total[pieces[(rank - step - 1) % ranks]] += send(total[pieces[(rank - step) % ranks]])
    for step in range(ranks - 1):
        total[pieces[(rank - step) % ranks]] = send(total[pieces[(rank - step + 1) % ranks]])
    return total


# %% 3 right: padded to a table of equal pieces
def ring_sum(mine, rank, ranks, send):
    padded = np.zeros(-(-len(mine) // ranks) * ranks)
    padded[: len(mine)] = mine
    table = padded.reshape(ranks, -1)
    at = rank
    for step in range(2 * (ranks - 1)):
        arrived = send(table[at])
        at = (at - 1) % ranks
        table[at] = arrived + table[at] if step < ranks - 1 else arrived
    return table.ravel()[: len(mine)]


# %% 3 wrong: whole arrays, added as they come | 3 ranks, 300 numbers: the ranks differ in their last
def ring_sum(mine, rank, ranks, send):
    total, travelling = mine, mine
    for _ in range(ranks - 1):
        travelling = send(travelling)
        total = total + travelling
    return total


# %% 3 wrong: whole arrays, added in order | 3 ranks, 300 numbers: 4800 bytes handed on; 3200 will do
def ring_sum(mine, rank, ranks, send):
    of_all, travelling = {rank: mine}, mine
    for step in range(ranks - 1):
        travelling = of_all[(rank - step - 1) % ranks] = send(travelling)
    return sum(of_all[r] for r in range(ranks))


# %% 3 wrong: the first round only | rank 0 has not the sum
def ring_sum(mine, rank, ranks, send):
    pieces = np.array_split(mine, ranks)
    for step in range(ranks - 1):
        arrives = (rank - step - 1) % ranks
        pieces[arrives] = send(pieces[(rank - step) % ranks]) + pieces[arrives]
    return np.concatenate(pieces)


# %% 3 wrong: handed on, and not added | 2 ranks, 8 numbers: rank 0 has not the sum
def ring_sum(mine, rank, ranks, send):
    for _ in range(ranks - 1):
        mine = send(mine)
    return mine


# %% 3 wrong: right for two ranks | 3 ranks, 300 numbers: rank 0 has not the sum
def ring_sum(mine, rank, ranks, send):
    return mine + send(mine)


# %% 3 wrong: in float32, to send less | 2 ranks, 8 numbers: rank 0 has not the sum
def ring_sum(mine, rank, ranks, send):
    of_all, travelling = {rank: mine}, mine.astype("f")
    for step in range(ranks - 1):
        travelling = of_all[(rank - step - 1) % ranks] = send(travelling)
    return sum(of_all[r] for r in range(ranks)).astype("d")


# %% 3 wrong: along a chain, whose end is the last rank | has ended, while another one still sends
def ring_sum(mine, rank, ranks, send):
    if rank == ranks - 1:
        return mine
    return mine + send(mine)


# %% 3 wrong: adds into what it was given | changed its argument mine: work on a copy
def ring_sum(mine, rank, ranks, send):
    mine += send(mine)
    return mine


# %% 3 wrong: without the rest that R does not divide | returned total of shape (300,), where (302,)
def ring_sum(mine, rank, ranks, send):
    size = len(mine) // ranks
    pieces = [mine[r * size : (r + 1) * size] for r in range(ranks)]
    for step in range(ranks - 1):
        arrives = (rank - step - 1) % ranks
        pieces[arrives] = send(pieces[(rank - step) % ranks]) + pieces[arrives]
    for step in range(ranks - 1):
        pieces[(rank - step) % ranks] = send(pieces[(rank - step + 1) % ranks])
    return np.concatenate(pieces)
