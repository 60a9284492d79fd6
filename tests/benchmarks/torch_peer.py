"""The same network in PyTorch, written as one writes it there, with three kinds of blocks.

"constant"
    Every block runs.
"masked"
    As torchvision's StochasticDepth: the branch is computed, then multiplied by a mask, 0 or 1.
"if"
    A closed block is skipped with an ``if``; all that is left of it is its shortcut. The ReLU after
    it would change nothing, as what comes in has no negative numbers, so it is left out too.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from minisd import ResNet

from .network import Task

KINDS = ("constant", "masked", "if")
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


class Block(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.new_channels = channels - in_channels

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.bn2(self.conv2(h))

    def shortcut(self, x: torch.Tensor) -> torch.Tensor:
        if not self.new_channels:
            return x
        return F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, 0, self.new_channels))


class Net(nn.Module):
    """`minisd.resnet` with basic branches and shortcut A; parameters in the same order."""

    def __init__(self, depth: int, *, channels: int = 3, width: int = 16, kind: str) -> None:
        super().__init__()
        n = (depth - 2) // 6
        self.kind = kind
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        widths = [width * 2 ** (block // n) for block in range(3 * n)]
        self.blocks = nn.ModuleList(
            Block(before, after, stride=after // before)
            for before, after in zip([width, *widths], widths, strict=False)
        )
        self.head = nn.Linear(widths[-1], 10)
        self.gates = [True] * len(self.blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn(self.conv(x)), inplace=True)
        for block, gate in zip(self.blocks, self.gates, strict=True):
            if self.kind == "if" and not gate:
                x = block.shortcut(x)
                continue
            h = block.branch(x)
            if self.kind == "masked":
                h = h * torch.full((1, 1, 1, 1), float(gate))
            h += block.shortcut(x)
            x = F.relu(h, inplace=True)
        return self.head(x.mean((2, 3)))


def copy_weights(net: Net, model: ResNet) -> None:
    """Begin where ours begins."""
    with torch.no_grad():
        for theirs, (name, ours) in zip(net.parameters(), model.parameters(), strict=True):
            if tuple(theirs.shape) != ours.data.shape:
                raise ValueError(
                    f"{name} is {ours.data.shape} here but {tuple(theirs.shape)} there"
                )
            theirs.copy_(torch.from_numpy(ours.data))


def trainer(
    net: Net,
    memory_format: str,
    images,
    labels,
    *,
    lr: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
) -> Callable[[], float]:
    """Return one training step as a function."""
    layout = FORMATS[memory_format]
    net.to(memory_format=layout)
    x = torch.tensor(images).contiguous(memory_format=layout)
    target = torch.tensor(labels)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=lr, momentum=momentum, nesterov=True, weight_decay=weight_decay
    )

    def step() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def limit_threads(threads: int) -> str:
    torch.set_num_threads(threads)
    return f"torch.set_num_threads({threads})"


def training(task: Task) -> Callable[[int], float]:
    """Return one training step as a function of the round, for a process of its own."""
    net = Net(task.depth, kind="if" if task.patterns else "constant")
    copy_weights(net, task.model())
    run = trainer(
        net,
        task.memory_format,
        *task.images(),
        lr=task.lr,
        momentum=task.momentum,
        weight_decay=task.weight_decay,
    )

    def step(number: int) -> float:
        if task.patterns:
            net.gates = task.patterns[number % len(task.patterns)]
        return run()

    return step


def classifier(net: Net, memory_format: str, images) -> Callable[[], tuple]:
    """Return the evaluation of a batch as a function."""
    layout = FORMATS[memory_format]
    net.to(memory_format=layout).eval()
    x = torch.tensor(images).contiguous(memory_format=layout)

    def evaluate() -> tuple:
        with torch.no_grad():
            return (net(x).numpy(),)

    return evaluate


def convolution(x, w, dy, padding: int, memory_format: str) -> Callable[[], tuple]:
    """Return a convolution, forward and backward, as a function."""
    x, w, dy = (
        torch.tensor(a).contiguous(memory_format=FORMATS[memory_format]) for a in (x, w, dy)
    )
    x.requires_grad_()
    w.requires_grad_()

    def forward_and_backward() -> tuple:
        x.grad = w.grad = None
        y = F.conv2d(x, w, padding=padding)
        y.backward(dy)
        return y.detach().numpy(), x.grad.numpy(), w.grad.numpy()

    return forward_and_backward
