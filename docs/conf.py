"""Sphinx: the pages are MyST Markdown, the reference comes from numpydoc docstrings and from the commands' own help."""

from __future__ import annotations

import sys
from pathlib import Path

import crossent

sys.path.insert(0, str(Path(__file__).parent))

import cli_reference
import questions
import story_pages

project = "crossent"
author = "The crossent maintainers"
project_copyright = "2026, the crossent maintainers"
version = release = crossent.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "mathml", "examples", "numpydoc"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated", "figures"]
default_role = "py:obj"

# Notebooks are kept without outputs and run at every build; a cell that fails ends it.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
toc_object_entries_show_parents = "hide"

autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

# Pages outside may be down or slow: they are listed, and what the pages say of each other is checked.
linkcheck_ignore = [r"https?://"]

html_theme = "pydata_sphinx_theme"
html_title = "crossent"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["crossent.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "show_toc_level": 2,
}


def setup(app: object) -> None:
    """Write the parts that are made from the code before the pages are read, where they have changed."""
    folder = Path(__file__).parent / "_generated"
    folder.mkdir(exist_ok=True)
    for name, page in {
        "commands": cli_reference.page,
        "questions": questions.page,
        "stories": story_pages.page,
    }.items():
        path, text = folder / f"{name}.md", page()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
