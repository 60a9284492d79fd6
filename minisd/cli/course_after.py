"""``minisd course``, after a class was graded: one submission in full, groups, pairs, questions."""

from pathlib import Path
from typing import Any

from minisd.cli.course_options import OK, a_path, folder_of, with_settings, with_sources
from minisd.course import cluster, graded, make, material, settings, similar, submissions, viva
from minisd.course import kit as kits
from minisd.course.explain import explain as explained
from minisd.course.submissions import Code
from minisd.errors import UserError


def explain(
    *, assignment: str, who: str, settings_path: Path, sources: Path, folder: Path
) -> int:  # fmt: skip
    """Judge one submission in full, with inputs and right results: for the instructor."""
    course = settings.read(settings_path)
    path = a_path(who)
    variant = course.of(assignment).variant
    kit = kits.full(folder_of(assignment, sources), course.seed, variant)
    if path.exists():
        code, student = submissions.read(path, assignment, kit.files, path.parent), None
    else:
        result = _result_of(who, folder)
        files = {name: text.encode("latin-1") for name, text in result.files.items()}
        code, student = Code(result.code, [], files), who
    print(explained(kit, code, course.for_kit(kit), student), end="")
    return OK


def groups(*, folder: Path, adopt: int | None, name: str | None, sources: Path) -> int:
    """Group the wrong answers that have no name; --adopt makes one a mistake of the bank."""
    assignment, results = graded.read_run(folder)
    title = next((r.report.title for r in results if r.report), assignment)
    clusters = cluster.groups(results)
    if adopt is None:
        graded.save_text(folder / "clusters.md", cluster.as_markdown(title, clusters))
        print(f"{len(clusters)} groups: {folder / 'clusters.md'}")
        return OK
    if name is None:
        raise UserError("--adopt needs a --name for the mistake, such as no-flip")
    if not 1 <= adopt <= len(clusters):
        raise UserError(f"there is no group {adopt}; there are {len(clusters)}: see clusters.md")
    of, variant = folder_of(assignment, sources), graded.variant_of(folder)
    bank = material.folder_of(of, variant) / "mistakes.py"
    made = material.read(of, variant)
    line = cluster.adopt(clusters[adopt - 1], name, results, made.assignment, bank)
    print(
        f"{bank}, line {line}: read it (it runs in your own process from now on), write what it\n"
        f"says, then: minisd course self-test {assignment}, and grade again"
    )
    return OK


def alike(*, folder: Path, sources: Path) -> int:
    """List pairs of answers that look alike, and write folders for MOSS, JPlag and Dolos."""
    assignment, results = graded.read_run(folder)
    source = material.read(folder_of(assignment, sources), graded.variant_of(folder)).assignment
    handout = make.handout(source)
    public = {"the solution": source.solution, **similar.library()}
    pairs = similar.pairs(results, handout, public)
    graded.save_text(folder / "similar.md", similar.as_markdown(source.title, pairs))
    similar.write_folders(results, assignment, handout, folder / "similar")
    print(f"{len(pairs)} pairs: {folder / 'similar.md'}")
    print(f"for MOSS, JPlag and Dolos: {folder / 'similar'}")
    return OK


def questions(*, folder: Path, sources: Path) -> int:
    """Write two questions for each student about what is right in their answers."""
    assignment, results = graded.read_run(folder)
    made = material.read(folder_of(assignment, sources), graded.variant_of(folder))
    text = viva.as_markdown(made.assignment, made.bank.mistakes, results)
    graded.save_text(folder / "viva.md", text)
    print(folder / "viva.md")
    return OK


def _result_of(student: str, folder: Path) -> graded.Result:
    _, results = graded.read_run(folder)
    for result in results:
        if result.student == student and result.code:
            return result
    names = ", ".join(r.student for r in results if r.code)
    raise UserError(f"{student!r} is no file, and {folder} has no code of theirs; it has {names}")


def add_to(add: Any) -> None:
    """Add these actions to the parser, with ``add(function, name)``."""

    sub = add(explain, "explain")
    sub.add_argument("assignment", metavar="NAME")
    sub.add_argument("who", metavar="STUDENT", help="a student of --graded, or a file")
    sub.add_argument(
        "--graded", dest="folder", type=a_path, metavar="DIR", default=Path("graded"),
        help="what 'grade' has written (default: graded)",
    )  # fmt: skip
    with_settings(sub)

    for function, name in ((groups, "cluster"), (alike, "similar"), (questions, "viva")):
        sub = add(function, name)
        sub.add_argument(
            "folder", nargs="?", type=a_path, metavar="GRADED", default=Path("graded"),
            help="what 'grade' has written (default: graded)",
        )  # fmt: skip
        with_sources(sub)
        if function is groups:
            sub.add_argument("--adopt", type=int, metavar="N", help="make group N a mistake")
            sub.add_argument("--name", metavar="NAME", help="of the mistake: short, with hyphens")
