"""The paper's curves, to draw beside ours. The data is in ``minisd/experiments/paper/``."""

import csv
from pathlib import Path

import numpy as np

from minisd.errors import DataError
from minisd.readers import Kind

CURVES = Kind(
    "a table of the paper's curves",
    DataError,
    if_missing="install minisd again",
    if_damaged="install minisd again",
)
FOLDER = Path(__file__).parent / "paper"

Curve = tuple[np.ndarray, np.ndarray]


def _rows(name: str) -> list[list[str]]:
    with CURVES.reading(FOLDER / f"{name}.csv") as file:
        lines = (line for line in file.text().splitlines() if line and not line.startswith("#"))
        return list(csv.reader(lines))


def series(name: str) -> dict[str, Curve]:
    """Return (x, y) of every series of a figure, such as ``"fig3_cifar10_test_error"``."""
    _, *rows = _rows(name)
    by_series: dict[str, list[tuple[float, float]]] = {}
    for key, x, y in rows:
        by_series.setdefault(key, []).append((float(x), float(y)))
    return {key: tuple(np.array(points).T) for key, points in by_series.items()}


def first_gradient() -> dict[str, Curve]:
    """Fig. 7: mean |gradient| of the first convolution by epoch, CIFAR-10, 110 layers."""
    (_, *names), *rows = _rows("fig7_first_conv_gradient")
    table = np.array([[float(cell) if cell else np.nan for cell in row] for row in rows])
    return {
        name.removesuffix("_depth"): (table[:, 0], table[:, column])
        for column, name in enumerate(names, start=1)
    }


def depth_table() -> tuple[list[float], list[int], np.ndarray]:
    """Fig. 8, right: (p_L, depth, test error %) of linear decay on CIFAR-10."""
    (_, *depths), *rows = _rows("fig8_right_heatmap")
    table = np.array([[float(cell) for cell in row] for row in rows])
    return table[:, 0].tolist(), [int(depth) for depth in depths], table[:, 1:]
