"""The variants of assignment 1."""
