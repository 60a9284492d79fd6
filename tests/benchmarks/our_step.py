"""Our own training step, in a process of its own like the peers'."""

from collections.abc import Callable

from threadpoolctl import threadpool_limits

import minisd
from minisd.train import train_step

from .network import Task


def limit_threads(threads: int) -> str:
    minisd.set_threads(threads)
    threadpool_limits(threads, user_api="blas")
    return f"minisd.set_threads({threads})"


def training(task: Task) -> Callable[[int], float]:
    """Return one training step as a function of the round."""
    model = task.model()
    images, labels = task.images()
    optimizer = minisd.SGD(
        model, task.lr, momentum=task.momentum, weight_decay=task.weight_decay
    )  # Nesterov's

    def step(number: int) -> float:
        if task.patterns:
            minisd.set_gates(model, task.patterns[number % len(task.patterns)])
        return train_step(model, optimizer, images, labels)

    return step
