"""What tutorials share (`tools`, `answers`, `excerpt`), and their notebooks (`notebooks`)."""

from minisd.tutorial.tools import FIGURES, claim, exercise, is_quick, read_options, show

__all__ = ["FIGURES", "claim", "exercise", "is_quick", "read_options", "show"]
