"""Logits divided by a temperature, in the range of their dtype."""

import math

import torch
from torch import Tensor

from functional_dists.special.vectorized import argmax


def positive(temperature: Tensor, dtype: torch.dtype) -> Tensor:
    """Return temperatures in a dtype in which they may be too small for it: those above 0 stay above.

    >>> positive(torch.tensor([0.0, 1e-300, 2.0], dtype=torch.float64), torch.float32)
    tensor([0.0000e+00, 1.1755e-38, 2.0000e+00])
    """
    smallest = torch.finfo(dtype).tiny  # and one over that is finite
    return torch.where(temperature > 0, temperature.clamp(min=smallest), temperature).to(dtype)


def tempered(logits: Tensor, temperature: Tensor, limit: torch.dtype, *, is_fixed: bool = False) -> Tensor:
    """Return logits ``(*B, N)`` over temperatures ``(*B, 1)``, of one dtype, in the range of another.

    Logits matter up to a constant. A row whose largest quotient would overflow is taken relative to its largest logit.
    A quotient that would still overflow becomes the lowest finite number, so that it stays in the support; its
    gradient is 0. At a temperature of 0 the first of the largest logits becomes 0, and the others -inf.

    A temperature that is fixed has no derivative, and is not 0.

    >>> tempered(torch.tensor([5.0, 12.0, 30.0, -math.inf]), torch.tensor([0.5]), torch.float16)
    tensor([10., 24., 60., -inf])
    >>> tempered(torch.tensor([5.0, 29.0, 30.0, -math.inf]), torch.tensor([1e-4]), torch.float16)
    tensor([-65504., -10000.,      0.,    -inf])
    >>> tempered(torch.tensor([5.0, 30.0, 30.0]), torch.tensor([0.0]), torch.float16)
    tensor([-inf, 0., -inf])
    """
    lowest, eps, largest = torch.finfo(limit).min, torch.finfo(logits.dtype).eps, torch.finfo(logits.dtype).max
    is_greedy = temperature == 0
    divisor = torch.where(is_greedy, 1.0, temperature)
    # Rounding must not make overflow what is just inside; at high temperatures nothing overflows but -inf.
    bound = ((1 - 4 * eps) * -lowest * divisor.detach()).clamp(max=largest)
    top = logits.detach().amax(-1, keepdim=True)
    overflows = (top.abs() > bound) & (top.abs() < math.inf)
    relative = logits - torch.where(overflows, top, 0.0)
    is_low = relative < -bound
    quotient = torch.where(is_low, 0.0, relative) / divisor.detach()
    if not is_fixed:  # by 1, with a derivative that does not overflow where the slope of the quotient is 0
        finite = torch.where(divisor < math.inf, divisor, 1.0)
        quotient = quotient / (finite / finite.detach())
    quotient = torch.where(is_low, torch.where(logits == -math.inf, logits.detach(), lowest), quotient)
    if is_fixed:
        return quotient
    is_first = torch.arange(logits.shape[-1], device=logits.device) == argmax(logits.detach())
    certain = torch.where(top > -math.inf, 0.0, top)  # NaN stays NaN, and -inf, of a row without support, -inf
    return torch.where(is_greedy, torch.where(is_first, certain, -math.inf), quotient)
