"""No public name vanishes, and no signature changes, unnoticed."""

import difflib

import pytest

from tests.public_names import COMMAND, PATH, text


def test_public_names_and_signatures_are_those_listed() -> None:
    listed, found = PATH.read_text(), text()
    if listed != found:
        change = difflib.unified_diff(listed.splitlines(), found.splitlines(), "listed", "found", n=0, lineterm="")
        pytest.fail(f"the public names changed; accept with `{COMMAND}`:\n" + "\n".join(change), pytrace=False)
