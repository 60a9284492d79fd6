"""The version of minisd."""

__version__ = "0.1.0"
