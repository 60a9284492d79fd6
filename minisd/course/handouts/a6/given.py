"""What of minisd assignment 6 gives: all but the course, as the student's process can load it."""

from minisd.course import staging

ALLOWED = ("minisd",)
LIBRARIES = ("filelock", "tqdm")
EMPTY = ("course/__init__.py", "course/handouts/__init__.py", "course/handouts/a6/__init__.py")
STAGED = {
    **staging.whole(),
    **dict.fromkeys(EMPTY, ""),
    "course/handouts/a6/experiment.py": None,
    "course/handouts/a6/claims.py": None,
    # The process has one BLAS thread, and may not look which BLAS it is.
    "machine/blas.py": """
from contextlib import contextmanager

@contextmanager
def one_blas_thread():
    yield

def blas_library():
    return "one thread"
""",
}
"""All of minisd but the course: the parts of a6 that its handout imports are there."""
