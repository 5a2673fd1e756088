"""Map the real line to an open interval by tanh and back, and keep values off its bounds."""

import functools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from functional_dists.special.constant import are_numbers, are_tracked, cached_for_numbers, is_constant
from functional_dists.special.elementary import LOG_2, plus_scaled, softplus


def squash(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return low + (high - low) (tanh(x) + 1) / 2; away from the centre it is computed from the nearer bound.

    >>> squash(torch.tensor([0.0, -20.0]), torch.tensor(0.0), torch.tensor(1.0))
    tensor([5.0000e-01, 4.2484e-18])
    """
    span = _span(low, high)
    constant = is_constant(x, low, high) if span.half_number is None else not are_tracked(x)
    if span.is_mirrored and constant:
        return _squash_mirrored(x, span)
    distance = x.abs()
    near = distance < 0.5
    centre = span.middle + span.half * torch.tanh(x if constant else torch.where(near, x, 0.0))
    from_end = span.width * torch.sigmoid(-2.0 * distance)
    tail = torch.where(x < 0, low + from_end, high - from_end)
    value = torch.where(near, centre, tail)
    if span.is_mirrored is False or torch.compiler.is_compiling():
        return value
    # The value has the digits that `_squash_mirrored` gives a constant. The derivatives are those of `value`, which are
    # more accurate than the derivatives of tanh.
    mirrored = span.half.detach() * torch.tanh(x.detach())
    accurate = mirrored if span.is_mirrored else torch.where(low == -high, mirrored, value.detach())
    return accurate if constant else accurate + (value - value.detach())


def _squash_mirrored(x: Tensor, span: "_Span") -> Tensor:
    return torch.tanh(x) if span.is_unit else span.half * torch.tanh(x)


class _Span(NamedTuple):
    width: Tensor
    half: Tensor
    middle: Tensor
    half_number: float | None  # half the width, None if Python may not read the bounds
    is_mirrored: bool | None  # whether low is -high, None if Python may not read the bounds
    is_unit: bool = False  # whether the bounds are known to be -1 and 1
    is_power: bool = False  # whether low is known to be -high, and high a power of 2


@cached_for_numbers
def _span(low: Tensor, high: Tensor) -> _Span:
    width = high - low
    half = 0.5 * width
    middle = low + half
    if not are_numbers(low, high):
        return _Span(width, half, middle, None, None)
    first, last = low.item(), high.item()
    is_mirrored = first == -last
    is_power = is_mirrored and math.frexp(last)[0] == 0.5
    return _Span(width, half, middle, 0.5 * (last - first), is_mirrored, is_mirrored and last == 1, is_power)


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
    span = _span(low, high)
    if is_constant(value, low, high) if span.half_number is None else not are_tracked(value):
        return _pre_image(value, low, high, span)
    is_outside = (value <= low) | (value >= high)  # False for NaN
    value = torch.where(is_outside, span.middle, value)
    x, log_slope = _pre_image(value.detach(), low.detach(), high.detach(), span)
    # The derivatives are those of x = 1/2 (log(below) - log(above)): exact, and simpler than those of the code above.
    below, above = log_growth(value - low), log_growth(high - value)
    x = torch.where(is_outside, x.detach() + math.inf, x + 0.5 * (below - above))  # NaN if a bound is NaN
    return x, log_slope + below + above - log_growth(high - low)


def _pre_image(value: Tensor, low: Tensor, high: Tensor, span: _Span) -> tuple[Tensor, Tensor]:
    if span.is_power:  # the quotient is exact, and so is its distance to 1 where that is small
        normalized = value if span.is_unit else value / high
        return torch.atanh(normalized.clamp(-1.0, 1.0)), torch.log((high - value) * (1.0 + normalized))
    below, above, width = value - low, high - value, span.width.detach()
    total, rounding = _two_sum(low, high)
    excess = (2.0 * value - total) - rounding  # below - above, exact near the centre
    nearer, farther = torch.relu(torch.minimum(below, above)), torch.maximum(below, above)
    ratio = farther / width
    central = farther < 4.0 * nearer
    by_excess = torch.log1p(excess.abs() / nearer)
    by_quotient = torch.log(ratio) - torch.log(nearer / width)  # as accurate away from the centre, and cannot overflow
    x = 0.5 * torch.copysign(torch.where(central, by_excess, by_quotient), excess)
    return x, torch.log(2.0 * nearer * ratio)


@cached_for_numbers
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
    return plus_scaled(_log_slope_at_0(low, high), plus_scaled(x, softplus(x, -2.0), -2.0), -2.0)


@cached_for_numbers
def _log_slope_at_0(low: Tensor, high: Tensor) -> Tensor:
    return torch.log(0.5 * (high - low)) + 2 * LOG_2


def strictly_inside(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return `value`, moved to the next float inside where it was rounded to a bound; derivatives pass through.

    If no float lies between the bounds, the result is one of them. The `check` of a family reports such bounds.

    >>> strictly_inside(torch.tensor([0.5, 1.0]), torch.tensor(-1.0), torch.tensor(1.0)) < 1
    tensor([True, True])
    """
    first, last = _first_and_last_inside(low, high)
    if not are_tracked(value) if isinstance(first, float) else is_constant(value):
        return torch.clamp(value, first, last)
    fixed = value.detach()
    return value + (torch.clamp(fixed, first, last) - fixed)


def off_bounds(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return `value`, moved to the last float inside where it equals a bound; derivatives pass through.

    Value and bound are compared in the coarser of their dtypes, and the last float inside is one of that dtype. Values
    beyond the bounds and NaN are unchanged.

    >>> off_bounds(torch.tensor([0.5, 1.0, 1.5]), torch.tensor(-1.0), torch.tensor(1.0)) < 1
    tensor([ True,  True, False])
    """
    if value.dtype == low.dtype == high.dtype and is_constant(value):
        if value.is_cpu and value.numel() and are_numbers(low, high):
            least, largest = torch.aminmax(value)
            if low < least and largest < high:  # the usual case, in a third of the time of the code below
                return value
        first, last = _first_and_last_inside(low, high)
        return torch.where(value == high, last, torch.where(value == low, first, value))
    floating = [t.dtype for t in (value, low, high) if t.is_floating_point()]
    coarse = max(floating, key=lambda dtype: torch.finfo(dtype).eps)
    dtype = functools.reduce(torch.promote_types, floating)
    fixed, low, high = (t.detach().to(dtype) for t in (value, low, high))
    moved = -_off_bound(-_off_bound(fixed, high, low, coarse), -low, -high, coarse)
    if is_constant(value):
        return moved
    return value + torch.where(moved == fixed, 0.0, moved - fixed)  # keeps an infinite value


def _off_bound(value: Tensor, high: Tensor, low: Tensor, coarse: torch.dtype) -> Tensor:
    """Return `value`, moved to the last float below `high` where it equals `high`."""
    last = next_below(high.to(coarse)).to(high.dtype)
    if coarse == high.dtype:
        return torch.where(value == high, last, value)
    last = torch.where(last > low, last, next_below(high))  # close bounds may have no coarse float between them
    return torch.where((value >= high) & (value.to(coarse) == high.to(coarse)), last, value)


@cached_for_numbers
def _first_and_last_inside(low: Tensor, high: Tensor) -> tuple[Any, Any]:
    """Return the first and last float inside, as Python numbers if possible: `clamp` takes longer for tensors."""
    first, last = next_above(low.detach()), next_below(high.detach())
    return (first.item(), last.item()) if are_numbers(low, high) else (first, last)


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
