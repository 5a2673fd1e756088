"""A short run of each program of the cookbook, in a process of its own."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted(path.name for path in (ROOT / "docs" / "cookbook").glob("*.py"))
NEEDS = {"stable_baselines3_policy.py": "stable_baselines3"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_runs(name: str) -> None:
    for module in ("gymnasium", NEEDS.get(name, "gymnasium")):
        pytest.importorskip(module, reason=f"{module} is not installed")
    command = [sys.executable, str(ROOT / "docs" / "cookbook" / name), "--short"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout, "a program prints its result"


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_begins_with_its_page(name: str) -> None:
    page = ast.get_docstring(ast.parse((ROOT / "docs" / "cookbook" / name).read_text()))
    assert page is not None
    assert page.startswith("# ")
