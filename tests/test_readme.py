"""The examples of the README run, in their order and as they stand."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

with warnings.catch_warnings():  # those of the import of another library are not ours
    warnings.simplefilter("ignore")
    import torchrl.modules  # noqa: F401

README = Path(__file__).parent.parent / "README.md"
ADDING = README.parent / "docs" / "adding_a_family.md"


def test_examples_run() -> None:
    namespace: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 9
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)
    assert namespace["action"].shape == (256, 6)
    assert namespace["actions"].shape == (8, 256, 6)
    assert namespace["log_probs"].shape == (8, 256)
    assert namespace["grads"]["weight"].shape == (8, 12, 17)
    assert namespace["step"]["action_log_prob"].shape == (256,)
    assert namespace["peak"].shape == (256, 6)
    assert namespace["joint"].shape == namespace["bonus"].shape == namespace["new_log_prob"].shape == (256,)
    assert namespace["greedy"].shape == (256, 6)


def test_the_page_on_adding_a_family_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", ADDING.read_text(), flags=re.DOTALL)
    module = tmp_path / "exponential.py"
    module.write_text(blocks[0])
    assert len(blocks[0].splitlines()) < 60
    monkeypatch.syspath_prepend(tmp_path)
    namespace: dict[str, Any] = {}
    for block in (
        "from exponential import *\nfrom exponential import Real, Source, Tensor, random, torch",
        *blocks[1:],
    ):
        exec(compile(block, str(ADDING), "exec"), namespace)
    assert namespace["exponential"].stddev(torch.tensor([0.5])).item() == 2.0
    torch.testing.assert_close(namespace["debt"].log_prob(torch.ones(()), -0.5), torch.tensor(-0.5))


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)(.*?)\)", README.read_text()))
def test_links_lead_somewhere(path: str) -> None:
    assert (README.parent / path).exists()
