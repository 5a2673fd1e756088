"""Drawing an outcome by its weight: the inverse of the cumulative sum, in integers.

Weights are rounded down to integers before they are summed, and float64 adds these up exactly, to the same in any
order: an outcome without weight is never chosen, nothing is lost among millions of outcomes, and a sum in blocks, in
parallel or in a fused kernel gives the same choice.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from functional_dists.special import softmax
from functional_dists.special.constant import is_plain

# The cumulative sum of a row that is longer is taken of blocks of so many, and then within one block.
LONG, BLOCK = 1024, 256
LONG_COMPILED, BLOCK_COMPILED = 32, 16  # there every table has to be written to memory for its cumulative sum

# A draw by blocks takes as long as the cumulative sum of this many weights, which all draws of a row can share.
_WORTH_OF_A_DRAW = 16384

_TOTAL_BITS = 53  # of the largest sum, as many as float64 has


def choose_by_logits(logits: Tensor, mask: Tensor | None, share: Tensor) -> Tensor:
    """Choose the outcome of every row of logits ``(*B, N)`` at a share ``(*S, *B)`` of the sum of their weights.

    >>> choose_by_logits(torch.zeros(2), None, torch.tensor([0.2, 0.7], dtype=torch.float64))
    tensor([0, 1])
    """
    return choose(softmax.weights(logits, mask), share)


def choose_and_score(logits: Tensor, mask: Tensor | None, share: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `choose_by_logits` chooses, with its log-probability.

    >>> choose_and_score(torch.zeros(2), None, torch.tensor(0.7, dtype=torch.float64))
    (tensor(1), tensor(-0.6931))
    """
    parts = softmax.shift(logits, mask)
    outcome = choose(parts.weights.detach(), share)
    return outcome, softmax.log_prob_at(parts, outcome)


def unit_of(count: int) -> float:
    """Return how many units the largest of so many weights has.

    >>> unit_of(64) == 2.0**47
    True
    """
    return 2.0 ** (_TOTAL_BITS - (count - 1).bit_length())


def choose(weights: Tensor, share: Tensor) -> Tensor:
    """Choose the outcome of every row of weights at a share of its sum, where NaN is taken for the largest, 1.

    A weight counts to 2^-(53 - log2 N) of the largest possible one: 2^-47 among 64 outcomes, 2^-36 among 131,072.

    Args:
        weights: ``(*B, N)``, in [0, 1] or NaN.
        share: uniform draws from [0, 1), float64, ``(*S, *B)``.

    Returns:
        Outcomes ``(*S, *B)``, int64; 0 in a row without weight.

    >>> choose(torch.tensor([0.5, 0.0, 1.0]), torch.tensor([0.0, 0.3, 0.4, 0.99], dtype=torch.float64))
    tensor([0, 0, 2, 2])
    """
    count = weights.shape[-1]
    weights = torch.where(weights <= 1, weights, 1.0) if torch.compiler.is_compiling() else weights.nan_to_num(1.0, 1.0)
    integers = torch.floor(weights * unit_of(count))  # exact in the dtype of the weights
    size = _block_size(weights, share)
    if size is None:
        sums = integers.cumsum(-1, dtype=torch.float64)
        total = sums[..., -1]
        chosen = _first_above(sums, share * total)  # rounded, it is still below the total
    else:
        blocks = functional.pad(integers, (0, -count % size)).unflatten(-1, (-1, size))
        sums = _block_sums(blocks).cumsum(-1)
        total = sums[..., -1]
        target = share * total
        block = _first_above(sums, target)
        below = torch.where(block > 0, _picked(sums, (block - 1).clamp(min=0)), 0.0)
        row = block[..., None, None].expand(*block.shape, 1, size)
        inside = blocks.expand(*block.shape, *blocks.shape[-2:]).gather(-2, row).squeeze(-2)
        # The difference is exact: a multiple of the target's last digit, and not larger.
        chosen = size * block + _first_above(inside.cumsum(-1, dtype=torch.float64), target - below)
    return chosen


def _block_size(weights: Tensor, share: Tensor) -> int | None:
    """Return how many weights make a block, None where a row is one. The choice is the same."""
    count = weights.shape[-1]
    if torch.compiler.is_compiling() and weights.is_cpu and share.shape == weights.shape[:-1]:
        return None if count <= LONG_COMPILED else BLOCK_COMPILED if count <= LONG else BLOCK
    if count <= LONG:
        return None
    rows, draws = _size(weights) // count, _size(share)
    return None if count * rows < _WORTH_OF_A_DRAW * (draws - rows) else BLOCK


def _size(tensor: Tensor) -> int:
    """Return of how many numbers a tensor is, in all lanes of vmap together."""
    while not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor.numel()


def _block_sums(blocks: Tensor) -> Tensor:
    """Add up the integers of every block, in float64."""
    if not (torch.compiler.is_compiling() and blocks.is_cpu and blocks.dtype == torch.float32):
        return blocks.sum(-1, dtype=torch.float64)
    # Compiled, the lanes of a float64 sum are added up one by one. Parts of 16 bits can be summed in float32, exactly.
    high, rest = _split(blocks, 2.0**32)
    middle, low = _split(rest, 2.0**16)
    return high.sum(-1).double() * 2.0**32 + middle.sum(-1).double() * 2.0**16 + low.sum(-1).double()


def _split(integers: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    """Return how many units there are in the integers, and what is left."""
    units = torch.floor(integers * (1 / unit))
    return units, integers - units * unit


def _first_above(sums: Tensor, target: Tensor) -> Tensor:
    """Return for targets ``(*S, *B)`` the first position of sums ``(*B, n)`` that exceeds it, 0 if none does."""
    if not torch.compiler.is_compiling():
        return _search(sums, target) if is_plain() else _operation(sums, target)
    if target.shape == sums.shape[:-1]:
        # The same position, by a comparison, which is fused with what makes the target, as a search is not.
        # A sum in float32, exact to 2^24, is compiled well, and one in int64 is not.
        below = (sums <= target[..., None]).to(torch.float32).sum(-1)
        return below.long() % sums.shape[-1]
    return _search(sums, target)


def _search(sums: Tensor, target: Tensor) -> Tensor:
    rows, count = sums.shape[:-1], sums.shape[-1]
    if target.shape == rows:
        return torch.searchsorted(sums, target[..., None], right=True).squeeze(-1) % count
    searched = target.reshape(-1, *rows).movedim(0, -1).contiguous()
    found = torch.searchsorted(sums, searched, right=True)
    return found.movedim(-1, 0).reshape(target.shape) % count


def _picked(table: Tensor, index: Tensor) -> Tensor:
    return table.expand(*index.shape, table.shape[-1]).gather(-1, index[..., None]).squeeze(-1)


# --- The operation ---------------------------------------------------------------------------------------------------
# Where lanes of vmap share the sums they are more draws of the same rows, which PyTorch's own batching does not see.
_library = torch.library.Library("functional_dists", "FRAGMENT")
_library.define("first_above(Tensor sums, Tensor target) -> Tensor")
_library.impl("first_above", _search, "CompositeExplicitAutograd")
_operation: Callable[[Tensor, Tensor], Tensor] = torch.ops.functional_dists.first_above.default


def _fake(sums: Tensor, target: Tensor) -> Tensor:
    return target.new_empty(target.shape, dtype=torch.int64)


def _vmap(info: Any, in_dims: tuple[int | None, ...], sums: Tensor, target: Tensor) -> tuple[Tensor, int]:
    of_sums, of_target = in_dims
    if of_sums is None:
        assert of_target is not None
        return _operation(sums, target.movedim(of_target, 0)), 0
    sums = sums.movedim(of_sums, 0)
    if of_target is None:
        target, of_target = target.expand(info.batch_size, *target.shape), 0
    lanes = target.ndim + 1 - sums.ndim  # the axis before those of the rows
    return _operation(sums, target.movedim(of_target, lanes)), lanes


torch.library.register_fake("functional_dists::first_above", _fake, lib=_library)
torch.library.register_vmap("functional_dists::first_above", _vmap, lib=_library)
