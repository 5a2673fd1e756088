"""The tools of the site: docstrings as pages, programs as pages, and the check of what was built."""

import doctest
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, DOCS / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", ["_tools/markup.py", "_tools/programs.py"])
def test_examples_of_the_tools_run(path: str) -> None:
    result = doctest.testmod(load(path))
    assert result.attempted > 0
    assert result.failed == 0


def test_docstrings_keep_code_and_lose_no_text() -> None:
    lines = [
        "Draw `f(*x)` of |x| in (*batch, N).",
        "",
        "    code = f(*x)",
        "",
        "- one,",
        "    and more",
        "",
        "Args:",
        "    name: Of shape (*batch).",
        "    other: A tensor,",
        "        or a number.",
        "Raises:",
        "    ValueError: it is bad.",
        "",
        ">>> f(*x)",
        "1",
        "Returns:",
        "    A pair.",
    ]
    assert load("_tools/markup.py").converted(lines) == [
        r"Draw `f(*x)` of \|x\| in (\*batch, N).",
        "",
        ".. code-block:: python",
        "",
        "    code = f(*x)",
        "",
        "- one,",
        "    and more",
        "",
        r":param name: Of shape (\*batch).",
        ":param other: A tensor, or a number.",
        "",
        ":raises ValueError: it is bad.",
        "",
        ">>> f(*x)",
        "1",
        "",
        ":returns: A pair.",
        "",
    ]


def test_a_program_without_a_docstring_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x\.py: a program of the cookbook begins with a docstring"):
        load("_tools/programs.py").as_page("print(1)\n", "x.py")


def test_the_check_finds_every_fault(tmp_path: Path) -> None:
    head = '<link rel="canonical" href="https://a.example/"><script src="https://cdn.example/a.js"></script>'
    links = (
        '<a href="b.html#here">b</a><a href="b.html#no">b</a><a href="c.html">c</a><a href="https://d.example">d</a>'
    )
    images = '<img src="a.png"><img src="data:image/png;base64,AA"><img src="//e.example/e.png">'
    (tmp_path / "index.html").write_text(f"<html>{head}{links}{images}</html>")
    (tmp_path / "b.html").write_text(
        '<p id="here"><a href="#top">up</a></p><style>p {src: url("http://f.example")}</style>'
    )
    (tmp_path / "alone.html").write_text("<p>Nobody links to this page.</p>")
    (tmp_path / "a.css").write_text("@import 'https://fonts.example/a.css';")
    assert sorted(load("check_site.py").problems_of_files(tmp_path)) == [
        "a.css loads https://fonts.example/a.css",
        "alone.html: no page links to it",
        "b.html loads http://f.example",
        "index.html links to a.png, which does not exist",
        "index.html links to b.html#no, a page without that anchor",
        "index.html links to c.html, which does not exist",
        "index.html loads //e.example/e.png",
        "index.html loads https://cdn.example/a.js",
    ]
