"""The checks: each file holds one group of codes, each function one question put to a call."""
