"""The storeys of the house: an import only ever points down, and only backend.py names CuPy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import minisd

ROOT = Path(minisd.__file__).parent
STOREYS = [
    {"errors"},
    {"backend", "files", "interrupt", "progress", "gradcheck_report"},
    {"memory", "ops.check", "tutorial", "notebooks", "workers"},
    {"products"},
    {"parallel"},
    {"ops.rows"},
    {"ops.pooling", "ops.linear", "ops.loss", "ops.conv_im2col", "ops.batchnorm"},
    {"ops.sources"},
    {"ops.windows"},
    {"ops.direct", "ops.winograd"},
    {"ops.conv", "ops.activation"},
    {"ops.conv_norm"},
    {"ops"},
    {"layer"},
    {"layers"},
    {"optim", "gradcheck", "data.dataset"},
    {"data.digits", "data.cifar", "data.batches", "data.download"},
    {"data.svhn"},
    {"data"},
    {"residual"},
    {"fused"},
    {"stochastic_depth", "recompute", "flow.hooks"},
    {"nonfinite"},
    {"models", "checkpoint", "runfolder"},
    {"surgery"},
    {"config", "gradcheck_table", "figures", "flow.records", "flow.watch"},
    {"flow.step"},
    {"flow.statistics"},
    {"flow.recorder"},
    {"flow"},
    {"run"},
    {"explain"},
    {"losses"},
    {"train"},
    {"session", "gpu_check"},
    {"experiments.paper_curves", "experiments.path_lengths", "experiments.pool"},
    {"experiments.input_gradients", "experiments.trained"},
    {"experiments.drawing", "experiments.study"},
    {"experiments.publish"},
    {
        f"experiments.{name}"
        for name in (
            "depth_distribution",
            "ensemble",
            "gradients",
            "gradients_by_depth",
            "learning_curves",
            "lesion",
            "shattered",
            "survival",
            "training_time",
            "update_ratios",
        )
    },
    {"experiments.catalogue"},
    {"experiments"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
FLOOR = {name: number for number, names in enumerate(STOREYS) for name in names}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    del found["__init__"]  # the public face imports from everywhere
    return found


def imports(path: Path) -> set[str]:
    """Names of the modules of minisd that the file imports, at any place in it."""
    known, found = modules(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("minisd"):
            base = node.module.removeprefix("minisd").removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".removeprefix(".")
                found.add(full if full in known else base)
    return found - {""}


def test_every_module_has_a_storey():
    assert set(modules()) == set(FLOOR)


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_point_down(name):
    upward = {other for other in imports(modules()[name]) if FLOOR[other] >= FLOOR[name]}
    upward -= {other for other in upward if other.startswith(f"{name}.")}  # a package's own parts
    assert not upward


@pytest.mark.parametrize("name", sorted(set(modules()) - {"backend"}))
def test_only_the_backend_imports_cupy(name):
    for node in ast.walk(ast.parse(modules()[name].read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not any(part.split(".")[0] == "cupy" for part in names)


def test_there_is_no_pickle_and_no_global_random_state():
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "random"}
            if isinstance(node, ast.Attribute) and node.attr in ("seed", "rand", "randn"):
                assert not ast.unparse(node).startswith("np.random")


def test_importing_minisd_is_light():
    """Neither CuPy nor matplotlib nor SciPy until they are asked for."""
    heavy = "{'cupy', 'matplotlib', 'scipy', 'pooch', 'torch'}"
    code = f"import sys, minisd, minisd.cli; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
