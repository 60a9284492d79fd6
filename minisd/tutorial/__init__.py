"""Functions that the tutorials share (`tools`), and how notebooks are made (`notebooks`)."""

from minisd.tutorial.tools import FIGURES, claim, exercise, is_quick, show

__all__ = ["FIGURES", "claim", "exercise", "is_quick", "show"]
