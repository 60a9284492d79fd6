"""Assignment 4."""
