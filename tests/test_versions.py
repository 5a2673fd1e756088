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


def test_2_11_gets_what_its_own_requirements_and_its_compiler_ask_for() -> None:
    """Torch 2.11 requires setuptools before 82, and cannot compile calls of optree 0.20."""
    installed = {version: dict(map(pinned, lines(version))) for version in versions.VERSIONS}
    now = dict(map(pinned, PINNED.splitlines()))
    for version, pins in installed.items():
        own = {"optree": "0.19.1", "setuptools": "81.0.0"} if version == "2.11.0" else {}
        assert pins == {**now, "torch": version, **own}


def lines(version: str) -> list[str]:
    return versions.constraints(version, PINNED).splitlines()


def pinned(line: str) -> tuple[str, str]:
    name, _, version = line.partition("==")
    return name, version


def test_an_environment_is_installed_with_its_own_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network: the commands are recorded instead of run."""
    commands: list[list[str]] = []
    monkeypatch.setattr(versions, "ENVIRONMENTS", tmp_path)

    def record(*command: object, **environment: str) -> int:
        commands.append([str(word) for word in command])
        Path(commands[0][-1]).mkdir(exist_ok=True)  # as `venv` does
        return 0

    monkeypatch.setattr(versions, "run", record)
    target = versions.Target.parse("2.11.0")
    directory = versions.environment(target)
    assert directory is not None
    pins = directory / "constraints.txt"
    assert pins.read_text().splitlines() == lines("2.11.0")
    assert [command[1:3] for command in commands] == [["-m", "venv"], ["-m", "pip"]]
    assert commands[1][commands[1].index("-c") + 1] == str(pins)
    assert versions.environment(target) == directory
    assert len(commands) == 2  # nothing is installed again for the same pins


def test_a_name_that_is_not_pinned_is_an_error() -> None:
    with pytest.raises(ValueError, match="must pin torch once, found 0"):
        versions.constraints("2.15.0", "numpy==2.4.6\n")


def test_the_summary_counts_what_pytest_reports(tmp_path: Path) -> None:
    report = tmp_path / "results.xml"
    report.write_text('<testsuites><testsuite tests="9" failures="2" errors="1" skipped="3" /></testsuites>')
    assert versions.summary(report) == "3 passed, 3 failed, 3 skipped or expected to fail"
