"""Looking through a submission before it runs: imports that bring answers, and names to look at."""

import ast
from dataclasses import dataclass, field

FREE = {
    *("numpy", "__future__", "math", "cmath", "itertools", "functools", "collections"),
    *("dataclasses", "typing", "operator", "enum", "abc", "numbers", "warnings", "string"),
    *("textwrap", "copy", "fractions", "types"),
}
ANSWERS = {
    *("minisd", "torch", "torchvision", "tensorflow", "keras", "jax", "scipy", "autograd"),
    *("cupy", "numba", "sklearn", "tinygrad"),
}
"""Modules that bring an answer: a task is 0 until a person has looked."""
SUSPICIOUS = {
    *("__import__", "exec", "eval", "open", "os", "sys", "ctypes", "inspect", "gc", "subprocess"),
    *("importlib", "settrace", "globals", "__builtins__", "__subclasses__", "f_back", "_getframe"),
}


@dataclass
class Scan:
    """What was found.

    Attributes
    ----------
    answers : list of str
        Imported modules of `ANSWERS` that the assignment does not allow.
    flags : list of str
        For the instructor; they cost no points.
    remarks : list of str
        For the student.
    """

    answers: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def scan(text: str, allowed: frozenset[str] = frozenset()) -> Scan:
    """Look through a student's file. Code that cannot be parsed has nothing to find."""
    result = Scan()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        result.remarks.append(f"your file cannot be run: {type(error).__name__}{place}")
        return result
    answers, flags = set(), set()
    for node in ast.walk(tree):
        for module in _imported(node):
            top = module.partition(".")[0]
            if _is_in(allowed, module):
                continue
            if top in ANSWERS:
                answers.add(top)
            elif top not in FREE:
                flags.add(f"imports {top}")
        name = getattr(node, "id", None) or getattr(node, "attr", None)
        if name in SUSPICIOUS:
            flags.add(f"uses {name}")
    result.answers, result.flags = sorted(answers), sorted(flags)
    return result


def _imported(node: ast.AST) -> list[str]:
    """Return dotted names: ``from minisd import ops`` and ``import minisd.ops`` give the same."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module or '.' * node.level}.{alias.name}" for alias in node.names]
    return []


def _is_in(modules: frozenset[str], name: str) -> bool:
    """Whether a dotted name is one of these modules, or in one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)
