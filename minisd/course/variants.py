"""Variants of an assignment: changes of what is asked, one of which is chosen for a term.

What the package has of a variant is below ``handouts/a2/variants/dilation``: its handout, its
fingerprints as far as they differ from the ordinary ones, and how the ordinary checks are changed.
Its source is below ``tutorials/course/a2_convolution/variants``; see `minisd.course.material`.
"""

import re
from pathlib import Path

from minisd.errors import UserError, known_or_close

NONE = "none"
"""The ordinary assignment."""
HANDOUTS = Path(__file__).parent / "handouts"
_LINE = re.compile(r"^# minisd course: variant ([\w-]{1,40})[ \t]*$", re.MULTILINE | re.ASCII)


def names(assignment: str) -> list[str]:
    """Return the variants that the package has of an assignment, without the ordinary one."""
    fingerprints = (HANDOUTS / assignment / "variants").glob("*/fingerprints.json")
    return sorted(path.parent.name for path in fingerprints)


def check_name(assignment: str, variant: str) -> str:
    """Return the name of a variant; raise a UserError if the assignment has none of that name."""
    known = [NONE, *names(assignment)]
    if variant in known:
        return variant
    raise UserError(f"{assignment} has no variant {variant!r}; {known_or_close(variant, known)}")


def handout(assignment: str, variant: str) -> Path:
    """Return the folder with the handout and the fingerprints of a variant."""
    folder = HANDOUTS / assignment
    return folder if variant == NONE else folder / "variants" / variant


def line(variant: str) -> str:
    """Return the line by which a handout says which variant it is of."""
    return f"# minisd course: variant {variant}"


def of_code(text: str) -> str | None:
    """Return the variant that a file of answers says that it is of, if it does."""
    match = _LINE.search(text)
    return match[1] if match else None
