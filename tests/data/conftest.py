"""Fixtures of the tests that download, from this machine only."""

from data_server import no_garbage_for_other_tests, only_this_machine, server

__all__ = ["no_garbage_for_other_tests", "only_this_machine", "server"]
