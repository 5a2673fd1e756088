"""What the sdist and the wheel hold, and that the wheel works where it is installed."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BESIDE = {
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "SECURITY.md",
    "constraints.txt",
    "pyproject.toml",
}


def sources() -> set[str]:
    """Return the files of the package that are not built."""
    kept = (path for path in (ROOT / "functional_dists").rglob("*") if path.suffix in (".c", ".py", ".pyi", ".typed"))
    return {path.relative_to(ROOT).as_posix() for path in kept}


def without_metadata(names: list[str]) -> set[str]:
    """Return the names of files but those that setuptools writes into every sdist."""
    return {name for name in names if ".egg-info/" not in name and name not in ("PKG-INFO", "setup.cfg")}


def test_the_sdist_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    setup = "from setuptools import setup; setup(script_args=['--quiet', 'egg_info', '--egg-base', OUT])"
    subprocess.run([sys.executable, "-c", setup.replace("OUT", repr(str(tmp_path)))], cwd=ROOT, check=True)
    (listed,) = tmp_path.glob("*.egg-info/SOURCES.txt")
    assert without_metadata(listed.read_text().splitlines()) == sources() | BESIDE


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".venv/wheel").exists(), reason="`make .venv/wheel` installs what builds the wheel")
def test_the_wheel_is_built_and_works_without_a_compiler() -> None:
    run = subprocess.run(["make", "wheel"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "vmap over keys" in run.stdout  # the last line of tests/wheel/use.py
    (sdist,) = (ROOT / "dist").glob("*.tar.gz")
    (wheel,) = (ROOT / "dist").glob("*.whl")
    with tarfile.open(sdist) as archive:
        files = [name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()]
    assert without_metadata(files) == sources() | BESIDE
    assert "-cp311-abi3-" in wheel.name
    assert "-linux_" not in wheel.name
