"""How good a model is, in numbers and as a page: scores, figures, the report."""

from crossent.report.evaluation import Evaluation
from crossent.report.page import History, Report, write_report
from crossent.report.running import RunningScores
from crossent.report.scores import Scores, summary

__all__ = ["Evaluation", "History", "Report", "RunningScores", "Scores", "summary", "write_report"]
