"""The storeys of the house: an import only ever points down; and the laws of its rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import minisd

ROOT = Path(minisd.__file__).parent
STOREYS = [
    "ending errors terminal version",
    "files streams",
    "readers",
    "gpu figures tutorial locks",
    "backend",
    "machine data distributed footprint",
    "ops summary",
    "fast",
    "layer",
    "layers optim",
    "branches",
    "residual",
    "fused stochastic_depth recompute preactivation",
    "rules gates",
    "models flow",
    "data_parallel surgery gradcheck",
    "train",
    "runs",
    "experiments course",
    "cli",
    "__main__",
]
FLOOR = {room: floor for floor, rooms in enumerate(STOREYS) for room in rooms.split()}


def modules() -> dict[str, Path]:
    """Every file of the package by its dotted name; ``minisd/__init__.py`` stands outside."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    del found["__init__"]
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Names of the modules of minisd that the file imports, at any place in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        assert not getattr(node, "level", 0), f"{path} has a relative import"
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "minisd":
            base = (node.module or "").removeprefix("minisd").removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".removeprefix(".")
                found.add(full if full in MODULES else base)
        if isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("minisd").removeprefix(".")
                for alias in node.names
                if alias.name.split(".")[0] == "minisd"
            }
    return found


def room(name: str) -> str:
    """The file of the flat level, or the folder, that a module is in."""
    return name.split(".")[0]


def test_every_room_has_a_storey():
    assert {room(name) for name in MODULES} == set(FLOOR)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name):
    others = {room(other) for other in imports(MODULES[name])} - {room(name)}
    assert "" not in others, "nobody imports from minisd/__init__.py"
    assert not {other for other in others if FLOOR[other] >= FLOOR[room(name)]}


@pytest.mark.parametrize("folder", sorted({room(name) for name in MODULES if "." in name}))
def test_there_is_no_circle_inside_a_folder(folder):
    """Modules are taken away as long as one imports none of the others; none may be left."""
    inside = {name: imports(path) for name, path in MODULES.items() if room(name) == folder}
    while free := [name for name, needs in inside.items() if not needs & inside.keys() - {name}]:
        for name in free:
            del inside[name]
    assert not inside


def names_imported(path: Path) -> set[str]:
    """The first word of everything that the file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_the_book_imports_nothing_of_the_engine():
    for name, path in MODULES.items():
        if room(name) == "ops":
            others = {room(other) for other in imports(path)} - {"ops"}
            assert others <= {"backend", "errors"}, name


def test_only_fused_reaches_inside_the_engine():
    for name, path in MODULES.items():
        if room(name) not in ("fast", "fused"):
            inner = {other for other in imports(path) if other.startswith("fast.")}
            assert not inner, f"{name} imports {inner}: everybody else sees fast's face"
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "fast":
                    assert node.attr in (*minisd.fast.__all__, "__all__", "__name__"), name


def test_only_fused_knows_the_fused_classes():
    """Others ask a layer or an object what they want to know. The face hands the names on."""
    for name, path in MODULES.items():
        if room(name) not in ("fast", "fused"):
            words = {
                getattr(node, "id", getattr(node, "attr", None))
                for node in ast.walk(ast.parse(path.read_text()))
            }
            assert not words & {"ConvChain", "FusedBlock", "Normalised"}, name


def test_only_backend_and_gpu_import_cupy():
    for name, path in MODULES.items():
        if name not in ("backend", "gpu"):
            assert not names_imported(path) & {"cupy", "cupyx", "cupy_backends"}, name


def test_only_distributed_imports_mpi():
    for name, path in MODULES.items():
        if room(name) != "distributed":
            assert not names_imported(path) & {"mpi4py"}, name


def test_only_sweeps_import_dask():
    """Its package is called distributed, as is our folder for MPI."""
    for name, path in MODULES.items():
        if name not in ("experiments.sweep", "experiments.scheduler", "experiments.on_worker"):
            assert not names_imported(path) & {"dask", "distributed"}, name


def test_the_machine_knows_nothing_of_images():
    for name, path in MODULES.items():
        if room(name) == "machine":
            assert {room(other) for other in imports(path)} <= {"backend", "errors", "machine"}


def test_the_two_editions_have_the_same_names():
    assert minisd.ops.__all__ == minisd.fast.__all__


def test_there_is_no_pickle_and_no_global_random_state():
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "random"}
            if isinstance(node, ast.Attribute) and node.attr in ("seed", "rand", "randn"):
                assert not ast.unparse(node).startswith("np.random")


def test_importing_minisd_is_light():
    """Neither CuPy nor matplotlib nor SciPy until they are asked for."""
    heavy = "{'cupy', 'matplotlib', 'scipy', 'pooch', 'torch', 'dask'}"
    code = f"import sys, minisd, minisd.cli; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
