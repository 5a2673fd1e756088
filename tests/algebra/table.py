"""All cases of the laws: each module named cases_* has a list CASES."""

import importlib
from pathlib import Path

from tests.algebra.case import Case

CASES: list[Case] = [
    case
    for file in sorted(Path(__file__).parent.glob("cases_*.py"))
    for case in importlib.import_module(f"tests.algebra.{file.stem}").CASES
]
