"""Assignment 3 with statistics over pairs of channels."""
