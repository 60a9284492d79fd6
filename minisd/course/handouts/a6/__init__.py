"""Public part of assignment 6."""
