"""Masses of intervals, quantiles inside them, and integrals over them, of a family that has a cdf.

Everything is elementwise and in float64.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from functional_dists.family import Real
from functional_dists.special import search
from functional_dists.special.constant import table_of
from functional_dists.special.quadrature import panel_rule

__all__ = ["Bounds", "integral", "log_mass", "log_tail", "quantile_inside"]

_LOG_HALF = -0.6931471805599453


class Bounds(NamedTuple):
    """The bounds of an interval.

    low: The lower bound of the values, of shape (*batch, *event); -inf for none.
    high: The upper bound of the values, of shape (*batch, *event); inf for none.
    """

    low: Real
    high: Real


def log_tail(family: Any, verb: str, params: Any, bound: Tensor) -> Tensor:
    """Return `log_cdf` or `log_survival` at a bound that may be infinite."""
    is_infinite = bound.isinf()
    safe = torch.where(is_infinite, family.median(*params).detach(), bound)
    is_empty = bound < 0 if verb == "log_cdf" else bound > 0
    limit = torch.where(is_empty, -torch.inf, 0.0).to(bound.dtype)
    return torch.where(is_infinite, limit, getattr(family, verb)(*params, safe))


def log_mass(family: Any, params: Any, low: Tensor, high: Tensor) -> Tensor:
    """Return log P(low < X <= high); -inf where low >= high.

    It is a difference of the smaller tails, or 1 minus both. Where such a difference would cancel, the interval is so
    short that the density is smooth on it: there a quadrature integrates it.
    """
    below_low, below_high = (log_tail(family, "log_cdf", params, bound) for bound in (low, high))
    above_low, above_high = (log_tail(family, "log_survival", params, bound) for bound in (low, high))
    in_upper, in_lower = below_low > _LOG_HALF, below_high < _LOG_HALF
    more, less = torch.where(in_upper, above_low, below_high), torch.where(in_upper, above_high, below_low)
    is_one_sided = in_upper | in_lower
    one_sided = search.log_difference_of_exps(
        torch.where(is_one_sided, more, 0.0), torch.where(is_one_sided, less, -1.0)
    )
    outside = torch.where(is_one_sided, 0.25, below_low.exp() + above_high.exp())
    straddling = torch.log1p(-outside.clamp(max=1.0 - 2**-53))
    mass = torch.where(is_one_sided, one_sided, straddling)
    is_narrow = torch.where(is_one_sided, (more - less).detach() < 0.1, outside.detach() > 0.9)
    is_narrow = is_narrow & low.isfinite() & high.isfinite() & (low < high)
    middle = family.median(*params).detach()
    first, last = torch.where(is_narrow, low, middle), torch.where(is_narrow, high, middle)
    u, weight = (rule.reshape(-1, *[1] * (first + last).ndim) for rule in table_of(panel_rule, low))
    density = family.log_prob(*params, first + (last - first) * u, event_dims=0)
    width = torch.where(is_narrow, last - first, 1.0)
    narrow = search.log_sum_of_exps(density + weight.log(), 0) + width.log()
    return torch.where(is_narrow, narrow, mass)


def quantile_inside(
    family: Any, params: Any, low: Tensor, high: Tensor, log_below: Tensor, log_above: Tensor
) -> Tensor:
    """Return x with P(low < X <= x) = exp(log_below) P(low < X <= high), with first and second derivatives.

    Newton's method in the logarithm of the smaller tail at x, from the quantile of the family. Beyond the probabilities
    that floats can tell from 0 and 1 it starts nearer to the centre. There it converges if the tail is log-concave.
    """
    fixed, ends = [tensor.detach() for tensor in params], (low.detach(), high.detach())

    def tails_at_quantile(own: Any, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        mass = log_mass(family, own, low, high)
        below, above = log_tail(family, "log_cdf", own, low), log_tail(family, "log_survival", own, high)
        pairs = ((below, log_below + mass), (above, log_above + mass))
        lower, upper = (search.log_sum_of_exps(torch.stack(torch.broadcast_tensors(*pair)), 0) for pair in pairs)
        return lower, upper

    lower, upper = tails_at_quantile(fixed, *ends)
    in_upper = (upper < lower).detach()
    goal = torch.where(in_upper, upper, lower).detach()
    probability = torch.where(in_upper, -torch.expm1(goal), goal.exp()).clamp(1e-300, 1 - 1e-12)
    x = _between(family.icdf(*fixed, probability), *ends)
    for _ in range(5):
        there = _tail(family, fixed, x, in_upper)
        step = (goal - there) / _slope(family, fixed, x, there, in_upper)
        x = _between((x + torch.where(step.isfinite(), step, 0.0)).detach(), *ends)
    moving_goal = torch.where(in_upper, *tails_at_quantile(params, low, high)[::-1])
    slope = _slope(family, fixed, x, _tail(family, fixed, x, in_upper), in_upper)
    for _ in range(2):
        x = x + (moving_goal - _tail(family, params, x, in_upper)) / slope
    return _between(x.detach(), *ends) + (x - x.detach())


def _between(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x, low), high)


def _tail(family: Any, params: Any, x: Tensor, in_upper: Tensor) -> Tensor:
    """Return the logarithm of the upper or of the lower tail."""
    return torch.where(in_upper, family.log_survival(*params, x), family.log_cdf(*params, x))


def _slope(family: Any, params: Any, x: Tensor, log_tail_there: Tensor, in_upper: Tensor) -> Tensor:
    """Return the derivative by x of the logarithm of that tail, without gradient, and never 0."""
    size = (family.log_prob(*params, x, event_dims=0) - log_tail_there).exp().clamp(min=1e-300)
    return torch.where(in_upper, -size, size).detach()


def integral(points: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the integral of a function over the panels between points ``(P, *B)``; 0 over empty ones."""
    x, weight = search.panels(points)
    return (weight * function(x)).sum(0)
