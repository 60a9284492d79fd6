"""All rows by name, in the order of measuring: the cheap ones first where they can."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import rows_limits, rows_peers, rows_steps
from .bench import Bench
from .peers import PEERS
from .report import Row


@dataclass(frozen=True)
class Entry:
    """What ``--only`` can name; it may yield several rows of the table."""

    measure: Callable[[Bench], Iterator[Row]]
    needs: str | None = None  # the peer without which there is nothing to measure
    wants: tuple[str, ...] = ()  # peers without which a part is missing


def _step(name: str, size: str) -> Callable[[Bench], Iterator[Row]]:
    return lambda bench: rows_steps.step(bench, name, getattr(bench.sizes, size))


def _memory(name: str, size: str) -> Callable[[Bench], Iterator[Row]]:
    return lambda bench: rows_limits.memory(bench, name, getattr(bench.sizes, size))


def _peers(which: str, size: str, **options: float) -> Entry:
    packages = dict.fromkeys(peer.package for peer in PEERS if which in peer.rows)
    return Entry(
        lambda bench: rows_peers.steps(bench, which, getattr(bench.sizes, size), **options),
        wants=tuple(packages),
    )


def _ranks(which: str, size: str, **options: float) -> Entry:
    return Entry(
        lambda bench: rows_peers.processes(bench, which, getattr(bench.sizes, size), **options),
        needs="mpi4py",
        wants=("torch", "tensorflow"),
    )


ROWS: dict[str, Entry] = {
    "conv": Entry(rows_limits.conv, wants=("dezero", "torch")),
    "loading": Entry(rows_steps.loading),
    "evaluation": Entry(rows_steps.evaluation, needs="torch"),
    "step-56": Entry(_step("step-56", "shallow"), needs="torch"),
    "memory-56": Entry(_memory("memory-56", "shallow"), needs="torch"),
    "shapes": Entry(rows_steps.shapes, wants=("torch",)),
    "step-110": Entry(_step("step-110", "deep"), needs="torch"),
    "memory-110": Entry(_memory("memory-110", "deep"), needs="torch"),
    "stochastic-masked": Entry(
        lambda bench: rows_steps.stochastic(bench, "masked", must=0.95, aim=0.75), needs="torch"
    ),
    "stochastic-if": Entry(
        lambda bench: rows_steps.stochastic(bench, "if", must=1.25, aim=1.0), needs="torch"
    ),
    "stochastic-share": Entry(rows_steps.stochastic_share),
    "peers-20": _peers("20", "odd"),
    "peers-56": _peers("56", "shallow"),
    "peers-110": _peers("110", "deep"),
    "peers-56-open": _peers("56-open", "shallow", share=0.75),
    "peers-110-open": _peers("110-open", "deep", share=0.75),
    "ranks-56": _ranks("56", "shallow"),
    "ranks-110": _ranks("110", "deep"),
    "ranks-56-open": _ranks("56-open", "shallow", share=0.75),
    "ranks-110-open": _ranks("110-open", "deep", share=0.75),
    "recorder": Entry(rows_steps.recorder),
    "roofline": Entry(rows_limits.roofline, wants=("torch",)),
    "linear": Entry(rows_steps.linear, wants=("torch",)),
    "resnet-1202": Entry(rows_limits.deepest),
}
