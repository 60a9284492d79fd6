"""One exercise of a tutorial, without the tutorial around it.

An exercise is the cell that calls ``exercise(N, ...)``. Of the statements before it, those are
needed that assign a name which the cell uses, and those that these need in turn. The rest is left
out, among it nearly all that takes long. So whatever the reader uses in an answer is there.

What a statement uses is what Python's own compiler says of it (`symtable`). A function uses names
when it is called, so it gets them as they are at the exercise; any other statement gets them as
they are where it stands. What a mere call changes, as ``found.append(x)`` does, is not seen.
"""

import ast
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from minisd.errors import UserError

CELL = "# %%"
SIMPLE = (
    ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom,
)  # fmt: skip
INNER = (
    ast.FunctionDef, ast.ClassDef, ast.Lambda,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """A statement at the top level of a script, and its names.

    Attributes
    ----------
    assigns : set of str
        Names that are other after it. If ``settles``, nothing before it matters for them.
    uses, uses_later : set of str
        Names that it needs when it runs, and those that its functions need when they are called.
    """

    node: ast.stmt
    assigns: set[str]
    settles: bool
    uses: set[str]
    uses_later: set[str]


def of(script: Path, number: int, also: str = "") -> CodeType:
    """Return the code of one exercise and of what it needs.

    Parameters
    ----------
    script : path
        A tutorial.
    number : int
        Which of its exercises.
    also : str
        Python code that will run in the exercise's cell, such as its solution.

    Raises
    ------
    UserError
        If there is no exercise of that number.
    """
    text = script.read_text(encoding="utf-8")
    statements = [_read(node) for node in ast.parse(text, str(script)).body]
    first, end = _cell(script, text, statements, number)
    wanted = set(range(first, end))
    pending = [(at, name) for at in wanted for name in statements[at].uses]
    later = {name for at in wanted for name in statements[at].uses_later}
    for node in ast.parse(also).body:
        read = _read(node)
        later |= read.uses | read.uses_later
    pending += [(end, name) for name in later]
    while pending:
        before, name = pending.pop()
        for at in _assigning(name, statements[:before]):
            if at not in wanted:
                wanted.add(at)
                pending += [(at, other) for other in statements[at].uses]
                pending += [(end, other) for other in statements[at].uses_later]
    body = [statements[at].node for at in sorted(wanted)]
    return compile(ast.Module(body, type_ignores=[]), str(script), "exec")


def _assigning(name: str, statements: list[Statement]) -> Iterator[int]:
    """Yield the places of the statements that decide what a name is after the last of them."""
    for at in reversed(range(len(statements))):
        if name in statements[at].assigns:
            yield at
            if statements[at].settles:
                return


def _cell(script: Path, text: str, statements: list[Statement], number: int) -> tuple[int, int]:
    """Return where the cell of an exercise begins and ends among the statements."""
    calls = {}
    for at, statement in enumerate(statements):
        match statement.node:
            case ast.Expr(ast.Call(ast.Name("exercise"), [ast.Constant(int(found)), *_])):
                calls[found] = at
    if number not in calls:
        numbers = ", ".join(map(str, calls)) or "none"
        raise UserError(f"{script.name} has no exercise {number}; its exercises are {numbers}")
    end = calls[number] + 1
    line = statements[end - 1].node.lineno
    cells = [i for i, each in enumerate(text.splitlines(), 1) if each.startswith(CELL)]
    begins = max((i for i in cells if i < line), default=0)
    first = next(at for at, each in enumerate(statements) if each.node.lineno > begins)
    return first, end


def _read(node: ast.stmt) -> Statement:
    """Ask the compiler for the names of a statement."""
    table = symtable.symtable(ast.unparse(node), "statement", "exec")
    assigns = set(_assigned(node))
    uses = {  # from Python 3.12 on, a comprehension's own variables are in this table, too
        s.get_name()
        for s in table.get_symbols()
        if s.is_referenced() and (s.get_name() in assigns or not s.is_assigned())
    }
    uses_later: set[str] = set()
    for child in table.get_children():
        _uses_within(child, uses, uses_later)
    whole = isinstance(node, SIMPLE)
    for target in _targets(node):
        root = target
        while isinstance(root, ast.Subscript | ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name) and (root is not target or isinstance(node, ast.AugAssign)):
            assigns.add(root.id)  # a part of it, or it by what it was
            uses.add(root.id)
            whole = False
    return Statement(node, assigns, whole and not assigns & uses, uses, uses_later)


def _assigned(node: ast.AST) -> Iterator[str]:
    """Yield the names that are assigned, without those within functions and comprehensions."""
    match node:
        case ast.Name(name, ast.Store()):
            yield name
        case ast.alias(name, other):
            yield other or name.split(".")[0]
        case ast.FunctionDef() | ast.ClassDef():
            yield node.name
        case ast.ExceptHandler(name=str(name)):
            yield name
    if not isinstance(node, INNER):
        for child in ast.iter_child_nodes(node):
            yield from _assigned(child)


def _targets(node: ast.stmt) -> list[ast.expr]:
    """What an assignment assigns to."""
    if isinstance(node, ast.Assign):
        return [part for each in node.targets for part in getattr(each, "elts", [each])]
    return [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []


def _uses_within(table: symtable.SymbolTable, now: set[str], later: set[str]) -> None:
    """Add the global names that an inner scope uses: a class or a comprehension at once."""
    comprehension = table.get_name() in ("listcomp", "setcomp", "dictcomp", "genexpr")
    at_once = comprehension or table.get_type() == "class"
    for symbol in table.get_symbols():
        if symbol.is_global() and symbol.is_referenced():
            (now if at_once else later).add(symbol.get_name())
    for child in table.get_children():
        _uses_within(child, now if at_once else later, later)
