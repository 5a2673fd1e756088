"""Turns docstrings, which are plain text with Google sections, into reStructuredText."""

import re
from collections.abc import Iterable

_SPAN = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_SPECIAL = re.compile(r"([\\*|]|_(?!\w))")
_SECTION = re.compile(r"^(Args|Returns|Yields|Raises|Attributes):$")
_FIELD = re.compile(r"[a-z]\w*: |     *\S")  # of a NamedTuple, whose docstring has no section
_FIELDS = {"Args": "param", "Attributes": "ivar", "Raises": "raises"}


def escaped(text: str) -> str:
    """Return plain text as reStructuredText: `*`, `|` and a final `_` lose their meaning, but not inside backticks.

    >>> escaped("of shape (*batch, N), as in `sample(*params)`")
    'of shape (\\\\*batch, N), as in `sample(*params)`'
    """
    parts = _SPAN.split(text)
    return "".join(part if part.startswith("`") else _SPECIAL.sub(r"\\\1", part) for part in parts)


def converted(lines: Iterable[str]) -> list[str]:
    """Return the lines of a docstring as those of a page.

    >>> converted(["Draw it.", "", "Args:", "    key: A key of shape", "        (2,).", "", ">>> draw(key)", "3"])
    ['Draw it.', '', ':param key: A key of shape (2,).', '', '>>> draw(key)', '3', '']
    """
    page: list[str] = []
    in_list = False
    for block in _blocks(lines):
        section = _SECTION.match(block[0])
        if section:
            page += _fields(section[1], block[1:])
        elif block[0].startswith(">>>"):
            page += block
        elif all(map(_FIELD.match, block)) and not block[0].startswith(" "):
            page += _fields("Attributes", [f"    {line}" for line in block])
        elif block[0].startswith("    ") and not in_list:
            page += [".. code-block:: python", "", *block]
        else:
            page += escaped("\n".join(block)).splitlines()
        in_list = block[0].startswith(("- ", "* ")) or (in_list and block[0].startswith(" "))
        page.append("")
    return page


def _blocks(lines: Iterable[str]) -> Iterable[list[str]]:
    """Yield the paragraphs; a section ends at a line that is not indented, an example begins at its first line."""
    block: list[str] = []
    for line in (*lines, ""):
        in_section = bool(block) and _SECTION.match(block[0])
        is_first = _SECTION.match(line) or (line.startswith(">>>") and not (block and block[0].startswith(">>>")))
        if block and ((not line.strip() and not in_section) or is_first or (in_section and line[:1].strip())):
            yield block
            block = []
        if line.strip() or block:
            block.append(line.rstrip())
    while block and not block[-1]:
        block.pop()
    if block:
        yield block


def _fields(section: str, lines: list[str]) -> list[str]:
    """Return a Google section as a list of fields."""
    texts: list[str] = []
    for line in filter(str.strip, lines):
        if line.startswith("     ") or (texts and section in ("Returns", "Yields")):
            texts[-1] += " " + line.strip()
        else:
            texts.append(line.strip())
    if section in ("Returns", "Yields"):
        return [f":{section.lower()}: {escaped(text)}" for text in texts]
    named = [text.partition(": ") for text in texts]
    return [f":{_FIELDS[section]} {name.lstrip('*')}: {escaped(text)}" for name, _, text in named]
