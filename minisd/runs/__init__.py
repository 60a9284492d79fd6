"""Whole training runs: settings, the loop, the folder, checkpoints, and how they go on.

`session.train` and `session.resume` are where a run begins.
"""
