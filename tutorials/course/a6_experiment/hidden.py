"""The hidden cases of assignment 6: the same properties, other numbers and shapes."""

from minisd.course.checks import Case
from minisd.course.handouts.a6.checks import exact, images, stepped, table

HIDDEN = {
    "6.1 open blocks": [Case("bottleneck branches", stepped("ooo", width=4, branch="bottleneck"))],
    "6.1 closed blocks": [
        Case("all closed", stepped("---")),
        Case("bottleneck branches", stepped("oo-", width=4, branch="bottleneck")),
    ],
    "6.1 unchanged": [Case("the first closed, and others", stepped("-oo-o-"))],
    "6.2 constant arm, errors, gates, stochastic arm": [exact("14 layers", images(14, 2, 0.2))],
    "6.2 same start": [exact("two channels", images(8, 2, 1.0, channels=2, kind="one"))],
    "6.2 same batches": [exact("p_L = 0", images(8, 3, 0.0, kind="zero"))],
    "6.3 means, always open": [exact("one step", table(3, 1, 4))],
    "6.3 means over open steps": [exact("five seeds", table(5, 12, 4, (0.1, 0.0, 0.7, 0.5)))],
    "6.3 spread over seeds": [exact("five seeds", table(5, 4, 6))],
    "6.3 hardly any": [
        exact("many blocks that are never open", table(2, 6, 6, (1.0, 0.5, 1.0, 0.0, 0.3, 1.0)))
    ],
}
