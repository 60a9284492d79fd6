"""The variants of assignment 5."""
