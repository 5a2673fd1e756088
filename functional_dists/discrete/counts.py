"""Counts 0, 1, 2, ... as values of discrete families."""

import torch
from torch import Tensor

from functional_dists.special import nan_of

#: The largest count that a draw or a quantile gives. It is a power of 2, so every float format holds it.
LARGEST_COUNT = 2.0**62
#: What a quantile of a number that is no probability gives: no count.
NO_COUNT = -1


def counted(value: Tensor) -> tuple[Tensor, Tensor]:
    """Return where a value is no count, and the count in float64, 0 there; NaN counts as NaN.

    >>> counted(torch.tensor([2.0, 0.5, -1.0, torch.inf, torch.nan]))
    (tensor([False,  True,  True,  True, False]), tensor([2., 0., 0., 0., nan], dtype=torch.float64))
    """
    wide = value.double()
    is_outside = (wide < 0) | (wide != wide.floor()) & ~wide.isnan() | wide.isinf()
    return is_outside, torch.where(is_outside, 0.0, wide)


def nan_with(result: Tensor, *others: Tensor) -> Tensor:
    """Return a result, NaN where another tensor is NaN; unlike `nan_of` in forward mode too where it is infinite.

    >>> nan_with(torch.tensor([1.0, -torch.inf]), torch.tensor([torch.nan, 0.0]))
    tensor([nan, -inf])
    """
    is_infinite = result.isinf()
    finite = nan_of(torch.where(is_infinite, 0.0, result), *(other.to(result.dtype) for other in others))
    return torch.where(is_infinite & ~finite.isnan(), result, finite)


def as_count(number: Tensor) -> Tensor:
    """Return a float64 number, an integer, as int64; NaN gives 0, and a larger number than 2^62 gives 2^62.

    >>> as_count(torch.tensor([3.0, torch.nan, torch.inf], dtype=torch.float64))
    tensor([                  3,                   0, 4611686018427387904])
    """
    return torch.where(number.isnan(), 0.0, number).clamp(0.0, LARGEST_COUNT).long()
