"""`python -m functional_dists` prints what is installed."""

import platform
import subprocess
import sys

import torch

import functional_dists
from functional_dists.__main__ import families
from functional_dists.family import verbs
from tests.algebra.table import CASES
from tests.families import FAMILIES, SHARED


def test_it_prints_what_is_installed() -> None:
    run = subprocess.run([sys.executable, "-m", "functional_dists"], check=True, capture_output=True, text=True)
    text = run.stdout
    assert run.stderr == ""
    for expected in (functional_dists.__version__, torch.__version__, platform.python_version(), "extension", "cpu"):
        assert expected in text
    words = set(text.split())
    for name, family in families().items():
        assert {name, *verbs(family)} <= words
    assert max(map(len, text.splitlines())) <= 120


def test_it_knows_every_family() -> None:
    found = families()
    of_contract = {row.name for row in FAMILIES if not row.name.startswith("bound_")} | {*SHARED}
    of_laws = {name for name, family in found.items() if any(case.family is family for case in CASES)}
    assert set(found) == of_contract | of_laws
