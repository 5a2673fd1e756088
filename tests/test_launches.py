"""Eager code on a device without kernels pays for each operation that it launches, so here operations are counted."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from functional_dists import categorical, masked_categorical, tanh_normal
from functional_dists.special import constant

_VIEWS = {"alias", "detach", "expand", "select", "slice", "squeeze", "transpose", "unsqueeze", "view"}


class Launches(TorchDispatchMode):
    """The names of the operations that run inside, but for those that only view memory."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in _VIEWS:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn((256, 64), generator=GENERATOR)
MASK = torch.rand((256, 64), generator=GENERATOR) < 0.7
VALUE = torch.zeros(256, dtype=torch.int64)
LOC, SCALE, ACTION = torch.zeros(256, 6), torch.ones(256, 6), torch.full((256, 6), 0.5)

# What is called, and the most operations that it may launch.
CALLS: dict[str, tuple[Callable[[], object], int]] = {
    "categorical.log_prob": (lambda: categorical.log_prob(LOGITS, VALUE), 18),
    "categorical.sample_and_log_prob": (lambda: categorical.sample_and_log_prob(GENERATOR, LOGITS), 23),
    "masked_categorical.log_prob": (lambda: masked_categorical.log_prob(LOGITS, MASK, VALUE), 20),
    "masked_categorical.sample_and_log_prob": (
        lambda: masked_categorical.sample_and_log_prob(GENERATOR, LOGITS, MASK),
        25,
    ),
    "tanh_normal.log_prob": (lambda: tanh_normal.log_prob(LOC, SCALE, -1.0, 1.0, ACTION), 29),
    "tanh_normal.log_prob, bounds as tensors": (
        lambda: tanh_normal.log_prob(LOC, SCALE, -torch.ones(6), torch.ones(6), ACTION),
        35,
    ),
    "tanh_normal.sample_and_log_prob": (
        lambda: tanh_normal.sample_and_log_prob(GENERATOR, LOC, SCALE, -1.0, 1.0),
        41,
    ),
    "tanh_normal.rsample_and_log_prob": (
        lambda: tanh_normal.rsample_and_log_prob(GENERATOR, LOC, SCALE, -1.0, 1.0),
        35,
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.usefixtures("without_kernels")
def test_few_operations_are_launched(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constant, "is_plain", lambda: True)  # outside of the mode that counts
    call, most = CALLS[name]
    call()  # computes what depends on numbers alone
    with Launches() as launches:
        call()
    assert len(launches.names) <= most, launches.names
