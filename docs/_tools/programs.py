"""Shows a program as a page: its docstring is the title and the text, its code follows."""

import ast


def as_page(source: str, path: str) -> str:
    """Return a page in Markdown.

    >>> print(as_page('\"\"\"# Draws\\n\\nOne draw.\\n\"\"\"\\n\\nprint(1)\\n', "docs/cookbook/draws.py"))
    # Draws
    <BLANKLINE>
    One draw.
    <BLANKLINE>
    ```python
    print(1)
    ```
    <BLANKLINE>
    Run it: `python docs/cookbook/draws.py`.
    <BLANKLINE>
    """
    module = ast.parse(source)
    text = ast.get_docstring(module)
    if text is None:
        raise ValueError(f"{path}: a program of the cookbook begins with a docstring")
    title, _, rest = text.partition("\n")
    code = "\n".join(source.splitlines()[module.body[0].end_lineno or 0 :]).strip("\n")
    heading = title if title.startswith("# ") else f"# {title.rstrip('.')}"
    return f"{heading}\n\n{rest.strip()}\n\n```python\n{code}\n```\n\nRun it: `python {path}`.\n"
