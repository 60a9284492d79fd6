"""Student code as another user: isolation level 3, for which the tests must run as root."""

import os
import stat
import subprocess
import sys

import pytest
from test_assignments import assignment, kit

from minisd.course import grading, staging
from minisd.course.sandbox import Sandbox
from minisd.errors import UserError

pytestmark = pytest.mark.xdist_group("processes")
STUDENT = "nobody"


def can_be_another() -> bool:
    """Whether this is root, and another user can run this Python."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    line = [sys.executable, "-c", "import numpy"]
    try:
        return not subprocess.run(
            line, user=STUDENT, cwd="/", capture_output=True, check=False
        ).returncode
    except (OSError, LookupError):
        return False


as_another = pytest.mark.skipif(not can_be_another(), reason="needs root, and a Python for others")


@as_another
@pytest.mark.parametrize("name", ["a2", "a4", "a5", "a6"])
def test_the_reference_has_all_points_at_level_3(name):
    reference = assignment(name)
    found = grading.grade(kit(name, "one"), reference.solution, files=reference.files, user=STUDENT)
    assert found.earned == kit(name, "one").points, found.mistakes
    assert found.isolation == 3


@as_another
def test_another_user_cannot_read_what_is_the_graders(tmp_path):
    secret = tmp_path / "course.toml"
    secret.write_text("seed")
    code = f"def f():\n    return open({str(secret)!r}).read()\n"
    with Sandbox(code, user=STUDENT) as student, pytest.raises(Exception, match="PermissionError"):
        student.call("f")


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_another_user_can_read_what_the_assignment_gives():
    for path in (folder := staging.stage({"a/b.py": "x = 1"}), folder / "minisd" / "a"):
        assert path.stat().st_mode & stat.S_IROTH
        assert path.stat().st_mode & stat.S_IXOTH


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users of POSIX")
def test_a_user_that_cannot_be_is_said(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(UserError, match="this machine has no user 'nobody at all'"):
        Sandbox("", user="nobody at all")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match="only root can run student code as nobody"):
        Sandbox("", user=STUDENT)
