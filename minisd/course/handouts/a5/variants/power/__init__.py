"""Assignment 5 with survival probabilities that decay by a power."""
