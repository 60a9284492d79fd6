"""A process of its own that trains a few steps and prints its memory; see `measure.in_child`."""

import json
import sys
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from .measure import memory


def our_training(task: dict, images, labels) -> Callable[[], float]:
    import minisd
    from minisd.stochastic_depth import linear_decay
    from minisd.train import train_step

    minisd.ops.conv2d_forward(images[:1], np.ones((1, 3, 3, 3), np.float32), padding=1)
    init_rng, gate_rng = (np.random.default_rng([task["seed"], purpose]) for purpose in (3, 5))
    # Only where it is asked for: older versions of minisd do not have this option.
    options = {"recompute_every": task["recompute_every"]} if task.get("recompute_every") else {}
    if task.get("p_last"):
        L = (task["depth"] - 2) // 2
        options["survival"] = linear_decay(L, task["p_last"])
    model = minisd.resnet(task["depth"], rng=init_rng, **options)
    optimizer = minisd.SGD(model, lr=0.1)

    def step() -> float:
        minisd.draw_gates(model, gate_rng)  # at constant depth: all open
        return train_step(model, optimizer, images, labels)

    return step


def torch_training(task: dict, images, labels) -> Callable[[], float]:
    import torch

    from . import torch_peer

    torch.set_num_threads(task["threads"])
    torch_peer.convolution(
        images[:1], np.ones((1, 3, 3, 3), np.float32), images[:1, :1], 1, "contiguous"
    )()
    net = torch_peer.Net(task["depth"], kind="constant")
    return torch_peer.trainer(net, task["format"], images, labels)


def main(task: dict) -> dict:
    from minisd import machine  # before PyTorch, as in the process that measures time

    rng = np.random.default_rng(task["seed"])
    images = rng.standard_normal((task["batch"], 3, 32, 32), dtype=np.float32)
    labels = rng.integers(0, 10, task["batch"])
    with machine.threads(task["threads"]), threadpool_limits(task["threads"], user_api="blas"):
        make = {"ours": our_training, "torch": torch_training}[task["network"]]
        step = make(task, images, labels)
        before, seconds, losses = memory("VmRSS"), [], []
        for _ in range(task["steps"]):
            start = time.perf_counter()
            losses.append(step())
            seconds.append(time.perf_counter() - start)
    peak = memory("VmHWM")
    return {
        "before": before,
        "peak": peak,
        "growth": peak - before,
        "seconds": seconds,
        "losses": losses,
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
