"""The kernels of a training step, with NVIDIA's own compiler; see `tests/kernels.py`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_every_kernel_of_a_training_step_compiles_for_real_gpus(gpu, tmp_path):
    """Recorded here, compiled by a Python that has CuPy and NVRTC, and needs no device."""
    python = os.environ.get("MINISD_NVRTC_PYTHON")
    if not python:
        pytest.skip("MINISD_NVRTC_PYTHON names no Python with CuPy and nvidia-cuda-nvrtc")
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for interpreter, environment, action in (
        (sys.executable, dict(os.environ), ["record", tmp_path]),
        (python, plain, ["compile", tmp_path, "80", "90"]),
    ):
        done = subprocess.run(
            [interpreter, "-m", "tests.kernels", *map(str, action)],
            cwd=ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("*.json"))) > 50
    assert "0 refused" in done.stdout
