"""The suite without slow tests on several versions of PyTorch, each in an environment of its own in build/versions.

`python -m tests.versions 2.11.0 2.15.0@python3.13` runs two versions, the second with another interpreter.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / "build" / "versions"
SUMMARY = ENVIRONMENTS / "summary.txt"
VERSIONS = ("2.11.0", "2.13.0", "2.14.1", "2.15.0")
# What else must differ from constraints.txt, and why.
PINS = {
    # `torch.compile` of 2.11 refuses what optree 0.20 does, a comparison of `sys.version_info`.
    # It requires setuptools before 82.
    "2.11.0": {"optree": "0.19.1", "setuptools": "81.0.0"},
}
SERIAL = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # as in the Makefile


class Target(NamedTuple):
    """A version of PyTorch and the interpreter to run it with."""

    torch: str
    python: str

    @classmethod
    def parse(cls, text: str) -> "Target":
        torch, _, python = text.partition("@")
        if not re.fullmatch(r"\d+\.\d+\.\d+", torch):
            raise argparse.ArgumentTypeError(f"expected a version like 2.15.0 or 2.15.0@python3.13, got {text!r}")
        return cls(torch, python or sys.executable)


def constraints(torch: str, pinned: str) -> str:
    """Return the text of constraints.txt with another version of PyTorch in it, and what that version needs."""
    for name, version in {"torch": torch, **PINS.get(torch, {})}.items():
        pinned, count = re.subn(rf"(?m)^{name}==.*$", f"{name}=={version}", pinned)
        if count != 1:
            raise ValueError(f"constraints.txt must pin {name} once, found {count} lines")
    return pinned


def run(*command: object, **environment: str) -> int:
    return subprocess.run([str(word) for word in command], cwd=ROOT, env={**os.environ, **environment}).returncode


def environment(target: Target) -> Path | None:
    """Return the directory of the environment, made if there is none or an old one; `None` if that failed."""
    asked = [target.python, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]
    python = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    directory = ENVIRONMENTS / f"torch-{target.torch}-python{python}"
    pins, installed = directory / "constraints.txt", directory / "installed"
    wanted = constraints(target.torch, (ROOT / "constraints.txt").read_text())
    # What was installed for other pins, or other requirements of the package, is brought up to date.
    stamp = wanted + (ROOT / "pyproject.toml").read_text()
    if installed.exists() and installed.read_text() == stamp:
        return directory
    if not (directory / "bin" / "python").exists() and run(target.python, "-m", "venv", directory):
        return None
    pins.write_text(wanted)
    pip = (directory / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    if run(*pip, "-c", pins, "-e", ".[test,demo]"):
        return None
    installed.write_text(stamp)
    return directory


def summary(report: Path) -> str:
    """Return the counts that a JUnit report has."""
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    total, failures, errors, skipped = (
        int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")
    )
    passed = total - failures - errors - skipped
    return f"{passed} passed, {failures + errors} failed, {skipped} skipped or expected to fail"


def tested(target: Target, workers: int, arguments: Sequence[str]) -> tuple[str, bool]:
    """Run the tests on one version; return a line that says what came out, and whether all went well."""
    begin = time.monotonic()
    directory = environment(target)
    if directory is None:
        return f"torch {target.torch} with {target.python}: not installed", False
    report = directory / "results.xml"
    report.unlink(missing_ok=True)
    pytest = (directory / "bin" / "python", "-m", "pytest", "-n", workers, "--dist", "worksteal")
    code = run(*pytest, f"--junit-xml={report}", *arguments, **SERIAL)
    counts = summary(report) if report.exists() else "no report"
    said = f"{directory.name}: {counts}, {(time.monotonic() - begin) / 60:.0f} min"
    return said if code == 0 else f"{said}, pytest returned {code}", code == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    said = "versions as 2.15.0 or 2.15.0@python3.13; default: %(default)s"
    parser.add_argument("versions", nargs="*", type=Target.parse, default=VERSIONS, metavar="VERSION", help=said)
    parser.add_argument("--workers", type=int, default=2, help="processes that run tests; default: %(default)s")
    parser.add_argument("--pytest", type=shlex.split, default=[], help="further arguments of pytest, in one string")
    options = parser.parse_args()

    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    lines, passed = [], True
    for version in options.versions:
        target = version if isinstance(version, Target) else Target.parse(version)
        print(f"== torch {target.torch}, {target.python}", flush=True)
        line, fine = tested(target, options.workers, options.pytest)
        lines.append(line)
        passed = passed and fine
        SUMMARY.write_text("\n".join(lines) + "\n")  # at once, for whoever stops the rest
    print("==", *lines, sep="\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
