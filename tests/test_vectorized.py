"""What compiled code does in another way is the same to the last bit."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from functional_dists import masked_categorical, random
from functional_dists.special import choice, softmax, vectorized

KEY = random.key(7)
INF, NAN = math.inf, math.nan


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 7, 16, 67])
def test_largest(count: int, dtype: torch.dtype) -> None:
    table = torch.round(2 * random.normal(KEY, (50, count), dtype=dtype))  # with many equals
    table[0], table[1], table[2, -1], table[3, 0] = -INF, INF, INF, -INF
    expected = table.argmax(-1, keepdim=True)
    assert torch.equal(vectorized.argmax(table), expected)
    assert torch.equal(compiled(vectorized.argmax)(table), expected)


def test_largest_beside_nan_exists() -> None:
    found = compiled(vectorized.argmax)(torch.tensor([[1.0, NAN, 2.0], [1.0, 3.0, 2.0]]))
    assert 0 <= found[0].item() < 3
    assert found[1].item() == 1


@pytest.mark.parametrize("shape", [(), (1,), (5, 67), (2, 3, 16)])
def test_mask(shape: tuple[int, ...]) -> None:
    mask = random.bernoulli(KEY, shape, 0.5)
    table = torch.zeros(shape)
    for given in (mask, mask.mT if mask.ndim > 1 else mask, mask[..., ::2] if mask.ndim else mask):
        same = table.expand_as(given) if not mask.ndim else torch.zeros(given.shape)
        got = compiled(lambda table, mask: torch.where(vectorized.fast_mask(mask), table, NAN))(same, given)
        assert torch.equal(got.isnan(), ~given)


def test_mask_in_lanes() -> None:
    masks, logits = random.bernoulli(KEY, (5, 4, 9), 0.6), random.normal(KEY, (4, 9))
    over_masks = torch.vmap(softmax.masked, in_dims=(None, 1))
    assert torch.equal(compiled(over_masks)(logits[:, None], masks), over_masks(logits[:, None], masks))


@pytest.mark.parametrize("count", [31, 33, 64, 1000, 1025])
def test_choice(count: int) -> None:
    """Compiled, rows are summed in blocks of other sizes, and the blocks in parts."""
    rows = 300
    weights = random.uniform(KEY, (rows, count)) * random.bernoulli(random.fold_in(KEY, 1), (rows, count), 0.3)
    weights[0], weights[1] = 0, 1
    weights[2, :-1], weights[2, -1] = 0, 1
    weights[3, 1:], weights[3, 0] = 2.0**-40, 1
    share = random.uniform(random.fold_in(KEY, 2), (rows,), dtype=torch.float64)
    share[::5], share[1::5] = 0, 1 - 2.0**-53
    choose = compiled(choice.choose)
    for dtype in (torch.float32, torch.float64):
        of_dtype = weights.to(dtype)
        assert torch.equal(choose(of_dtype, share), choice.choose(of_dtype, share))


def test_choice_of_many_from_a_row() -> None:
    weights = random.uniform(KEY, (5, 70))
    share = random.uniform(random.fold_in(KEY, 2), (40, 5), dtype=torch.float64)
    assert torch.equal(compiled(choice.choose)(weights, share), choice.choose(weights, share))


def test_draws_of_a_policy_do_not_depend_on_compilation() -> None:
    logits, mask = 3 * random.normal(KEY, (2000, 64)), random.bernoulli(KEY, (2000, 64), 0.5)
    draw = torch.compile(masked_categorical.sample, fullgraph=True)
    assert torch.equal(draw(KEY, logits, mask), masked_categorical.sample(KEY, logits, mask))
