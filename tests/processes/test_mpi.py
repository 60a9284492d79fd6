"""Ranks compute what one computes, now as processes over MPI. `as_rank` is what each does."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("processes"),
    pytest.mark.skipif(
        MPIEXEC is None or importlib.util.find_spec("mpi4py") is None,
        reason="NO MPI HERE: RANKS AS PROCESSES ARE NOT TESTED. pip install 'minisd[mpich]'",
    ),
]


@pytest.mark.parametrize("size", [2, 3])
def test_processes_compute_what_one_computes(size, device):
    line = [MPIEXEC, "-n", str(size), sys.executable, "-m", "mpi4py", str(HERE / "as_rank.py")]
    done = subprocess.run([*line, device.name], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{size} ranks on the {device.name} are right" in done.stdout


def test_the_control_fails():
    """A rank with other gates: the error ends all processes, and the code is not 0."""
    code = (
        "import numpy as np\n"
        "from minisd.distributed import join\n"
        "from minisd.data_parallel import whole_loss\n"
        "from minisd import resnet, set_gates\n"
        "group = join()\n"
        "model = resnet(8, width=2, rng=np.random.default_rng(0))\n"
        "set_gates(model, [True, group.rank == 0, True])\n"
        "whole_loss(1.0, 2, model, 4, group)\n"
    )
    line = [MPIEXEC, "-n", "2", sys.executable, "-m", "mpi4py", "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "the ranks train different networks" in done.stderr


@pytest.mark.parametrize("where", ["raise ZeroDivisionError", "fit(model, SGD(model, 1e-3))"])
def test_an_error_of_one_rank_in_a_program_ends_all(where):
    """Without the module mpi4py.run, which does the same."""
    code = (
        "from minisd import SGD, fit, resnet\n"
        "from minisd.distributed import join\n"
        "group, model = join(), None\n"
        f"if group.rank == 1:\n    {where}\n"
        "group.exchange(1)\n"
    )
    line = [MPIEXEC, "-n", "2", sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
