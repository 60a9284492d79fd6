"""The process of one library, which trains a network whenever its turn comes: see `turns`.

python -m tests.benchmarks.peer '{"library": "jax", "depth": 20, "batch": 128, "threads": 2}'
"""

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

from .network import Task
from .turns import serve

LIBRARIES = {
    "minisd": "our_step",
    "torch": "torch_peer",
    "tensorflow": "tensorflow_peer",
    "jax": "jax_peer",
    "tinygrad": "tinygrad_peer",
}
"""The module of this folder that has ``limit_threads`` and ``training`` of each library."""


def main(task: Task) -> None:
    library: Any = importlib.import_module(f".{LIBRARIES[task.library]}", __package__)
    held = library.limit_threads(task.threads)
    step: Callable[[int], float] = library.training(task)
    serve(step, held)


if __name__ == "__main__":
    main(Task(**json.loads(sys.argv[1])))
