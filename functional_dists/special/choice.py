"""Draw an outcome by its weight: invert the cumulative sum of integer weights.

Weights are rounded down to integers, which float64 sums exactly in any order. So an outcome without weight is never
chosen, and no weight is lost among millions of outcomes. A sum in blocks, in parallel or in a fused kernel gives the
same choice.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from functional_dists.special import softmax, softmax_parts
from functional_dists.special.axis import cut_of_rows

# A row of more than `LONG` weights is summed in blocks of `BLOCK`; the cumulative sum runs over blocks, then in one.
LONG, BLOCK = 1024, 256
LONG_COMPILED, BLOCK_COMPILED = 32, 16  # compiled code writes a table to memory to take its cumulative sum

# One draw by blocks takes as long as the cumulative sum of this many weights. All draws of a row use one such sum.
_WEIGHTS_PER_DRAW = 16384

_TOTAL_BITS = 53  # bits of the largest sum: float64 holds all integers up to 2^53


def choose_by_logits(logits: Tensor, mask: Tensor | None, uniform: Tensor) -> Tensor:
    """Choose an outcome in each row of logits ``(*B, N)`` by uniform draws ``(*S, *B)``, float64.

    >>> choose_by_logits(torch.zeros(2), None, torch.tensor([0.2, 0.7], dtype=torch.float64))
    tensor([0, 1])
    """
    if cut := cut_of_rows():
        return softmax_parts.choose(logits, mask, uniform, cut)
    return choose(softmax.weights(logits, mask), uniform)


def choose_and_score(logits: Tensor, mask: Tensor | None, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Return the choice of `choose_by_logits` and its log-probability.

    >>> choose_and_score(torch.zeros(2), None, torch.tensor(0.7, dtype=torch.float64))
    (tensor(1), tensor(-0.6931))
    """
    if cut := cut_of_rows():
        return softmax_parts.choose_and_score(logits, mask, uniform, cut)
    parts, weights = softmax.log_prob_terms_and_weights(logits, mask)
    outcome = choose(weights, uniform)
    return outcome, softmax.log_prob_at(parts, outcome)


def unit_of(count: int) -> float:
    """Return the integer that the largest possible weight, 1, becomes among `count` weights.

    >>> unit_of(64) == 2.0**47
    True
    """
    return 2.0 ** (_TOTAL_BITS - (count - 1).bit_length())


def integers_of(weights: Tensor, count: int) -> Tensor:
    """Return weights, each one of `count`, as integers in their dtype; a NaN weight counts as 1, the largest.

    >>> integers_of(torch.tensor([0.5, 0.0, torch.nan]), 2**50)
    tensor([4., 0., 8.])
    """
    weights = torch.where(weights <= 1, weights, 1.0) if torch.compiler.is_compiling() else weights.nan_to_num(1.0, 1.0)
    return torch.floor(weights * unit_of(count))  # exact in the dtype of the weights


def choose(weights: Tensor, uniform: Tensor) -> Tensor:
    """Choose the outcome in each row where the cumulative sum first exceeds the uniform draw times the total.

    A NaN weight counts as 1, the largest. The resolution of a weight is 2^-(53 - log2 N): 2^-47 among 64 outcomes,
    2^-36 among 131,072.

    Args:
        weights: ``(*B, N)``, in [0, 1] or NaN.
        uniform: uniform draws from [0, 1), float64, ``(*S, *B)``.

    Returns:
        Outcomes ``(*S, *B)``, int64; 0 in a row without weight.

    >>> choose(torch.tensor([0.5, 0.0, 1.0]), torch.tensor([0.0, 0.3, 0.4, 0.99], dtype=torch.float64))
    tensor([0, 0, 2, 2])
    """
    count = weights.shape[-1]
    integers = integers_of(weights, count)
    size = _block_size(weights, uniform)
    if size is None:
        sums = integers.cumsum(-1, dtype=torch.float64)
        total = sums[..., -1]
        chosen = first_above(sums, uniform * total)  # the product is below the total, even rounded
    else:
        blocks = functional.pad(integers, (0, -count % size)).unflatten(-1, (-1, size))
        sums = _block_sums(blocks).cumsum(-1)
        total = sums[..., -1]
        target = uniform * total
        block = first_above(sums, target)
        below = torch.where(block > 0, _picked(sums, (block - 1).clamp(min=0)), 0.0)
        row = block[..., None, None].expand(*block.shape, 1, size)
        inside = blocks.expand(*block.shape, *blocks.shape[-2:]).gather(-2, row).squeeze(-2)
        # The difference is exact: it is a multiple of the target's last digit, and not larger than the target.
        chosen = size * block + first_above(inside.cumsum(-1, dtype=torch.float64), target - below)
    return chosen


def _block_size(weights: Tensor, uniform: Tensor) -> int | None:
    """Return the size of a block, None to sum whole rows. The choice does not depend on it."""
    count = weights.shape[-1]
    if torch.compiler.is_compiling() and weights.is_cpu and uniform.shape == weights.shape[:-1]:
        return None if count <= LONG_COMPILED else BLOCK_COMPILED if count <= LONG else BLOCK
    if count <= LONG:
        return None
    rows, draws = _size(weights) // count, _size(uniform)
    return None if count * rows < _WEIGHTS_PER_DRAW * (draws - rows) else BLOCK


def _size(tensor: Tensor) -> int:
    """Return the number of elements of a tensor, over all lanes of vmap."""
    while not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor.numel()


def _block_sums(blocks: Tensor) -> Tensor:
    """Add up the integers of every block, in float64."""
    if not (torch.compiler.is_compiling() and blocks.is_cpu and blocks.dtype == torch.float32):
        return blocks.sum(-1, dtype=torch.float64)
    # Compiled code sums float64 one vector lane at a time. A float32 sum of parts of 16 bits is fast, and exact.
    high, rest = _split(blocks, 2.0**32)
    middle, low = _split(rest, 2.0**16)
    return high.sum(-1).double() * 2.0**32 + middle.sum(-1).double() * 2.0**16 + low.sum(-1).double()


def _split(integers: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    """Return the quotient and the remainder of integers by a unit."""
    units = torch.floor(integers * (1 / unit))
    return units, integers - units * unit


def first_above(sums: Tensor, target: Tensor) -> Tensor:
    """Return the first position where sums ``(*B, n)`` exceed the target ``(*S, *B)``, 0 if none does.

    >>> first_above(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 1.0]))
    tensor([0, 1])
    """
    if not torch.compiler.is_compiling():
        return _operation(sums, target)
    if target.shape == sums.shape[:-1]:
        # A comparison finds the same position. The compiler fuses it with the computation of the target; it does not
        # fuse a search. A float32 sum, exact to 2^24, is vectorised; an int64 sum is not.
        below = (sums <= target[..., None]).to(torch.float32).sum(-1)
        return below.long() % sums.shape[-1]
    return _search(sums, target)


def _search(sums: Tensor, target: Tensor) -> Tensor:
    rows, count = sums.shape[:-1], sums.shape[-1]
    sums = sums.contiguous()  # `searchsorted` would copy them, and warn
    if target.shape == rows:
        return torch.searchsorted(sums, target[..., None].contiguous(), right=True).squeeze(-1) % count
    draws = math.prod(target.shape[: target.ndim - len(rows)])  # there may be no rows
    searched = target.reshape(draws, *rows).movedim(0, -1).contiguous()
    found = torch.searchsorted(sums, searched, right=True)
    return found.movedim(-1, 0).reshape(target.shape) % count


def _picked(table: Tensor, index: Tensor) -> Tensor:
    return table.expand(*index.shape, table.shape[-1]).gather(-1, index[..., None]).squeeze(-1)


# --- The operation ---------------------------------------------------------------------------------------------------
# Lanes of vmap that have the same sums are more draws of the same rows. PyTorch's own batching does not use that.
_library = torch.library.Library("functional_dists", "FRAGMENT")
_library.define("first_above(Tensor sums, Tensor target) -> Tensor")
_library.impl("first_above", _search, "CompositeExplicitAutograd")
_operation: Callable[[Tensor, Tensor], Tensor] = torch.ops.functional_dists.first_above.default


def _fake(sums: Tensor, target: Tensor) -> Tensor:
    return target.new_empty(target.shape, dtype=torch.int64)


def _vmap(info: Any, in_dims: tuple[int | None, ...], sums: Tensor, target: Tensor) -> tuple[Tensor, int]:
    sums_dim, target_dim = in_dims
    if sums_dim is None:
        assert target_dim is not None
        return _operation(sums, target.movedim(target_dim, 0)), 0
    sums = sums.movedim(sums_dim, 0)
    if target_dim is None:
        target, target_dim = target.expand(info.batch_size, *target.shape), 0
    lanes = target.ndim + 1 - sums.ndim  # the axis in front of the row axes
    return _operation(sums, target.movedim(target_dim, lanes)), lanes


torch.library.register_fake("functional_dists::first_above", _fake, lib=_library)
torch.library.register_vmap("functional_dists::first_above", _vmap, lib=_library)
