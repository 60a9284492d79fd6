"""Check gradients against finite differences: see `minisd.gradcheck.compare`."""

from minisd.gradcheck.compare import check_layer, check_op, compare
from minisd.gradcheck.report import GradientError, KinkError, Report, Slope

__all__ = ["GradientError", "KinkError", "Report", "Slope", "check_layer", "check_op", "compare"]
