"""What was found: rows, as JSON, as a Markdown table, as a picture."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .measure import milliseconds, statistics_of


@dataclass
class Row:
    """One figure. ``value`` is what ``must`` and ``aim`` are about."""

    name: str
    figure: str
    ours: str = "-"
    peer: str = "-"
    value: float | None = None
    medians: float | None = None
    must: float | None = None
    aim: float | None = None
    higher_is_better: bool = False
    unit: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    missing: str | None = None  # why there is no value

    @property
    def title(self) -> str:
        return f"{self.name}: {self.figure}" if self.figure else self.name

    def meets(self, target: float | None) -> bool | None:
        if target is None or self.value is None:
            return None
        return self.value >= target if self.higher_is_better else self.value <= target


def ratio(
    name: str, figure: str, seconds: dict[str, list[float]], ours: str, peer: str, **targets: Any
) -> Row:
    """Compare two contestants by their minima: what disturbs a measurement only ever adds to it."""
    a, b = statistics_of(seconds[ours]), statistics_of(seconds[peer])
    return Row(
        name,
        figure,
        times(a),
        f"{peer}: {times(b)}",
        a["minimum"] / b["minimum"],
        a["median"] / b["median"],
        details={contestant: statistics_of(of) for contestant, of in seconds.items()},
        **targets,
    )


def times(stats: dict[str, float]) -> str:
    return (
        f"{milliseconds(stats['minimum'])} (median {milliseconds(stats['median'])}, "
        f"spread {stats['spread']:.0%})"
    )


class Report:
    """All that was measured so far, and the files that have it."""

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.folder = folder
        self.header = header
        self.status = "running"
        self.rows: list[Row] = []
        self.measurements: dict[str, dict[str, list[float]]] = {}
        self.agreement: dict[str, dict[str, float]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def save(self) -> None:
        """Write the JSON; whoever looks, whenever, finds the old file or the new one, whole."""
        content = {
            **self.header,
            "status": self.status,
            "rows": [
                {**asdict(row), "meets_must": row.meets(row.must), "meets_aim": row.meets(row.aim)}
                for row in self.rows
            ],
            "seconds": self.measurements,
            "largest_difference_from_ours": self.agreement,
        }
        write(self.folder / "benchmarks.json", json.dumps(content, indent=1) + "\n")

    def markdown(self) -> str:
        machine, versions = self.header["machine"], self.header["versions"]
        known = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
        memory = f"{machine['memory_gib']:.0f} GiB" if machine["memory_gib"] else "memory unknown"
        lines = [
            f"{machine['processor']}, {machine['cores_allowed']} of {machine['cores']} cores, "
            f"{memory}; {known}; {self.header['blas']}; {self.header['date']}; "
            f"seed {self.header['seed']}, {self.header['repeat']} repetitions",
            "",
            "| figure | ours | peer | ratio | must | aim |",
            "| --- | --- | --- | --- | --- | --- |",
            *(self.line(row) for row in self.rows),
        ]
        if self.header["quick"]:
            lines += ["", "Small sizes (--quick): these figures say nothing, and are not judged."]
        if self.status != "done":
            lines += ["", f"Not complete: {self.status}."]
        return "\n".join(lines) + "\n"

    def line(self, row: Row) -> str:
        if row.missing:
            return f"| {row.title} | not measured: {row.missing} | - | - | - | - |"
        value = "-" if row.value is None else f"{row.value:.3f}{row.unit}"
        if row.medians is not None:
            value += f" (medians {row.medians:.3f})"
        judged = [self.judge(row, target) for target in (row.must, row.aim)]
        return "| " + " | ".join([row.title, row.ours, row.peer, value, *judged]) + " |"

    def judge(self, row: Row, target: float | None) -> str:
        if target is None:
            return "-"
        sign = "≥" if row.higher_is_better else "≤"
        word = {True: " pass", False: " miss", None: ""}[row.meets(target)]
        return f"{sign} {target:g}{row.unit}{'' if self.header['quick'] else word}"


def write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
