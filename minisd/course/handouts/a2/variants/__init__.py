"""The variants of assignment 2."""
