"""The variants of assignment 4."""
