"""The wheel, built as a release is: what users install."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def build(folder: Path) -> Path:
    """Build the wheel into a folder; skip the test where the build backend cannot be had."""
    line = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode and "No matching distribution found for hatchling" in done.stderr:
        pytest.skip("building a wheel needs hatchling, and no registry has it here")
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("minisd-*.whl")
    return wheel
