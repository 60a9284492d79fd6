"""The variants of assignment 6."""
