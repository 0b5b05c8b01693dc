"""How Sphinx builds the documentation."""

import re
import sys
from pathlib import Path
from typing import Any

# The checkout itself is documented, whether or not a copy of it is installed.
sys.path.insert(0, str(Path(__file__).parents[1]))

from sphinx.application import Sphinx

import toolkit

project = "Lightning compression toolkit"
author = "The toolkit's contributors"
copyright = f"2026, {author}"
version = release = toolkit.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon"]
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # Notebooks show the outputs that they are stored with; tests/docs runs them.

html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]

# Docstrings write `name` for an object of this package; what is none stays plain code.
default_role = "py:obj"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100


def keep_bars(app: Sphinx, what: str, name: str, documented: Any, options: Any, lines: list[str]) -> None:
    """Let |w| be an absolute value: reStructuredText takes it for a substitution, but docstrings are also shown raw."""
    math = False
    for number, line in enumerate(lines):
        if line.lstrip().startswith(".. math::"):
            math = True
        elif line and not line[0].isspace():
            math = False
        if not math and not line.lstrip().startswith(">>>"):
            lines[number] = re.sub(r"(``.*?``|`[^`]*`)|\|", lambda found: found[1] or r"\|", line)


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", keep_bars, priority=600)  # After napoleon.
