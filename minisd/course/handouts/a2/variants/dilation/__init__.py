"""Assignment 2 with dilation."""
