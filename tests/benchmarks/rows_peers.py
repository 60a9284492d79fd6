"""Rows about the training step of all peers, each in a process of its own, in turn."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from .bench import Bench
from .network import Task
from .peers import INSTALL, OURS, PEERS, Peer, ranks
from .report import Row, ratio
from .turns import Failed, Process

SAME_LOSSES = 1e-4  # of the first three steps, in float32: see `network.Task`


def steps(
    bench: Bench,
    which: str,
    depth: int,
    *,
    share: float = 1.0,
    ours: Peer = OURS,
    peers: Sequence[Peer] = PEERS,
    title: str = "peers",
) -> Iterator[Row]:
    """Compare our training step with that of each peer that takes part in the row ``which``.

    ``share`` of the blocks are open, others in each round. Rows are called ``title-which-peer``.

    Raises
    ------
    ValueError
        If a peer's losses are not ours.
    """
    L = (depth - 2) // 2
    num_open = round(share * L)
    patterns = bench.patterns(L, num_open, bench.repeat + 1) if num_open < L else []
    gates = f"{num_open / L:.0%} open" if patterns else "constant depth"
    figure = f"training step, ResNet-{depth}, batch {bench.sizes.batch}, {gates}"
    task = Task("", depth, bench.sizes.batch, bench.threads, bench.seed, patterns=patterns)
    why: dict[str, str] = {}
    with ExitStack() as stack:
        processes: dict[str, Process] = {}

        def start(peer: Peer) -> None:
            bench.say(f"{figure}: {peer.name} gets ready")
            processes[peer.name] = stack.enter_context(Process(peer.name, peer.command(task)))

        start(ours)
        taking_part: dict[str, list[Peer]] = {}
        for peer in peers:
            if which in peer.rows:
                taking_part.setdefault(peer.library, []).append(peer)
        for library, forms in taking_part.items():
            package = forms[0].package
            if package and not bench.has(package):
                why[library] = f"{package} is not installed: {INSTALL[package]}"
                continue
            for peer in forms:
                try:
                    start(peer)
                except Failed as failed:
                    why[library] = str(failed)
        label = f"{figure}, {title}"
        seconds = bench.measure(label, lambda: dict(processes), tolerance=SAME_LOSSES)
        facts = {name: process.facts() for name, process in processes.items()}
    for library, forms in taking_part.items():
        name = f"{title}-{which}-{library.lower()}"
        if library in why:
            yield Row(name, figure, missing=why[library])
            continue
        best = min(forms, key=lambda peer: min(seconds[peer.name]))
        compared = {peer.name: seconds[peer.name] for peer in (ours, *forms)}
        row = ratio(name, figure, compared, ours.name, best.name)
        for form, of in row.details.items():
            of.update(facts[form])
        row.details["contestant"] = ours.name
        row.details["best"] = {"name": best.name, "package": best.package,
                               "library": library, "form": best.form}  # fmt: skip
        held, cores, warm_up = (facts[best.name][key] for key in ("held", "cores", "warm_up"))
        row.peer += f"; {held}: {cores:.1f} cores busy; ready after {warm_up:.0f} s"
        yield row


def processes(bench: Bench, which: str, depth: int, *, share: float = 1.0) -> Iterator[Row]:
    """Compare two processes of one thread with one process of two, and with PyTorch's."""
    others = [peer for peer in PEERS if peer.package in ("torch", "tensorflow")]
    for row in steps(
        bench, which, depth, share=share, ours=ranks(2), peers=(OURS, *others), title="ranks"
    ):
        row.must = 0.95 if row.name.endswith("-ours") else None
        row.aim = 1.25 if row.name.endswith("-pytorch") else None
        yield row
