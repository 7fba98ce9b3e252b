"""Sphinx configuration. Everything it reads besides the sources is below this directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.version import VERSION

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Constellation"
copyright = "the Constellation developers"
version = release = VERSION

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]

html_theme = "furo"
html_title = f"Constellation {VERSION}"

# Part of another page.
exclude_patterns = ["_build", "payloads.md"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
# Attributes stand in the docstring of their class, once.
napoleon_use_ivar = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False


def _raises(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Let napoleon see the section of an operation's errors, whose heading says when they come."""
    lines[:] = ["Raises:" if line == "Raises (when it runs):" else line for line in lines]


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", _raises, priority=400)  # napoleon has 500
