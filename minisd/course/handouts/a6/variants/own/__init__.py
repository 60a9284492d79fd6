"""Assignment 6 with parameters of their own for each student."""
