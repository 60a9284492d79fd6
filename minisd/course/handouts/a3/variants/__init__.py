"""The variants of assignment 3."""
