"""The examples of the README run, in their order and as they stand."""

import re
import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():  # those of the import of another library are not ours
    warnings.simplefilter("ignore")
    import torchrl.modules  # noqa: F401

README = Path(__file__).parent.parent / "README.md"


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


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)(.*?)\)", README.read_text()))
def test_links_lead_somewhere(path: str) -> None:
    assert (README.parent / path).exists()
