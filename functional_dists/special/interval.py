"""Map the real line to an open interval by tanh and back, and keep values off its bounds."""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special.constant import computed_once_for_numbers
from functional_dists.special.elementary import LOG_2, plus_quotient, plus_scaled, softplus


def squash(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return low + (high - low) (tanh(x) + 1) / 2, computed from the nearer bound, and strictly inside the bounds.

    If no float lies between the bounds, the result is one of them. The `check` of a family reports such bounds.

    >>> squash(torch.tensor([0.0, -20.0]), torch.tensor(0.0), torch.tensor(1.0))
    tensor([5.0000e-01, 4.2484e-18])
    """
    span = _span(low, high)
    is_low = x < 0
    minus_distance = torch.where(is_low, x, -x)
    # The gap to the nearer bound is width sigmoid(2 minus_distance). `torch.sigmoid` rounds the same number differently
    # at another position of a tensor; `torch.exp` does not.
    decay = torch.exp(2.0 * minus_distance)
    ends = _width(low, high) * decay, 1.0 + decay
    value = torch.where(is_low, plus_quotient(low, *ends, 1.0), plus_quotient(high, *ends, -1.0))
    centre = span.middle + span.half * torch.tanh(x.detach())
    digits = torch.where(minus_distance > span.central_above, centre, value).detach()
    # The derivatives of `value` are accurate everywhere; those of tanh are not.
    return torch.clamp(digits, span.first, span.last) + (value - value.detach())


class _Span(NamedTuple):
    half: Tensor
    middle: Tensor
    central_above: Tensor  # minus the distance from the centre up to which the formula of the centre has more digits
    first: Tensor  # the first float inside
    last: Tensor  # the last float inside


@computed_once_for_numbers
def _span(low: Tensor, high: Tensor) -> _Span:
    low, high = low.detach(), high.detach()
    half = 0.5 * (high - low)
    central_above = torch.where(low == -high, -math.inf, -0.5).to(low.dtype)
    return _Span(half, low + half, central_above, *first_and_last_inside(low, high))


@computed_once_for_numbers
def _width(low: Tensor, high: Tensor) -> Tensor:
    return high - low


def unsquash(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the x with `squash(x, low, high) == value`; -inf at and below `low`, inf at and above `high`.

    With the distances `below` and `above` to the bounds, x = +-1/2 log1p(|below - above| / min(below, above)). It is
    exact from the centre to one ulp from a bound. There 2 (value - low) / (high - low) - 1 would have no digits left.

    >>> unsquash(torch.tensor([0.5, 1.0 - 2.0**-24]), torch.tensor(-1.0), torch.tensor(1.0))
    tensor([0.5493, 8.6643])
    """
    x, _ = pre_image(value, low, high)
    return torch.where(x.isinf(), torch.where(value > low, math.inf, -math.inf), x)


def pre_image(value: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return x and log(d value / d x) = log(2 (value - low) (high - value) / (high - low)).

    Outside of the bounds, x is infinite with any sign, and the logarithm is arbitrary. Both are NaN for NaN.

    >>> x, log_slope = pre_image(torch.tensor([0.0, 1.0]), torch.tensor(-1.0), torch.tensor(1.0))
    >>> x, log_slope[0]
    (tensor([0., inf]), tensor(0.))
    """
    is_outside = (value <= low) | (value >= high)  # False for NaN
    value = torch.where(is_outside, (low + 0.5 * (high - low)).detach(), value)
    x, log_slope = _pre_image(value.detach(), low.detach(), high.detach())
    # The derivatives are those of x = 1/2 (log(below) - log(above)): exact, and simpler than those of the code above.
    below, above = log_growth(value - low), log_growth(high - value)
    x = torch.where(is_outside, x.detach() + math.inf, x + 0.5 * (below - above))  # NaN if a bound is NaN
    return x, log_slope + below + above - log_growth(high - low)


def _pre_image(value: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    below, above, width = value - low, high - value, high - low
    total, rounding = _two_sum(low, high)
    excess = (2.0 * value - total) - rounding  # below - above, exact near the centre
    nearer, farther = torch.minimum(below, above), torch.maximum(below, above)
    ratio = farther / width
    central = farther < 4.0 * nearer
    by_excess = torch.log1p(excess.abs() / nearer)
    by_quotient = torch.log(ratio) - torch.log(nearer / width)  # as accurate away from the centre, and cannot overflow
    x = 0.5 * torch.copysign(torch.where(central, by_excess, by_quotient), excess)
    return x, torch.log(2.0 * nearer * ratio)


@computed_once_for_numbers
def _two_sum(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the bounds and its rounding error (Knuth)."""
    total = low + high
    part = total - low
    return total, (low - (total - part)) + (high - part)


def log_growth(x: Tensor) -> Tensor:
    """Return log(x / x.detach()) for x > 0: it is 0, with the derivatives of log x.

    >>> torch.func.grad(log_growth)(torch.tensor(4.0))
    tensor(0.2500)
    """
    fixed = x.detach()
    # The derivative at a subnormal x would overflow to NaN: use 0.
    return torch.log(torch.where(fixed < torch.finfo(x.dtype).tiny, 1.0, x / fixed))


def log_squash_slope(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return log(d squash(x, low, high) / d x).

    >>> log_squash_slope(torch.tensor(0.0), torch.tensor(-1.0), torch.tensor(1.0))
    tensor(0.)
    """
    # log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2 x))
    return plus_scaled(_log_slope_at_0(low, high).to(x.dtype), plus_scaled(x, softplus(x, -2.0), -2.0), -2.0)


@computed_once_for_numbers
def _log_slope_at_0(low: Tensor, high: Tensor) -> Tensor:
    return torch.log(0.5 * (high.double() - low.double())) + 2 * LOG_2


def log_growth_of_distances(x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return `log_growth` of the distances from a constant value to the bounds, and of the width, in float64.

    First and second derivatives are exact. The arguments broadcast against each other.

    Args:
        x: The pre-image of the value, in float64.
        low: The lower bound.
        high: The upper bound.

    Returns:
        The growths of the lower and the upper distance, of the broadcast shape, and of the width, of the bounds' shape.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> torch.func.grad(lambda low: log_growth_of_distances(zero.double(), low, one)[0])(-one)
    tensor(-1.)
    """
    low_growth, high_growth = _growth_over_width(low, high)
    ratio = torch.exp(-2.0 * x.clamp(-340.0, 340.0))  # of the upper distance to the lower one; exp must not overflow
    growths = -low_growth * (1.0 + ratio), high_growth * (1.0 + 1.0 / ratio), high_growth - low_growth
    below, above, width = (growth - 0.5 * growth * growth for growth in growths)
    return below, above, width


@computed_once_for_numbers
def _growth_over_width(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the growths of the bounds, which are 0, as fractions of the width."""
    low, high = low.double(), high.double()
    width = (high - low).detach()
    return (low - low.detach()) / width, (high - high.detach()) / width


def strictly_inside(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return `value`, moved to the next float inside where it was rounded to a bound; derivatives pass through.

    >>> strictly_inside(torch.tensor([0.5, 1.0]), torch.tensor(-1.0), torch.tensor(1.0)) < 1
    tensor([True, True])
    """
    fixed = value.detach()
    return torch.clamp(fixed, *first_and_last_inside(low, high)) + (value - fixed)


@computed_once_for_numbers
def first_and_last_inside(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and the last float inside the bounds, without derivatives.

    >>> first_and_last_inside(torch.tensor(0.0), torch.tensor(1.0))
    (tensor(1.4013e-45), tensor(1.0000))
    """
    return next_above(low.detach()), next_below(high.detach())


def off_bounds(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return `value`, moved to the last float inside where it equals a bound; derivatives pass through.

    Value and bound are compared in the coarser of their dtypes, and the last float inside is one of that dtype. Values
    beyond the bounds and NaN are unchanged.

    >>> off_bounds(torch.tensor([0.5, 1.0, 1.5]), torch.tensor(-1.0), torch.tensor(1.0)) < 1
    tensor([ True,  True, False])
    """
    floating = [t.dtype for t in (value, low, high) if t.is_floating_point()]
    coarse = max(floating, key=lambda dtype: torch.finfo(dtype).eps)
    dtype = functools.reduce(torch.promote_types, floating)
    fixed, low, high = (t.detach().to(dtype) for t in (value, low, high))
    moved = -_off_bound(-_off_bound(fixed, high, low, coarse), -low, -high, coarse)
    return value + torch.where(moved == fixed, 0.0, moved - fixed)  # keeps an infinite value


def _off_bound(value: Tensor, high: Tensor, low: Tensor, coarse: torch.dtype) -> Tensor:
    """Return `value`, moved to the last float below `high` where it equals `high`."""
    last = next_below(high.to(coarse)).to(high.dtype)
    if coarse == high.dtype:
        return torch.where(value == high, last, value)
    last = torch.where(last > low, last, next_below(high))  # close bounds may have no coarse float between them
    return torch.where((value >= high) & (value.to(coarse) == high.to(coarse)), last, value)


def next_above(x: Tensor) -> Tensor:
    """Return the next larger float.

    >>> next_above(torch.tensor(1.0, dtype=torch.bfloat16)).item()
    1.0078125
    """
    if x.dtype in (torch.float32, torch.float64):
        return torch.nextafter(x, torch.full_like(x, math.inf))
    # Compiled `torch.nextafter` is the identity in half precision. So step the bits as an integer.
    bits = x.view(torch.int16)
    smallest = torch.ones_like(bits)
    stepped = torch.where(x > 0, bits + 1, torch.where(x < 0, bits - 1, smallest)).view(x.dtype)
    return torch.where(x < math.inf, stepped, x)


def next_below(x: Tensor) -> Tensor:
    """Return the next smaller float.

    >>> next_below(torch.tensor(1.0)).item()
    0.9999999403953552
    """
    return -next_above(-x)
