"""Views as another dtype under `torch.vmap`, whose rule torch 2.11 gets from `random`."""

import pytest
import torch
from torch import Tensor, vmap


def halves(x: Tensor) -> Tensor:
    return x.view(torch.int32)


@pytest.mark.parametrize("axis", [0, 1])
def test_lanes_are_viewed_each(axis: int) -> None:
    x = torch.arange(24).reshape(2, 3, 4) << 30
    assert torch.equal(vmap(halves, axis)(x), torch.stack([halves(lane) for lane in x.unbind(axis)]))


def test_nested_lanes_are_viewed_each() -> None:
    x = torch.arange(24).reshape(2, 3, 4) << 30
    assert torch.equal(vmap(vmap(halves), 1)(x), halves(x).movedim(1, 0))


def test_a_lane_without_axes_keeps_its_size() -> None:
    bits = torch.arange(3).double().view(torch.int64)
    assert torch.equal(vmap(lambda x: x.view(torch.float64))(bits), torch.arange(3).double())
