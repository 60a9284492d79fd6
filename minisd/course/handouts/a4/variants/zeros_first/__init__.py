"""Assignment 4 with zero channels before the real ones."""
