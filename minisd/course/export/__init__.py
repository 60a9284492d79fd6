"""Exports: the same engine and the same report, on a platform."""
