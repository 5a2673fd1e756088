"""Shows a program as a page: its docstring is the title and the text, its code follows."""

import ast
import sys

# What comes with the package.
_INSTALLED = {"functional_dists", "numpy", "optree", "torch"}


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
    Run it: in a checkout `python docs/cookbook/draws.py`, elsewhere save it as `draws.py`.
    <BLANKLINE>
    """
    module = ast.parse(source)
    text = ast.get_docstring(module)
    if text is None:
        raise ValueError(f"{path}: a program of the cookbook begins with a docstring")
    title, _, rest = text.partition("\n")
    code = "\n".join(source.splitlines()[module.body[0].end_lineno or 0 :]).strip("\n")
    heading = title if title.startswith("# ") else f"# {title.rstrip('.')}"
    needs = _packages(module)
    run = f"Run it: in a checkout `python {path}`, elsewhere save it as `{path.rpartition('/')[2]}`."
    run += f" It needs `pip install {' '.join(needs)}`." if needs else ""
    return f"{heading}\n\n{rest.strip()}\n\n```python\n{code}\n```\n\n{run}\n"


def _packages(module: ast.Module) -> list[str]:
    """Return the packages that a program imports and this one does not bring, by their names for pip.

    >>> _packages(ast.parse("import os, torch\\nfrom tqdm import tqdm"))
    ['tqdm']
    """
    nodes = list(ast.walk(module))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    found = {name.partition(".")[0] for name in names} - _INSTALLED - sys.stdlib_module_names
    return sorted(name.replace("_", "-") for name in found)
