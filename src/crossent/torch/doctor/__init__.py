"""The doctor: what a training loop does to its loss, watched while it runs."""

from crossent.torch.doctor.context import doctor
from crossent.torch.doctor.findings import Finding
from crossent.torch.doctor.report import Report

__all__ = ["Finding", "Report", "doctor"]
