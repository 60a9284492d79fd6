"""Answers that look alike: a table of pairs for a person to look at, never a verdict.

Each file is cut into runs of tokens, with all names of variables made equal. Of each few runs the
one of smallest hash is kept, so that long equal parts are found wherever they begin (*winnowing*:
Schleimer, Wilkerson and Aiken 2003). What the handout has, or much of the class, is no sign.
"""

import csv
import hashlib
import io
import itertools
import keyword
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from minisd.course import cluster
from minisd.course.graded import Result, save_text
from minisd.course.source import ASSIGNMENT
from minisd.course.staging import PACKAGE
from minisd.course.submissions import safe_name

RUN = 12
"""Tokens in a run: equal parts that are shorter are not seen."""
WINDOW = 8
"""Runs of which one is kept: equal parts of `RUN` + `WINDOW` - 1 tokens are always seen."""
MANY, SHARE = 8, 0.25
"""In a class of at least ``MANY``, what more than this share of it has is no sign."""
LEAST = 0.3
"""Pairs that share less than this are not listed."""


@dataclass(frozen=True)
class Pair:
    """Two files that look alike.

    Attributes
    ----------
    shared : float
        Part of the shorter one's own runs that the other has, too.
    mistakes : tuple of str
        Wrong answers that no other student has given, equal in both: "2.3 dx".
    """

    one: str
    other: str
    shared: float
    mistakes: tuple[str, ...] = ()


def pairs(results: list[Result], handout: str, public: dict[str, str]) -> list[Pair]:
    """Return the pairs that look alike, the most alike first.

    Parameters
    ----------
    handout : str
        What all have been given.
    public : dict of str
        Texts that anyone can have copied from, by name: the solution, the library.
    """
    given = runs(handout)
    own = {result.student: runs(result.code) - given for result in results if result.code}
    held = Counter(itertools.chain.from_iterable(own.values()))
    if len(own) >= MANY:
        common = {run for run, times in held.items() if times > SHARE * len(own)}
        own = {student: hashes - common for student, hashes in own.items()}
    texts = {name: runs(text) - given for name, text in public.items()}
    alone = [g for g in cluster.groups(results) if len(g.students) == 2]
    alike = []
    for one, other in itertools.combinations(sorted(own), 2):
        wrong = tuple(
            f"{g.task} {name}"
            for g in alone
            if set(g.students) == {one, other}
            for name in g.properties
        )
        shared = _shared(own[one], own[other])
        if shared >= LEAST or wrong:
            alike.append(Pair(one, other, shared, wrong))
    for student, name in itertools.product(sorted(own), texts):
        shared = _shared(own[student], texts[name])
        if shared >= LEAST:
            alike.append(Pair(student, name, shared))
    return sorted(alike, key=lambda p: (-p.shared - len(p.mistakes), p.one, p.other))


def library() -> dict[str, str]:
    """Return the texts of the book, ``minisd/ops``, by the names of their files."""
    texts = {}
    for path in sorted((PACKAGE / "ops").glob("*.py")):
        with ASSIGNMENT.reading(path) as file:
            texts[f"minisd/ops/{path.name}"] = file.text()
    return texts


def _shared(one: set[bytes], other: set[bytes]) -> float:
    least = min(len(one), len(other))
    return len(one & other) / least if least >= 2 else 0.0


def runs(code: str) -> set[bytes]:
    """Return the runs of tokens of a file that are kept."""
    words = list(_words(code))
    hashes = [
        hashlib.blake2b(" ".join(words[i : i + RUN]).encode(), digest_size=8).digest()
        for i in range(len(words) - RUN + 1)
    ]
    if len(hashes) < WINDOW:
        return set(hashes)
    return {min(hashes[i : i + WINDOW]) for i in range(len(hashes) - WINDOW + 1)}


def _words(code: str) -> Iterator[str]:
    """Yield the tokens of a file without comments and strings; names of variables are one word."""
    after = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type == tokenize.NAME:
                is_kept = keyword.iskeyword(token.string) or after == "."
                yield token.string if is_kept else "name"
            elif token.type in (tokenize.OP, tokenize.NUMBER):
                yield token.string
            after = token.string
    except (tokenize.TokenError, SyntaxError):  # the rest cannot be read: what was, counts
        return


def as_markdown(title: str, listed: Iterable[Pair]) -> str:
    """Return the pairs as a table."""
    lines = [
        f"# {title}: answers that look alike",
        "",
        "Look at both before you ask: a short task has few right answers, and friends who talk "
        "about a mistake share it.",
        "",
        "| one | other | in common | wrong in the same way, as nobody else |",
        "| --- | --- | --- | --- |",
    ]
    for pair in listed:
        cells = (pair.one, pair.other, f"{pair.shared:.0%}", ", ".join(pair.mistakes))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


HOW = """\
# For programs that compare source files

`students` has a folder a student, `base` what all were given.

```sh
moss -l python -d -b base/{name}.py students/*/{name}.py
java -jar jplag.jar -l python3 -bc base students
dolos run -l python info.csv
```
"""


def write_folders(results: list[Result], name: str, handout: str, out: Path) -> None:
    """Write the class as MOSS, JPlag and Dolos want it: a folder a student, and what was given."""
    lines = [["filename", "label"]]
    texts = {f"base/{name}.py": handout, "README.md": HOW.format(name=name)}
    for result in results:
        if result.code:
            path = f"students/{safe_name(result.student)}/{name}.py"
            texts[path] = result.code
            lines.append([path, result.student])
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    for path, text in {**texts, "info.csv": stream.getvalue()}.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        save_text(out / path, text)
