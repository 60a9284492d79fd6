"""How the checks of assignment 4 are changed where zero channels come first: not at all."""

from minisd.course.checks import Check


def adapted(checks: list[Check]) -> list[Check]:
    """Return the checks: the same is asked of the same numbers, and the answers differ."""
    return checks
