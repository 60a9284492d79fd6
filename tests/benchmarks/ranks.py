"""Our training step on several processes, each with one thread: a contestant of `turns`.

mpiexec -n 2 python -m tests.benchmarks.ranks '{"library": "minisd", "depth": 20, ...}'
"""

import json
import sys
import time

from mpi4py import MPI
from threadpoolctl import threadpool_limits

import minisd
from minisd.distributed import join
from minisd.train import train_step

from .network import Task
from .turns import serve

ENDED = -1


def main(task: Task) -> None:
    group, world = join(), MPI.COMM_WORLD.Dup()
    minisd.set_threads(1)
    threadpool_limits(1, user_api="blas")
    model = task.model()
    images, labels = task.images()
    optimizer = minisd.SGD(model, task.lr, momentum=task.momentum, weight_decay=task.weight_decay)
    mine = group.part(task.batch)

    def step(number: int) -> float:
        if task.patterns:
            minisd.set_gates(model, task.patterns[number % len(task.patterns)])
        return train_step(model, optimizer, images[mine], labels[mine], group=group, of=task.batch)

    def lead(number: int) -> float:
        for rank in range(1, group.size):
            world.send(number, rank)
        return step(number)

    if group.rank == 0:
        serve(lead, f"{group.size} processes of one thread")
        for rank in range(1, group.size):
            world.send(ENDED, rank)
        return
    while True:
        while not world.Iprobe(0):  # a blocking receive would keep a core busy in others' turns
            time.sleep(2e-4)
        number = world.recv(source=0)
        if number == ENDED:
            return
        step(number)


if __name__ == "__main__":
    main(Task(**json.loads(sys.argv[1])))
