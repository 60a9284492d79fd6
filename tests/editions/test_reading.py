"""How much a reader meets who follows one open block through the book, forward and backward."""

import os
import sys

import numpy as np
import pytest

import minisd
from minisd import machine, ops, resnet

ROOT = os.path.dirname(minisd.__file__)
MOST = {"identity": (45, 9), "transition": (50, 10)}
"""Functions of ours that are entered, and files that they are in."""


def entered(block, x):
    """Functions of ours that a forward and a backward enter, as (file, name)."""
    functions = set()

    def note(frame, event, argument):
        code = frame.f_code
        comprehension = code.co_name.startswith("<") and code.co_name != "<lambda>"
        if event == "call" and code.co_filename.startswith(ROOT) and not comprehension:
            functions.add((os.path.relpath(code.co_filename, ROOT), code.co_qualname))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        block.backward(block.forward(x))
    finally:
        sys.setprofile(before)
    return functions


def images():
    return np.random.default_rng(1).standard_normal((4, 8, 16, 12)).astype(np.float32)


@pytest.mark.parametrize(("place", "kind"), list(enumerate(MOST)))
def test_an_open_block_of_the_book_is_a_short_walk(place, kind):
    model = resnet(8, width=8, rng=np.random.default_rng(0), fused=False).use(ops)
    functions = entered(model.blocks[place], images())
    files = {file for file, _ in functions}
    most_functions, most_files = MOST[kind]
    assert len(functions) <= most_functions, sorted(functions)
    assert len(files) <= most_files, sorted(files)
    assert not [file for file in files if file.startswith(("fast", "machine"))]
    for page in ("conv2d_forward", "conv2d_backward", "batchnorm2d_backward", "relu_forward"):
        assert page in {name for _, name in functions}


def test_the_counter_counts():
    """The engine's way through the same block is longer; were it not, nothing is counted."""
    with machine.threads(1):
        model = resnet(8, width=8, rng=np.random.default_rng(0))
        functions = entered(model.blocks[0], images())
    assert len(functions) > 100
    assert any(file.startswith("machine") for file, _ in functions)
