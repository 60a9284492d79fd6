"""The course kit: assignments that are graded by properties, and a bank of mistakes."""
