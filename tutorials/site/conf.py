"""Sphinx's settings for the site. `build.py` runs it.

Why Sphinx: it is what NumPy, SciPy and most of their readers use; autodoc reads the docstrings, and
MyST-NB runs the notebooks and folds their cells by the tags that Jupyter Book uses. Mathematics is
MathML, written while the site is built (`mathml`): browsers draw it without a script or a network.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from minisd.version import __version__  # noqa: E402

project = "minisd"
version = release = __version__
project_copyright = "the minisd developers, MIT licence"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx.ext.viewcode",
    "docstrings",
    "mathml",
    "lines",
]
exclude_patterns = ["tutorials/figures"]
default_role = "py:obj"
smartquotes = False  # or --option would get a dash

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_timeout = 900
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_code_prompt_show = "Show the code that draws the figure"
nb_code_prompt_hide = "Hide the code that draws the figure"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
viewcode_line_numbers = True
viewcode_follow_imported_members = False

html_theme = "furo"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
html_title = "minisd"
html_favicon = "_static/minisd.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
html_domain_indices = False
