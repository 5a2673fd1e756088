"""The site: `make docs` builds it into build/docs, and fails on a warning, a broken link or an undocumented name.

Sphinx, because autodoc imports the package: `define` completes the docstrings and signatures of the verbs at run time,
and a tool that only reads the source would not see them. Nothing is loaded from elsewhere, at build time or by a
reader: search is a script of the site, formulas are MathML, and the theme uses the fonts of the reader's system.
"""

import sys
from pathlib import Path
from typing import Any

from docutils.nodes import SkipNode
from docutils.utils.math import latex2mathml
from sphinx.util.logging import getLogger

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from _tools import links, pages
from _tools.markup import converted
from _tools.programs import as_page

import functional_dists

project = "functional_dists"
author = copyright = "the authors of functional_dists"
version = release = functional_dists.__version__

extensions = ["sphinx.ext.autodoc", "myst_nb"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb", ".py": "myst-nb"}
exclude_patterns = ["*.py", "_tools/**", "_static/**"]
smartquotes_action = "D"  # dashes alone: a quote in a docstring is often one of Python
default_role = "py:obj"  # `name` in a docstring: a link if the name is known, code in any case
add_module_names = False
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the docstrings give dtypes and shapes
autodoc_member_order = "bysource"
nb_execution_mode = "off"  # the notebooks have stored outputs
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = "functional_dists"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_math_renderer = "mathml"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#2c56ad", "color-brand-content": "#2c56ad"},
    "dark_css_variables": {"color-brand-primary": "#8ab0ff", "color-brand-content": "#8ab0ff"},
}


def _change_source(app: Any, docname: str, source: list[str]) -> None:
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".py":
        source[0] = as_page(source[0], f"docs/{path.relative_to(DOCS).as_posix()}")
    if path.suffix in (".md", ".py"):
        source[0] = links.redirected(docname, source[0])
    if docname == "index":
        source[0] += f"\n{pages.navigation(app.env.found_docs)}"


def _change_docstring(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    lines[:] = converted(lines)


def _require_all_names(app: Any, env: Any) -> None:
    """Warn, and so fail, if a public name is on no page."""
    found = env.get_domain("py").objects
    for name in pages.public_names():
        if name not in found:
            getLogger(__name__).warning(f"{name} is on no page of the reference")


def _visit_math(self: Any, node: Any) -> None:
    self.body.append(latex2mathml.tex2mathml(node.astext(), as_block=node.tagname == "math_block"))
    raise SkipNode


def setup(app: Any) -> None:
    """Connect what this file defines."""
    pages.write()
    app.connect("env-get-outdated", lambda *_: ["index"])  # whose navigation lists all pages
    app.connect("source-read", _change_source)
    app.connect("autodoc-process-docstring", _change_docstring)
    app.connect("env-check-consistency", _require_all_names)
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math, None))
