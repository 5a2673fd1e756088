"""What mypy and pyright say of users' code: the lines marked in `typing/user.py`, and no others, are errors."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USER = Path(__file__).parent / "typing" / "user.py"
EXPECTED = {number for number, line in enumerate(USER.read_text().splitlines(), 1) if line.endswith("# expect-error")}


def report_of(*command: str) -> str:
    """Return what a checker prints; it ends with 1 where it finds errors."""
    found = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 1, found.stdout + found.stderr
    return found.stdout


def mypy_errors() -> dict[int, str]:
    """Return the messages by line."""
    report = report_of("mypy", "--output=json", str(USER.relative_to(ROOT)))  # strict, by pyproject.toml
    found = [json.loads(line) for line in report.splitlines() if line.startswith("{")]
    own = [error for error in found if error["severity"] == "error" and error["file"].endswith(USER.name)]
    return {error["line"]: error["message"] for error in own}


def pyright_errors() -> dict[int, str]:
    """Return the messages by line."""
    pytest.importorskip("pyright")
    report = report_of("pyright", "--pythonpath", sys.executable, "--outputjson", str(USER))
    found = [error for error in json.loads(report)["generalDiagnostics"] if error["severity"] == "error"]
    return {error["range"]["start"]["line"] + 1: error["message"] for error in found}


@pytest.mark.parametrize("errors_of", [mypy_errors, pyright_errors])
def test_right_uses_pass_and_wrong_uses_are_errors(errors_of: Callable[[], dict[int, str]]) -> None:
    found = errors_of()
    assert {line: message for line, message in found.items() if line not in EXPECTED} == {}
    assert EXPECTED - set(found) == set()
