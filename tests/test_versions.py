"""What `make test-versions` installs and counts."""

from pathlib import Path

import pytest

from tests import versions

PINNED = (versions.ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize("torch", versions.VERSIONS)
def test_pins_differ_from_constraints_as_said(torch: str) -> None:
    changed = set(versions.constraints(torch, PINNED).splitlines()) - set(PINNED.splitlines())
    wanted = {f"{name}=={version}" for name, version in {"torch": torch, **versions.PINS.get(torch, {})}.items()}
    assert changed == wanted - set(PINNED.splitlines())


def test_a_name_that_is_not_pinned_is_an_error() -> None:
    with pytest.raises(ValueError, match="must pin torch once, found 0"):
        versions.constraints("2.15.0", "numpy==2.4.6\n")


def test_the_summary_counts_what_pytest_reports(tmp_path: Path) -> None:
    report = tmp_path / "results.xml"
    report.write_text('<testsuites><testsuite tests="9" failures="2" errors="1" skipped="3" /></testsuites>')
    assert versions.summary(report) == "3 passed, 3 failed, 3 skipped or expected to fail"
