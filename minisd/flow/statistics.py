"""The statistics of one step, computed on the host, in NumPy and float64."""

from typing import Any

import numpy as np

from minisd.flow.records import OF_BLOCKS, OF_CLOSED_BLOCKS, Values
from minisd.flow.step import Step, Tensors, scales
from minisd.flow.watch import Look


def statistics(step: Step, tensors: Tensors) -> tuple[Values, dict[str, np.ndarray]]:
    """Return the statistics of a step, and the `COUNTS`: which parameters and blocks had values.

    The arrays of the step must be on the host.
    """
    sums, largest, squares, weights, updates = step.sums
    parts = {
        "grad_mean": _add_up(tensors, sums),
        "grad_max": np.maximum.reduceat(largest.astype(np.float64), tensors.first_runs),
        "grad_norm": _add_up(tensors, squares * scales(largest).astype(np.float64) ** 2),
        "weight_norm": _add_up(tensors, weights),
        "update_norm": _add_up(tensors, updates),
    }
    values = _of_tensors(parts, tensors.sizes, step.reached)
    values["coasted_norm"] = np.sqrt(parts["update_norm"]), ~step.reached

    gates = np.array([block.gate for block in step.blocks], bool)
    in_branch = tensors.block >= 0
    block_numbers = tensors.block[in_branch]
    branch_parts = {name: np.zeros(len(gates)) for name in parts}
    for name, numbers in parts.items():
        combine: Any = np.maximum if name == "grad_max" else np.add
        combine.at(branch_parts[name], block_numbers, numbers[in_branch])
    sizes = np.bincount(block_numbers, tensors.sizes[in_branch], minlength=len(gates))
    of_branches = _of_tensors(branch_parts, np.maximum(sizes, 1), gates & (sizes > 0))
    values |= {f"block_{name}": entry for name, entry in of_branches.items()}

    looked = np.array([bool(block.arrays) for block in step.blocks], bool)
    activations = [_of_activations(block) if block.arrays else {} for block in step.blocks]
    for name in (*OF_BLOCKS, *OF_CLOSED_BLOCKS):
        if not name.startswith("block_"):
            exists = np.array([name in block for block in activations], bool)
            values[name] = np.array([block.get(name, np.nan) for block in activations]), exists
    return values, {
        "reached": step.reached,
        "open": gates,
        "looked": looked & gates,
        "closed_looked": looked & ~gates,
    }


def _of_tensors(parts: dict[str, np.ndarray], sizes: np.ndarray, exists: np.ndarray) -> Values:
    """Return the statistics of tensors from their sums."""
    norms = {name: np.sqrt(parts[name]) for name in ("grad_norm", "weight_norm", "update_norm")}
    nonzero = norms["weight_norm"] > 0
    ratio = norms["update_norm"] / np.where(nonzero, norms["weight_norm"], 1)
    values = {"grad_mean": parts["grad_mean"] / sizes, "grad_max": parts["grad_max"], **norms}
    return {name: (numbers, exists) for name, numbers in values.items()} | {
        "update_ratio": (ratio, exists & nonzero)
    }


def _of_activations(block: Look) -> dict[str, float]:
    """Return the activation statistics of one block from the moments of its channels."""
    if not block.gate:
        return {"closed_grad_norm": _norm(block, "output_grad")}
    mean, var = block.arrays["output"].astype(np.float64)
    shortcut = _norm(block, "shortcut")
    activations = {
        "output_grad_norm": _norm(block, "output_grad"),
        "activation_mean": float(mean.mean()),
        "activation_std": float(np.sqrt(var.mean() + mean.var())),
        "dead_channels": float(((mean == 0) & (var == 0)).mean()),
    }
    if shortcut:  # 0 in a plain block, which has no shortcut
        activations["branch_ratio"] = block.weight * _norm(block, "branch") / shortcut
    return activations


def _add_up(tensors: Tensors, runs: np.ndarray) -> np.ndarray:
    """Return the sum of every parameter's runs (P,)."""
    return np.add.reduceat(runs.astype(np.float64), tensors.first_runs)


def _norm(block: Look, what: str) -> float:
    """Return sqrt(sum x^2) from the moments of the channels."""
    mean, var = block.arrays[what].astype(np.float64)
    return float(np.sqrt(block.numbers_per_channel[what] * (var + mean**2).sum()))
