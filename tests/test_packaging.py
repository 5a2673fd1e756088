"""What the sdist and the wheel hold, and that the wheel works where it is installed."""

import re
import subprocess
import sys
import tarfile
import zipfile
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
    "setup.py",
}


def sources() -> set[str]:
    """Return the files of the package that are not built."""
    kept = (
        path for path in (ROOT / "functional_dists").rglob("*") if path.suffix in (".c", ".h", ".py", ".pyi", ".typed")
    )
    return {path.relative_to(ROOT).as_posix() for path in kept}


def without_metadata(names: list[str]) -> set[str]:
    """Return the names of files but those that setuptools writes into every sdist."""
    return {name for name in names if ".egg-info/" not in name and name not in ("PKG-INFO", "setup.cfg")}


def links_without_url(metadata: str) -> list[str]:
    """Return the targets of links and images of the description that are no URLs; code has none."""
    text = re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", metadata.partition("\n\n")[2])
    assert text.startswith("# functional_dists")
    targets = re.findall(r"\]\(\s*([^)\s]*)|^\[[^\]]+\]:\s*(\S+)|(?:src|href)=[\"']?([^\"'\s>]*)", text, re.MULTILINE)
    return [target for found in targets for target in found if target and not re.match("https?:|mailto:", target)]


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the metadata that setuptools makes for an sdist."""
    directory = tmp_path_factory.mktemp("metadata")
    subprocess.run([sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", directory], cwd=ROOT, check=True)
    (found,) = directory.glob("*.egg-info")
    return found


def test_the_sdist_holds_the_package_and_nothing_else(metadata: Path) -> None:
    assert without_metadata((metadata / "SOURCES.txt").read_text().splitlines()) == sources() | BESIDE


def test_the_description_has_no_link_that_leads_nowhere_outside_of_the_repository(metadata: Path) -> None:
    described, readme = (metadata / "PKG-INFO").read_text(), (ROOT / "README.md").read_text()
    assert "Description-Content-Type: text/markdown\n" in described
    assert links_without_url(described) == []
    assert len(links_without_url("\n\n" + readme)) > 20
    assert re.findall(r"(?ms)^```.*?^```", described) == re.findall(r"(?ms)^```.*?^```", readme)
    assert [line for line in readme.splitlines() if line.startswith("#")] == [
        line for line in described.partition("\n\n")[2].splitlines() if line.startswith("#")
    ]
    assert "* Measured: numerics, speed\n" in described


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
    (about,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    assert links_without_url(zipfile.ZipFile(wheel).read(about).decode()) == []
    assert "-cp311-abi3-" in wheel.name
    assert "-linux_" not in wheel.name
