"""Rows about the training step of all peers, each in a process of its own, in turn."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from .bench import Bench
from .network import Task
from .peers import INSTALL, OURS, PEERS, Peer, ranks
from .report import Row, ratio
from .turns import Failed, Process

SAME_LOSSES = 1e-4  # of the first three steps, in float32: see `network.Task`


def libraries(peers: Sequence[Peer]) -> dict[str, list[Peer]]:
    """The peers by library: PyTorch is in the list in two memory orders."""
    found: dict[str, list[Peer]] = {}
    for peer in peers:
        found.setdefault(peer.name.split()[0], []).append(peer)
    return found


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
        taking_part = libraries([peer for peer in peers if which in peer.rows])
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
        label = f"{figure}, processes"
        seconds = bench.measure(label, lambda: dict(processes), tolerance=SAME_LOSSES)
        facts = {name: process.facts() for name, process in processes.items()}
    for library, forms in taking_part.items():
        name = f"{title}-{which}-{library.lower()}"
        known = [peer.name for peer in forms if peer.name in seconds]
        if library in why or not known:
            yield Row(name, figure, missing=why[library])
            continue
        best = min(known, key=lambda form: min(seconds[form]))
        compared = {form: seconds[form] for form in (ours.name, *known)}
        row = ratio(name, figure, compared, ours.name, best)
        row.peer += f"; {facts[best]['held']}; ready after {facts[best]['warm_up']:.0f} s"
        for form, of in row.details.items():
            of.update(facts[form])
        row.details |= {"contestant": ours.name, "best": best, "package": forms[0].package}
        yield row


def processes(bench: Bench, which: str, depth: int, *, share: float = 1.0) -> Iterator[Row]:
    """Compare two processes of one thread with one process of two, and with PyTorch's."""
    pytorch = [peer for peer in PEERS if peer.package in ("torch", "tensorflow")]
    for row in steps(
        bench, which, depth, share=share, ours=ranks(2), peers=(OURS, *pytorch), title="ranks"
    ):
        row.must = 0.95 if row.name.endswith("-ours") else None
        row.aim = 1.25 if row.name.endswith("-pytorch") else None
        yield row
