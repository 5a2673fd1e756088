"""Check a wheel as its users get it: `python -m tests.wheel.check dist/*.whl`.

Its files are those of the package. An empty environment that finds no C compiler installs it and runs `use.py`. Each
other Python on PATH loads its extension alone; `--python python3.13` instead installs PyTorch for that one too.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXTENSION = "functional_dists/_kernels.abi3.so"
NAMES = [f"python3.{minor}" for minor in range(11, 15)]


def check_files(wheel: Path) -> None:
    """Raise an error if the wheel lacks a file of the package, or holds a file that is none."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    about = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    sources = (path for path in (ROOT / "functional_dists").rglob("*") if path.suffix in (".py", ".pyi", ".typed"))
    wanted = {EXTENSION, *(path.relative_to(ROOT).as_posix() for path in sources)}
    assert names - about == wanted, f"too many or too few: {sorted((names - about) ^ wanted)}"
    assert {Path(name).name for name in about} >= {"LICENSE", "METADATA", "RECORD", "WHEEL"}, about


def reason_to_skip(python: str) -> str | None:
    """Return why a Python cannot run, if so; a command of pyenv may be found and still not run."""
    if shutil.which(python) is None:
        return "it is not on PATH"
    works = subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0
    return None if works else "the command does not run"


def load_alone(wheel: Path, python: str) -> None:
    """Load the extension under a Python, without PyTorch."""
    with tempfile.TemporaryDirectory() as directory:
        extension = zipfile.ZipFile(wheel).extract(EXTENSION, directory)
        subprocess.run([python, "-I", HERE / "load.py", extension], check=True)


def install_and_use(wheel: Path, python: str) -> None:
    """Install the wheel with its dependencies into a new environment without a C compiler, and use it."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([python, "-m", "venv", "--without-pip", directory], check=True)
        commands = Path(directory) / "bin"
        environment = {**os.environ, "PATH": str(commands), "CC": "false", "CXX": "false"}

        def run(*command: str | Path) -> None:
            subprocess.run(command, check=True, env=environment, cwd=directory)

        # Most modules of PyTorch are not imported here: their bytecode is not wanted.
        pip = [sys.executable, "-m", "pip", "--python", commands / "python", "install", "--quiet", "--no-compile"]
        run(*pip, "--only-binary", ":all:", "-c", ROOT / "constraints.txt", wheel)
        run(commands / "python", "-I", HERE / "use.py")
    print(f"installed and used under {python} in {time.monotonic() - start:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument(
        "--python", action="append", help="install and use the wheel under this Python, not under the running one"
    )
    options = parser.parse_args()
    wheel = options.wheel.resolve()
    check_files(wheel)
    print(f"{wheel.name} holds the package and nothing else", flush=True)
    for python in NAMES:
        if reason := reason_to_skip(python):
            print(f"{python} is skipped: {reason}", flush=True)
        else:
            load_alone(wheel, python)
    for python in options.python or [sys.executable]:
        install_and_use(wheel, python)


if __name__ == "__main__":
    main()
