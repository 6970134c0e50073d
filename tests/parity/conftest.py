"""The suites are plugins for runs of their own (see suites/suites.py)."""

collect_ignore = ["suites"]
