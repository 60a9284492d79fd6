"""Assignment 2 with groups."""
