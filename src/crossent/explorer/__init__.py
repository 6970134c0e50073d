"""A page to explore one prediction: its parts, the file it is exported to, and the small server that shows it."""

from crossent.explorer.document import export, page

__all__ = ["export", "page"]
