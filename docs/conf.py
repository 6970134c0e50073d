"""Sphinx: `make docs`."""

from importlib.metadata import version as installed

project = "crossent"
author = "The crossent maintainers"
copyright = "2026, The crossent maintainers"
release = version = installed("crossent")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
autodoc_typehints = "none"
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_prev_next": False}
html_title = "crossent"
