"""How the checks of assignment 3 are changed where variances are unbiased: not at all."""

from minisd.course.checks import Check


def adapted(checks: list[Check]) -> list[Check]:
    """Return the checks: the same is asked of the same numbers, and the answers differ."""
    return checks
