"""Whole training runs: settings, training loop, run folder, checkpoint, and resuming.

To train, call `session.train` or `session.resume`.
"""
