"""Divide logits by a temperature, without overflow of their dtype."""

import math

import torch
from torch import Tensor

from functional_dists.special import softmax
from functional_dists.special.axis import largest_of_rows, positions_in_rows


def positive(temperature: Tensor, dtype: torch.dtype) -> Tensor:
    """Return temperatures in another dtype; those above 0 stay above 0.

    >>> positive(torch.tensor([0.0, 1e-300, 2.0], dtype=torch.float64), torch.float32)
    tensor([0.0000e+00, 1.1755e-38, 2.0000e+00])
    """
    smallest = torch.finfo(dtype).tiny  # its reciprocal is finite
    return torch.where(temperature > 0, temperature.clamp(min=smallest), temperature).to(dtype)


def tempered(logits: Tensor, temperature: Tensor | float, limit: torch.dtype) -> Tensor:
    """Return logits ``(*B, N)`` divided by temperatures ``(*B, 1)``, within the range of the dtype `limit`.

    Logits are determined up to a constant. If a quotient of a row would overflow, its largest logit is subtracted
    first. A quotient that would still overflow becomes the lowest finite number, so that it stays in the support; its
    gradient is 0. At temperature 0 the first of the largest logits becomes 0, and the others -inf.

    A temperature that is a Python number must not be 0. It has no derivative, and takes half the operations.

    >>> tempered(torch.tensor([5.0, 12.0, 30.0, -math.inf]), torch.tensor([0.5]), torch.float16)
    tensor([10., 24., 60., -inf])
    >>> tempered(torch.tensor([5.0, 29.0, 30.0, -math.inf]), torch.tensor([1e-4]), torch.float16)
    tensor([-65504., -10000.,      0.,    -inf])
    >>> tempered(torch.tensor([5.0, 30.0, 30.0]), torch.tensor([0.0]), torch.float16)
    tensor([-inf, 0., -inf])
    """
    lowest = torch.finfo(limit).min
    below_overflow = (1 - 4 * torch.finfo(logits.dtype).eps) * -lowest  # rounding must not make it overflow
    if isinstance(temperature, float):
        return _divided(logits, temperature, below_overflow, lowest)
    is_greedy = temperature == 0
    divisor = torch.where(is_greedy, 1.0, temperature)
    # At high temperatures the bound itself would overflow.
    bound = (below_overflow * divisor.detach()).clamp(max=torch.finfo(logits.dtype).max)
    top = largest_of_rows(logits)
    relative = logits - _base(top, bound)
    is_low = relative < -bound
    quotient = torch.where(is_low, 0.0, relative) / divisor.detach()
    # A division by 1 adds the derivative by the temperature, -quotient / temperature. The division above would have
    # the derivative -logits / temperature^2, which may overflow where the incoming gradient is 0.
    finite = torch.where(divisor < math.inf, divisor, 1.0)
    quotient = quotient / (finite / finite.detach())
    quotient = torch.where(is_low, torch.where(logits == -math.inf, logits.detach(), lowest), quotient)
    is_first = positions_in_rows(logits) == softmax.mode(logits.detach(), None)[..., None]
    certain = torch.where(top > -math.inf, 0.0, top)  # keeps NaN, and -inf in a row without support
    return torch.where(is_greedy, torch.where(is_first, certain, -math.inf), quotient)


def _divided(logits: Tensor, temperature: float, below_overflow: float, lowest: float) -> Tensor:
    finite = torch.finfo(logits.dtype)
    divisor = torch.full((), min(max(temperature, finite.tiny), finite.max), dtype=logits.dtype, device=logits.device)
    base = _base(largest_of_rows(logits), min(below_overflow * temperature, finite.max))
    quotient = ((logits - base) / divisor).clamp(min=lowest)
    return torch.where(logits == -math.inf, -math.inf, quotient)


def _base(top: Tensor, bound: Tensor | float) -> Tensor:
    """Return what to subtract from each row: its largest logit if that would overflow, otherwise 0."""
    size = top.abs()
    return torch.where((size > bound) & (size < math.inf), top, 0.0)
