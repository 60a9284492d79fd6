"""Fixtures of the tests of the exports."""

import pytest
from exporting import SEED, SHORT
from test_assignments import FOLDERS

from minisd.course import ask, bundle
from minisd.course.export import packages


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A folder with course.toml and with wheels that are none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "course.toml").write_text(f'seed = "{SEED}"\n')
    (tmp_path / "wheels").mkdir()
    for name in ("minisd", *packages.NEEDED):
        (tmp_path / "wheels" / f"{name}-1.0-py3-none-any.whl").write_bytes(b"wheel")
    return tmp_path


@pytest.fixture
def graded(course, monkeypatch):
    """A working folder with what the graders of otter have: a2.ipynb is to be written."""
    (course / "course.toml").write_text(SHORT)
    exported = bundle.export(FOLDERS["a2"], course / "course.toml")
    (course / "minisd-grading.zip").write_bytes(bundle.zipped(exported.secret))
    ask._answer.cache_clear()
    return course
