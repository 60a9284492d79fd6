"""What a rank does in `test_mpi`: compare the group of real processes with one that is alone.

mpiexec -n 2 python -m mpi4py tests/processes/as_rank.py DEVICE
"""

import sys

import numpy as np
from test_exact import OPTIONS, arrays, largest_difference, sent, trained

from minisd.distributed import ALONE, ShardedGroup, join

ON_A_GPU = ("plain", "the book", "projection", "recomputed", "gates of images")


def main(device: str) -> None:
    group = join()
    assert group.size > 1
    for name in OPTIONS if device == "cpu" else ON_A_GPU:
        alone, losses = trained(ALONE, device=device, **OPTIONS[name])
        model, theirs = trained(group, device=device, **OPTIONS[name])
        difference = largest_difference(alone, model)
        assert difference < 1e-12, f"{name}: {difference}"
        np.testing.assert_allclose(theirs, losses, rtol=0, atol=1e-12)
        mine = b"".join(array.tobytes() for array in arrays(model))
        assert len(set(group.exchange(mine))) == 1, f"{name}: ranks differ"

    group.messages = group.bytes = 0
    gates = [True, False, True, True, False, True, False, False, True]
    (messages, size), formula = sent(group, gates)
    assert messages == formula.messages + 1
    assert size == formula.bytes + formula.gradient_bytes

    if device == "cpu" and group.size in (2, 4):
        alone, _ = trained(ShardedGroup(ALONE, 4), dtype=np.float32)
        model, _ = trained(ShardedGroup(group, 4), dtype=np.float32)
        assert largest_difference(alone, model) == 0, "shards: other bits"

    lengths = (1, 2, 1000, 1001)  # also fewer numbers than ranks
    for length in lengths:
        mine = np.arange(length) * (group.rank + 1.0)
        total = np.arange(length) * sum(range(1, group.size + 1))
        np.testing.assert_array_equal(group.add(mine), total)
    if group.rank == 0:
        print(f"{group.size} ranks on the {device} are right")


if __name__ == "__main__":
    main(*sys.argv[1:])
