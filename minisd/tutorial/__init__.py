"""What the tutorials share (`tools`), and the notebooks that are made of them (`notebooks`)."""

from minisd.tutorial.tools import FIGURES, claim, exercise, is_quick, show

__all__ = ["FIGURES", "claim", "exercise", "is_quick", "show"]
