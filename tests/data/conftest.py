"""Fixtures of the tests that download, from this machine only."""

import pytest

from data_server import no_garbage_for_other_tests, only_this_machine, server

__all__ = ["no_garbage_for_other_tests", "only_this_machine", "server"]


@pytest.fixture(autouse=True)
def made_up_files_are_trusted(monkeypatch):
    """MATLAB files that are not official are read only if the user says so."""
    monkeypatch.setenv("MINISD_TRUST_DATA", "1")
