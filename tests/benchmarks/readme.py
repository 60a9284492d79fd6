"""The tables of ``tutorials/site/speed.md``, and that of the README, made from ``measured/*.json``.

    python -m tests.benchmarks.readme          # write them there

Tests compare them, so that the page cannot say what was not measured.
"""

import json
from pathlib import Path

from .measure import milliseconds

HERE = Path(__file__).resolve().parent
MEASURED = HERE / "measured" / "benchmarks.json"
PEERS = (HERE / "measured" / "peers.json", HERE / "measured" / "ranks.json")
README = HERE.parents[1] / "README.md"
PAGE = HERE.parents[1] / "tutorials" / "site" / "speed.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
PEERS_BEGIN, PEERS_END = "<!-- peers: begin -->\n", "<!-- peers: end -->\n"
ROWS = {
    "step-56": "training step, ResNet-56, time",
    "step-110": "training step, ResNet-110, time",
    "stochastic-masked": "stochastic-depth step, ResNet-110, 3/4 of the blocks open, time; PyTorch "
    "computes every branch, then masks it",
    "stochastic-if": "the same; PyTorch skips closed blocks with an `if`",
    "stochastic-share": "our stochastic step / our constant step, minus the share of open blocks",
    "memory-56": "growth of peak memory over a step, ResNet-56",
    "memory-110": "growth of peak memory over a step, ResNet-110",
    "evaluation": "images per second in evaluation, ResNet-110",
    "conv-16": "convolution and its gradients, 16 channels, 32x32, time / DeZero's",
    "conv-32": "32 channels, 16x16",
    "conv-64": "64 channels, 8x8",
    "loading": "loading and augmentation, share of a step of ResNet-56",
    "linear": "R² of our step time against the number of open blocks",
    "resnet-1202-plain": "peak memory of a training step of ResNet-1202, p_L = 0.5",
    "resnet-1202-recompute": "the same with `recompute_every=25`",
    "shapes-32": "training step, ResNet-56, batch 32, time",
    "shapes-64": "training step, ResNet-56, batch 64, time",
    "shapes-odd": "training step, ResNet-20, width 8, batch 50, 1x28x28, time",
    "roofline-ours": "share of our ResNet-110 step that its convolutions need at the rate of a "
    "1024x1024 matrix product",
    "roofline-pytorch": "the same, of PyTorch's",
}


def table(measured: dict) -> str:
    """Return the figures, with machine, versions and date, as Markdown."""
    versions = measured["versions"]
    found = {row["name"]: row for row in measured["rows"]}
    lines = [
        header(measured, f"PyTorch {versions['torch']}, DeZero {versions['dezero']}"),
        "",
        "| batch 128, float32; ours / PyTorch's, unless said | measured | of medians | goal |",
        "| --- | --- | --- | --- |",
    ]
    for name, what in ROWS.items():
        row = found[name]
        sign = "at least" if row["higher_is_better"] else "at most"
        goal = "-" if row["must"] is None else f"{sign} {row['must']:g}{row['unit']}"
        medians = "-" if row["medians"] is None else f"{row['medians']:.3g}"
        lines.append(f"| {what} | {row['value']:.3g}{row['unit']} | {medians} | {goal} |")
    return "\n".join(lines) + "\n"


def header(measured: dict, peers: str) -> str:
    """Return where, with what and when it was measured."""
    machine, versions = measured["machine"], measured["versions"]
    return (
        f"{machine['processor']}, {machine['cores_allowed']} cores, Python {versions['python']}, "
        f"NumPy {versions['numpy']} with {measured['blas'].split(',')[0]}, {peers}; "
        f"{measured['date'][:10]}; fastest of {measured['repeat']} each, in turn; seed "
        f"{measured['seed']}."
    )


def tables_of_peers(measured: dict) -> str:
    """Return the training steps of all libraries, or those of two processes, as Markdown."""
    lines = [header(measured, "float32")]
    for title, what, who in (
        ("peers-", "training step; each library in a process of its own, in turn", "ours"),
        ("ranks-", "training step on two processes of one thread", "two processes"),
    ):
        rows = [row for row in measured["rows"] if row["name"].startswith(title)]
        if any(row["missing"] is None for row in rows):
            lines += ["", *table_of_peers(rows, measured["versions"], what, who)]
    return "\n".join(lines) + "\n"


def all_peers() -> str:
    """Return the tables of both measurements."""
    return "\n".join(tables_of_peers(json.loads(path.read_text("utf-8"))) for path in PEERS)


def table_of_peers(rows: list[dict], versions: dict, what: str, who: str) -> list[str]:
    """Return the lines of a table of training steps: ours, or those of ``who``, and each peer's."""
    lines = [
        f"| {what} | {who} | theirs | {who} / theirs | of medians | spreads | theirs is ready "
        "after |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if row["missing"]:
            continue
        best = row["details"]["best"]
        first = row["details"][row["details"]["contestant"]]
        theirs = row["details"][best["name"]]
        what = row["figure"].removeprefix("training step, ")
        form = f", {best['form']}" if best["form"] else ""
        version = versions[best["package"]] if best["package"] else "one process of two threads"
        cells = [
            f"{what}; {best['library']} {version}{form}",
            milliseconds(first["minimum"]),
            milliseconds(theirs["minimum"]),
            f"{row['value']:.3g}",
            f"{row['medians']:.3g}",
            f"{first['spread']:.0%}, {theirs['spread']:.0%}",
            f"{theirs['warm_up']:.0f} s",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def table_of_readme() -> str:
    """Return the time of our step over that of each library, and of a convolution, as Markdown."""
    main, peers = (json.loads(path.read_text("utf-8")) for path in (MEASURED, PEERS[0]))
    ratios: dict[str, dict[str, float]] = {}
    for row in peers["rows"]:
        if "constant" in row["figure"] and not row["missing"]:
            network = row["figure"].removeprefix("training step, ").split(",")[0]
            ratios.setdefault(network, {})[row["details"]["best"]["library"]] = row["medians"]
    found = {row["name"]: row["medians"] for row in main["rows"]}
    alone = {"PyTorch": found["conv-16-torch"], "DeZero": found["conv-16"]}
    ratios["a convolution, 16 channels, 32x32"] = alone
    libraries = list(dict.fromkeys(name for of in ratios.values() for name in of))
    lines = [
        f"| time of our training step / theirs, {peers['machine']['cores_allowed']} cores | "
        f"{' | '.join(libraries)} |",
        "| --- |" + " --- |" * len(libraries),
    ]
    for what, of in ratios.items():
        cells = [f"{of[name]:.2f}" if name in of else "-" for name in libraries]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def parts_of(page: str, begin: str = BEGIN, end: str = END) -> tuple[str, str, str]:
    """Return a page before the table, the table, and what comes after."""
    before, rest = page.split(begin)
    written, after = rest.split(end)
    return before + begin, written, end + after


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, _, after = parts_of(page)
    page = before + table(json.loads(MEASURED.read_text(encoding="utf-8"))) + after
    before, _, after = parts_of(page, PEERS_BEGIN, PEERS_END)
    page = before + all_peers() + after
    PAGE.write_text(page, encoding="utf-8")
    before, _, after = parts_of(README.read_text(encoding="utf-8"), PEERS_BEGIN, PEERS_END)
    README.write_text(before + table_of_readme() + after, encoding="utf-8")


if __name__ == "__main__":
    main()
