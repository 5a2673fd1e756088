"""The likeliest outcomes of rows of logits: the first k of them, or the fewest that reach a part of the probability.

Outcomes are in falling order of their logits, and the first among equals comes first. NaN counts as the largest number.
The probability of a set is the sum of its weights exp(logit - maximum), which are rounded down to integers as in
`choice`. float64 sums these exactly in any order. So the set depends neither on the order of a sum, nor on the batch or
the chunks.

Only the numbers are sorted, not their places. The number of the last outcome in the set then tells which are in it.

All of this is one operation, which compiled code does not fuse. The `exp` of compiled code differs from that of eager
code in the last digit, and so would the sets.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from functional_dists.special.choice import unit_of
from functional_dists.special.chunks import by_chunks


def likeliest(
    logits: Tensor, count: Tensor | None, most: int | None, mass: Tensor | None, is_joint: bool = False
) -> Tensor:
    """Return the mask ``(*B, N)`` of the likeliest outcomes: never one of logit -inf, always those of logit NaN.

    Args:
        logits: ``(*B, N)``.
        count: How many outcomes to keep, int64, ``(*B, 1)``; at least 1 is kept. None for all.
        most: The largest count, if it is known.
        mass: The part of the probability that the kept outcomes reach, float64, ``(*B, 1)``; None for all.
        is_joint: Whether `mass` is a part of the probability of all outcomes, not only of the first `count`.

    >>> likeliest(torch.tensor([0.0, 2.0, 1.0]), torch.tensor([2]), 2, None)
    tensor([False,  True,  True])
    """
    if most is not None and most >= logits.shape[-1]:
        count = most = None
    if count is None and mass is None:
        return logits.detach() != -math.inf
    return _operation(logits.detach(), count, most, mass, is_joint)


def _likeliest(logits: Tensor, count: Tensor | None, most: int | None, mass: Tensor | None, is_joint: bool) -> Tensor:
    size = logits.shape[-1]
    batch = torch.broadcast_shapes(*(t.shape[:-1] for t in (logits, count, mass) if t is not None))
    is_counted, is_weighed = count is not None, mass is not None
    most = size if most is None else min(most, size)

    def of_chunk(logits: Tensor, *options: Tensor) -> Tensor:
        count, mass = options[0] if is_counted else None, options[-1] if is_weighed else None
        numbers = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return _of_rows(numbers, count, most, mass, is_joint)

    options = [t.expand(*batch, 1) for t in (count, mass) if t is not None]
    return by_chunks(of_chunk, logits.detach().expand(*batch, size), *options)


def _of_rows(numbers: Tensor, count: Tensor | None, most: int, mass: Tensor | None, is_joint: bool) -> Tensor:
    size = numbers.shape[-1]
    falling = _falling(numbers, most).nan_to_num(math.inf, math.inf, -math.inf)
    kept = torch.full_like(falling[..., :1], most, dtype=torch.int64) if count is None else count.clamp(1, most)
    if mass is not None:
        top = falling[..., :1]
        weights = _integer_weights(falling, top, size)
        if count is not None:
            weights = weights * (torch.arange(most, device=weights.device) < kept)
        sums = weights.cumsum(-1)
        total = _integer_weights(numbers, top, size).sum(-1, keepdim=True) if is_joint else sums[..., -1:]
        reaching = 1 + torch.searchsorted(sums, (mass * total).nan_to_num(0.0).contiguous())
        kept = torch.where(mass >= 1, kept, torch.minimum(kept, reaching))
    last = falling.gather(-1, kept - 1)
    number_of_last = torch.where(last > -math.inf, kept - (falling > last).sum(-1, keepdim=True), size)
    return _down_to(numbers, last.clamp(min=torch.finfo(last.dtype).min), number_of_last)


def _falling(numbers: Tensor, count: int) -> Tensor:
    """Return the largest numbers of each row in falling order."""
    if not numbers.is_cpu:
        return numbers.sort(dim=-1, descending=True).values[..., :count]
    # NumPy sorts without places, and with vector instructions, in a tenth of the time.
    array, size = numbers.numpy(), numbers.shape[-1]
    largest = np.partition(array, size - count, -1)[..., size - count :] if count < size else array
    return torch.from_numpy(np.sort(largest, -1)).flip(-1)


def _down_to(numbers: Tensor, last: Tensor, number_of_last: Tensor) -> Tensor:
    """Return the mask of NaN, of what is above the last number, and of the first so many that are equal to it."""
    if not numbers.is_cpu:
        is_equal = numbers == last
        return ~(numbers < last) & (~is_equal | (is_equal.cumsum(-1, dtype=torch.int32) <= number_of_last))
    # NumPy compares faster, and lists the few that are equal.
    array, bound = numbers.numpy(), last.numpy()
    mask = np.logical_not(array < bound)
    places = np.flatnonzero(array == bound)
    rows = places // array.shape[-1]
    earlier = np.arange(len(rows)) - np.searchsorted(rows, rows)
    mask.reshape(-1)[places[earlier >= number_of_last.numpy().reshape(-1)[rows]]] = False
    return torch.from_numpy(mask)


def _integer_weights(numbers: Tensor, top: Tensor, size: int) -> Tensor:
    """Return the weights relative to the top; where both are infinite, all are equal."""
    weights = (numbers - top).nan_to_num_(0.0).clamp_(min=-80.0).exp_()
    return weights.mul_(unit_of(size)).floor_().double()


# --- The operation ---------------------------------------------------------------------------------------------------
_library = torch.library.Library("functional_dists", "FRAGMENT")
_library.define("likeliest(Tensor logits, Tensor? count, SymInt? most, Tensor? mass, bool is_joint) -> Tensor")
_library.impl("likeliest", _likeliest, "CompositeExplicitAutograd")
_operation: Callable[..., Tensor] = torch.ops.functional_dists.likeliest.default


def _fake(logits: Tensor, count: Tensor | None, most: int | None, mass: Tensor | None, is_joint: bool) -> Tensor:
    batch = torch.broadcast_shapes(*(t.shape[:-1] for t in (logits, count, mass) if t is not None))
    return logits.new_empty((*batch, logits.shape[-1]), dtype=torch.bool)


def _vmap(
    info: Any, in_dims: Any, logits: Tensor, count: Tensor | None, most: int | None, mass: Tensor | None, is_joint: bool
) -> tuple[Tensor, int]:
    tensors, dims = (logits, count, mass), (in_dims[0], in_dims[1], in_dims[3])
    ndim = max(t.ndim - (dim is not None) for t, dim in zip(tensors, dims, strict=True) if t is not None)

    def lanes_first(tensor: Tensor | None, dim: int | None) -> Any:
        if tensor is None or dim is None:
            return tensor
        tensor = tensor.movedim(dim, 0)
        return tensor[:, *[None] * (ndim + 1 - tensor.ndim)]  # the missing axes of the batch come after the lanes

    logits, count, mass = (lanes_first(t, dim) for t, dim in zip(tensors, dims, strict=True))
    return _operation(logits, count, most, mass, is_joint), 0


torch.library.register_fake("functional_dists::likeliest", _fake, lib=_library)
torch.library.register_vmap("functional_dists::likeliest", _vmap, lib=_library)
