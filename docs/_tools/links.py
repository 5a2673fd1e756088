"""Makes links that lead to files of the repository lead to the pages of the site that show these files."""

import os
import re
from pathlib import Path

from .pages import COPIED, DOCS, ROOT

_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_PAGES = {
    **{(ROOT / source).resolve(): page for source, page in COPIED.items()},
    **{(ROOT / source).with_suffix(".py"): page for source, page in COPIED.items() if source.endswith(".ipynb")},
    ROOT / "README.md": "index.md",
    ROOT / "docs": "index.md",
    ROOT / "notebooks": "reference/gallery.rst",
}
_ORIGINS = {page.rpartition(".")[0]: ROOT / source for source, page in COPIED.items()}


def redirected(docname: str, text: str) -> str:
    """Return the Markdown of a page with its relative links changed to what they are on the site."""
    origin = _ORIGINS.get(docname, DOCS / docname)
    here = (DOCS / docname).parent

    def changed(found: re.Match[str]) -> str:
        start, target, end = found.groups()
        path = (origin.parent / target).resolve()
        if "://" in target or not path.exists():
            return found[0]
        page = DOCS / _PAGES[path] if path in _PAGES else path
        return f"{start}{Path(os.path.relpath(page, here)).as_posix()}{end}"

    return _LINK.sub(changed, text)
