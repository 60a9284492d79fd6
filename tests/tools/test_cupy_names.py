"""Without a GPU: what is called as ``xp.name(...)`` exists in CuPy, with its keywords."""

import ast
import inspect
from pathlib import Path

import pytest

import minisd

ROOT = Path(minisd.__file__).parent
ON_DEVICES = sorted(
    path
    for room in ("ops", "fast", "machine", "gradcheck", "flow")
    for path in (ROOT / room).glob("*.py")
    if path.stem not in ("records", "statistics", "report", "table")  # on the host
) + [ROOT / "data" / "batches.py"] + [ROOT / f"{name}.py" for name in (
    "branches", "footprint", "fused", "layer", "layers", "models", "optim", "preactivation",
    "recompute", "residual", "stochastic_depth", "summary", "surgery", "train",
)]  # fmt: skip
"""Files whose functions may be given arrays of a GPU."""

UFUNC_KEYWORDS = {"out", "dtype", "casting"}  # no where=, no order=

HARMLESS = {
    "dtype", "empty", "errstate", "ones", "random.SeedSequence", "random.default_rng", "setbufsize",
    "shape", "show_config", "unravel_index", "zeros",
}  # fmt: skip
"""They take no array, or ask it for an attribute of its own."""
ON_THE_HOST = {
    ("batches", "floor"), ("compare", "asarray"), ("compare", "linalg.norm"),
    ("layers", "sqrt"), ("memory", "asarray"), ("recorder", "array"), ("step", "array"),
    ("step", "cumsum"),
}  # fmt: skip
"""Here they are given what was drawn, or allocated, on the host."""


def dotted(node):
    """("xp", "lib.stride_tricks.as_strided") of an attribute's node, or None."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return node.id, ".".join(reversed(parts))


def uses(path, root):
    """(line, dotted name, call or None) of everything taken from ``root`` in a file."""
    tree = ast.parse(path.read_text(), str(path))
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            found = dotted(node)
            if found and found[0] == root and found[1]:
                yield node.lineno, found[1], calls.get(id(node))


def problem(cupy, name, call):
    """What CuPy would say to this use; empty if nothing."""
    target = cupy
    for part in name.split("."):
        if not hasattr(target, part):
            return f"cupy.{name} does not exist"
        target = getattr(target, part)
    if call is None:
        return ""
    keywords = {keyword.arg for keyword in call.keywords if keyword.arg}
    if isinstance(target, cupy.ufunc):
        unknown = keywords - UFUNC_KEYWORDS
        return f"cupy.{name} takes no {sorted(unknown)}" if unknown else ""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return ""
    count = sum(not isinstance(argument, ast.Starred) for argument in call.args)
    try:
        signature.bind_partial(*[None] * count, **dict.fromkeys(keywords))
    except TypeError as error:
        return f"cupy.{name}: {error}"
    return ""


@pytest.fixture(scope="module")
def cupy():
    return pytest.importorskip("cupy", reason="CuPy is not installed")


@pytest.mark.parametrize("path", ON_DEVICES, ids=lambda path: path.stem)
def test_what_is_asked_of_cupy_exists(path, cupy):
    found = [(line, problem(cupy, name, call)) for line, name, call in uses(path, "xp")]
    assert [entry for entry in found if entry[1]] == []


@pytest.mark.parametrize(
    "use",
    ["xp.no_such_thing(x)", "xp.add(x, y, where=x)", "xp.clip(x, min=0, max=1)", "xp.lib.nothing"],
)
def test_the_test_above_finds_what_does_not_exist(use, cupy, tmp_path):
    path = tmp_path / "use.py"
    path.write_text(use)
    assert any(problem(cupy, name, call) for _, name, call in uses(path, "xp"))


def test_the_package_is_looked_at():
    names = {name for path in ON_DEVICES for _, name, _ in uses(path, "xp")}
    assert {"matmul", "maximum", "packbits", "subtract", "sqrt"} <= names


@pytest.mark.parametrize("path", ON_DEVICES, ids=lambda path: path.stem)
def test_no_function_of_numpy_is_given_what_may_be_an_array_of_a_gpu(path):
    """Many would answer with a copy to the host, or by chance with CuPy's own."""
    found = {(path.stem, name) for _, name, call in uses(path, "np") if call is not None}
    assert {use for use in found - ON_THE_HOST if use[1] not in HARMLESS} == set()
