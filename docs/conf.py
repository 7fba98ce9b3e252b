"""Sphinx configuration. Everything it reads besides the sources is below this directory."""

from __future__ import annotations

from constellation.version import VERSION

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
