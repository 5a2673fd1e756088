"""Programs that take more than ten seconds show a progress bar in a terminal, and none in logs or notebooks."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUICK = ["sharded_heads.py"]  # takes seconds
LONG = [
    *sorted((ROOT / "notebooks").glob("*.py")),
    *sorted(path for path in (ROOT / "docs" / "cookbook").glob("*.py") if path.name not in QUICK),
    *sorted(path for path in (ROOT / "benchmarks" / "studies").glob("*.py") if path.name != "__init__.py"),
    ROOT / "benchmarks" / "compare.py",
    ROOT / "benchmarks" / "progress.py",
    ROOT / "tests" / "accuracy" / "generate.py",
    ROOT / "tests" / "accuracy" / "table.py",
]
BAR = re.compile(r"\btqdm\((?:[^()]|\([^()]*(?:\([^()]*\))?[^()]*\))*\)|\bsteps\(|progress_bar=sys\.stderr\.isatty\(\)")


@pytest.mark.parametrize("path", LONG, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_long_program_has_a_bar_in_a_terminal_alone(path: Path) -> None:
    if not path.exists():
        pytest.skip("a source distribution has no such program")
    bars = BAR.findall(path.read_text())
    assert bars
    assert all("disable=None" in bar for bar in bars if bar.startswith("tqdm"))
