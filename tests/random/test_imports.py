"""The package of draws stands on PyTorch and the extension alone."""

import ast
from pathlib import Path

import pytest

from functional_dists import random

MODULES = sorted(Path(random.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_no_module_imports_from_above(module):
    imported = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module)
        elif isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
    ours = {name for name in imported if name.split(".")[0] == "functional_dists"}
    assert {name for name in ours if not name.startswith("functional_dists.random")} <= {"functional_dists._kernels"}
