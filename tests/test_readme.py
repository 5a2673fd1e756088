"""The examples of the README and of the pages in docs run, in their order and as they stand; links lead somewhere."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import functional_dists
from tests import measured_tables

with warnings.catch_warnings():  # those of the import of another library are not ours
    warnings.simplefilter("ignore")
    import torchrl.envs
    import torchrl.modules  # noqa: F401

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
ADDING = ROOT / "docs" / "adding_a_family.md"
MADE_BY_THE_SITE = {"about", "measured", "notebooks", "reference"}  # copies, whose links are those of the originals
MARKDOWN = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "docs").rglob("*.md")
    if not MADE_BY_THE_SITE & {*path.relative_to(ROOT / "docs").parts}
)
LINKED = ["README.md", "CONTRIBUTING.md", "notebooks/README.md", *MARKDOWN]


def blocks_of(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL)


def run(path: Path, blocks: list[str]) -> dict[str, Any]:
    """Run blocks in one namespace, and return it; errors name the page and the line of it."""
    namespace: dict[str, Any] = {}
    text = path.read_text()
    for block in blocks:
        lines_before = text[: text.find(block)].count("\n") if block in text else 0
        exec(compile("\n" * lines_before + block, str(path), "exec"), namespace)
    return namespace


def test_examples_run() -> None:
    blocks = blocks_of(README)
    assert len(blocks) == 5
    namespace = run(README, blocks)
    assert namespace["action"].shape == (256, 6)
    assert namespace["action_log_prob"].shape == (256,)
    assert namespace["log_prob"].shape == (256, 6)
    assert not (namespace["choice"] == 1).any()
    assert namespace["grads"]["weight"].shape == (8, 12, 17)
    assert namespace["data"]["action"].shape == (256, 6)
    assert torch.equal(namespace["new_log_prob"], namespace["data"]["sample_log_prob"])
    assert namespace["entropy"].shape == (256,)
    assert namespace["keyed"].shape == namespace["peak"].shape == namespace["mean"].shape == (256, 6)


def test_citation_names_this_version() -> None:
    assert f"version: {functional_dists.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) < 120


@pytest.mark.parametrize("name", [name for name in MARKDOWN if ROOT / name != ADDING and blocks_of(ROOT / name)])
def test_the_pages_run(name: str) -> None:
    run(ROOT / name, blocks_of(ROOT / name))


def test_the_page_on_adding_a_family_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = blocks_of(ADDING)
    module = tmp_path / "exponential.py"
    module.write_text(blocks[0])
    assert len(blocks[0].splitlines()) < 60
    monkeypatch.syspath_prepend(tmp_path)
    namespace = run(ADDING, blocks[1:])
    assert namespace["exponential"].stddev(torch.tensor([0.5])).item() == 2.0
    torch.testing.assert_close(namespace["debt"].log_prob(torch.ones(()), -0.5), torch.tensor(-0.5))


@pytest.mark.parametrize("name", measured_tables.PAGES)
def test_tables_are_those_that_were_measured(name: str) -> None:
    source = {"errors": measured_tables.ERRORS, "times": measured_tables.TIMES}[name]
    if not source.exists():
        pytest.skip(f"{source.name} is not in a source distribution")
    page = measured_tables.PAGES[name].read_text()
    assert measured_tables.with_table(name, page) == page, "run `python -m tests.measured_tables`"


@pytest.mark.parametrize("name", [name for name in LINKED if name != "docs/index.md"])  # the site checks its own
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!http)(.*?)\)", text):
        path, _, heading = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), target
        if heading:
            titles = [line.lstrip("# ").lower() for line in found.read_text().splitlines() if line.startswith("#")]
            assert heading in [re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles], target
