"""The picture: step time against open blocks."""

import os
from pathlib import Path
from typing import Any


def draw(details: dict[str, Any], path: Path) -> None:
    """Draw the points and lines that the row "linear" found."""
    from matplotlib.figure import Figure  # slow to import, and wanted only here

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    opened = details["open"]
    for marker, (name, line) in zip("osv", details["lines"].items(), strict=False):
        (drawn,) = axes.plot(
            opened,
            [second * 1e3 for second in details["seconds"][name]],
            marker,
            label=name,
        )
        ends = [min(opened), max(opened)]
        axes.plot(
            ends,
            [(line["slope"] * x + line["intercept"]) * 1e3 for x in ends],
            color=drawn.get_color(),
            linewidth=1,
            label=f"{line['slope'] * 1e3:.2f} ms per block, R² = {line['r2']:.4f}",
        )
    axes.set_xlabel(f"open blocks, of {max(opened)}")
    axes.set_ylabel("training step (ms)")
    axes.set_ylim(bottom=0)
    axes.set_title(details["title"])
    axes.legend()
    temporary = path.with_name(f"{path.name}.part")
    figure.savefig(temporary, dpi=150, format="png")
    os.replace(temporary, path)
