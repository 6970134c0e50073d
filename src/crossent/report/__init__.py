"""How good a model is, in numbers and as a page: scores, figures, the report."""

from crossent.report.evaluation import Evaluation
from crossent.report.page import History, Report, write_report

__all__ = ["Evaluation", "History", "Report", "write_report"]
