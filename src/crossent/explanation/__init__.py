"""One prediction explained: its loss, and the derivative for each rule of who pays, in words, tables and formulas."""

from crossent.explanation.comparison import Comparison, compare
from crossent.explanation.prediction import Explanation, explain

__all__ = ["Comparison", "Explanation", "compare", "explain"]
