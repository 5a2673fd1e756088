"""Imports inside the package run downwards, from the room that is needed and never from the root."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import functional_dists

PACKAGE = Path(functional_dists.__file__).parent

# A room imports rooms of its rank and of lower ranks.
RANKS = {
    "_kernels": 0,
    "random": 0,
    "special": 0,
    "family": 1,
    "kernels": 1,
    "continuous": 2,
    "discrete": 2,
    "bijectors": 3,
    "combinators": 3,
    "composite": 4,
    "divergence": 4,
    "divergence_pairs": 4,
    "parameters": 4,
    "distributions": 5,
    "plot": 5,
    "policy": 5,
    "sharded": 5,
    "spaces": 5,
}
AT_THE_FIRST_DTENSOR = ("family/placement", "sharded")  # the one import upwards, in a function
NEVER = {("special", "random")}  # of one rank, but special functions know nothing of randomness
MODULES = [str(file.relative_to(PACKAGE).with_suffix("")) for file in sorted(PACKAGE.rglob("*.py"))]


def imported(code: ast.AST) -> Iterator[str]:
    """Yield what code imports, `module.name`, in functions too, but not for the type checker alone."""
    for node in ast.iter_child_nodes(code):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (f"{alias.name}." for alias in node.names)
        yield from imported(node)


@pytest.mark.parametrize("module", [module for module in MODULES if module not in ("__init__", "__main__")])
def test_imports_run_downwards_and_never_from_the_root(module: str) -> None:
    room = module.split("/")[0]
    paths = [name.split(".") for name in imported(ast.parse((PACKAGE / f"{module}.py").read_text()))]
    assert not [path for path in paths if path[0] == ""], "relative imports"
    own = [path for path in paths if path[0] == "functional_dists"]
    own = [path for path in own if (module, path[1]) != AT_THE_FIRST_DTENSOR]
    higher = [path[1] for path in own if RANKS[path[1]] > RANKS[room] or (room, path[1]) in NEVER]
    assert not higher, f"{room} imports from {higher}, which is higher"
    assert not [path for path in own if len(path) == 2], "from the root"


def test_modules_are_short() -> None:
    lines = sorted(len((PACKAGE / f"{module}.py").read_text().splitlines()) for module in MODULES)
    assert lines[-1] <= 400
    assert lines[len(lines) // 2] <= 150
