"""Moments, mode and divergence of tanh(x) for a normal x, before tanh(x) is mapped onto an interval."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from functional_dists.special.constant import table_of
from functional_dists.special.elementary import log_sech2, one_minus_tanh, sech2, softplus, tanh
from functional_dists.special.gaussian import log_normal_density, ndtr
from functional_dists.special.interval import pre_image
from functional_dists.special.quadrature import fine_normal_rule, half_line_rule, normal_rule

__all__ = ["kl_inside", "mean_log_sech2", "mode_before", "moments", "standardized", "with_tails"]


def mode_before(loc: Tensor, gain: Tensor) -> Tensor:
    """Return the largest root of x = loc + gain tanh(x), for loc >= 0.

    The right side is concave for x > 0. There Halley's method decreases to the root from any upper bound. Then follow
    two differentiable Newton steps with the slope held fixed; the second step makes second derivatives right.
    """
    fixed_loc, fixed_gain = loc.detach(), gain.detach()
    top = fixed_loc + fixed_gain
    # tanh x <= x / sqrt(1 + 2 x^2 / 3) bounds the root for loc = 0. The other terms bound what loc adds to it.
    centred = torch.sqrt((1.5 * (fixed_gain - 1) * (fixed_gain + 1)).clamp(min=0))
    x = torch.minimum(top, torch.minimum(centred, fixed_gain) + 1.5 * (3 * fixed_loc).pow(1 / 3) + fixed_loc)
    contracted = fixed_loc / (1 - fixed_gain).clamp(min=1e-6)
    x = torch.minimum(x, torch.where(fixed_gain < 1, contracted, x))
    for _ in range(6):
        height = torch.tanh(x)
        slope_of_height = (1 - height) * (1 + height)
        gap = x - fixed_loc - fixed_gain * height
        slope = 1 - fixed_gain * slope_of_height
        curvature = 2 * fixed_gain * slope_of_height * height
        denominator = 2 * slope * slope - gap * curvature
        falling = denominator > 0
        step = torch.where(falling, 2 * gap * slope / torch.where(falling, denominator, 1.0), 0.0)
        x = torch.minimum((x - step).clamp(min=0), top)
    slope = 1 - fixed_gain * sech2(x)
    is_flat = slope <= 0  # only at loc = 0, 2 scale^2 = 1, where the mode has no derivative
    inverse_slope = torch.where(is_flat, 0.0, 1 / torch.where(is_flat, 1.0, slope))
    for _ in range(2):
        x = x - (x - loc - gain * tanh(x)) * inverse_slope
    return x


# --------------------------------------------------------------------------------------------------------- quadrature
# For scale <= 1 use `normal_rule`: tanh has its poles at +-i pi / 2, so the error is exp(-pi^2 / (scale step)).
# For scale > 1 tanh is nearly a step. Integrate its sign exactly, and the remainder, which decays as exp(-2 |x|), by
# `half_line_rule`. Both branches run; where a branch is not chosen, its scale is replaced by 1.
def _narrow_and_wide(scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    narrow = scale <= 1
    return narrow, torch.where(narrow, scale, 1.0), torch.where(narrow, 1.0, scale)


def moments(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the means of tanh(x) and 1 - tanh(x), and the variance, for x ~ Normal(loc, scale) with loc >= 0."""
    narrow, narrow_scale, wide_scale = _narrow_and_wide(scale)
    z, weight = table_of(normal_rule, loc)
    step = narrow_scale[..., None] * z
    at_loc, gap_at_loc = tanh(loc), one_minus_tanh(loc)
    # tanh(loc + step) - tanh(loc) by the addition theorem: a quotient whose factors do not cancel.
    denominator = gap_at_loc[..., None] + at_loc[..., None] * one_minus_tanh(-step)
    change = tanh(step) * sech2(loc)[..., None] / denominator
    mean_change = (weight * change).sum(-1)
    narrow_variance = (weight * (change - mean_change[..., None]).square()).sum(-1)

    wide_gap, wide_square = _wide_gap(loc, wide_scale), _wide_gap_squared(loc, wide_scale)
    return (
        torch.where(narrow, at_loc + mean_change, 1 - wide_gap),
        torch.where(narrow, gap_at_loc - mean_change, wide_gap),
        torch.where(narrow, narrow_variance, wide_square - wide_gap.square()),
    )


def _wide_gap(loc: Tensor, scale: Tensor) -> Tensor:
    """Return E q, q = 1 - tanh(x).

    Far from 0 use q = exp(-2 x) (2 - q): exp(-2 x) shifts the normal by -2 scale^2, and 2 - q is near 2 there.
    """
    moved = loc - 2 * scale.square()
    far = moved > 0
    gap, _ = _half_line_moments(torch.where(far, moved, loc), scale)
    decay = _exp_of_sum(far, -loc, -moved)
    return torch.where(far, decay * (2 - gap), gap)


def _wide_gap_squared(loc: Tensor, scale: Tensor) -> Tensor:
    """Return E q^2; far from 0 use q^2 = exp(-4 x) (2 - q)^2, where exp(-4 x) shifts the normal by -4 scale^2."""
    moved = loc - 4 * scale.square()
    far = moved > 0
    gap, square = _half_line_moments(torch.where(far, moved, loc), scale)
    decay = _exp_of_sum(far, -2 * loc, -2 * moved)
    return torch.where(far, decay * (4 - 4 * gap + square), square)


def _exp_of_sum(where: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return exp(x + y) where `where` is True, without the rounding error of the sum, which exp would magnify."""
    return torch.exp(torch.where(where, x, 0.0)) * torch.exp(torch.where(where, y, 0.0))


def _half_line_moments(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return E q and E q^2 with an absolute error; on the negative half line q(x) = 2 - q(-x)."""
    x, positive, negative = _half_line(loc, scale)
    q = one_minus_tanh(x)
    mass_below = ndtr(-loc / scale)
    gap = 2 * mass_below + (q * (positive - negative)).sum(-1)
    square = 4 * mass_below + (q * q * (positive + negative) - 4 * q * negative).sum(-1)
    return gap, square


def _half_line(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return nodes x > 0, and the weights of x and of -x under Normal(loc, scale)."""
    x, weight = table_of(half_line_rule, loc)
    loc, scale = loc[..., None], scale[..., None]
    # Take exp of the energy alone: exp would magnify the rounding error of a sum with the other logarithms.
    energies = (0.5 * ((side * x - loc) / scale).square() for side in (1, -1))
    positive, negative = (weight / (math.sqrt(2 * math.pi) * scale) * torch.exp(-energy) for energy in energies)
    return x, positive, negative


def mean_log_sech2(loc: Tensor, scale: Tensor) -> Tensor:
    """Return E log(1 - tanh(x)^2) = -2 E log cosh(x), where log cosh(x) = |x| - log 2 + log(1 + exp(-2 |x|))."""
    narrow, narrow_scale, wide_scale = _narrow_and_wide(scale)
    z, weight = table_of(normal_rule, loc)
    narrow_mean = (weight * log_sech2(loc[..., None] + narrow_scale[..., None] * z)).sum(-1)
    x, positive, negative = _half_line(loc, wide_scale)
    ratio = loc / wide_scale
    mean_abs = 2 * wide_scale * torch.exp(log_normal_density(ratio)) + loc * (1 - 2 * ndtr(-ratio))
    remainder = (torch.log1p(torch.exp(-2 * x)) * (positive + negative)).sum(-1)
    return torch.where(narrow, narrow_mean, 2 * (math.log(2.0) - mean_abs - remainder))


def kl_inside(p: Sequence[Tensor], q: Sequence[Tensor]) -> Tensor:
    """Return KL(p || q) where p's bounds lie inside q's: the mean of log p - log q over p's noise z, in float64.

    The value that p makes of noise z, q makes of noise z + step. The log-ratio is computed from differences between p
    and q. So it is small and accurate where p and q are close.
    """
    z, weight = table_of(fine_normal_rule, p[0])
    p_loc, p_scale, p_low, p_high = (t.double()[..., None] for t in p)
    q_loc, q_scale, q_low, q_high = (t.double()[..., None] for t in q)
    twice_x, width = 2 * p_loc + 2 * p_scale * z, p_high - p_low
    gap_below, gap_above = (p_low - q_low) / width, (q_high - p_high) / width
    # The logs of the ratios of the distances to q's bounds and to p's bounds.
    below, above = _log_lengthening(gap_below, -twice_x), _log_lengthening(gap_above, twice_x)
    excess = (p_scale - q_scale) / q_scale
    step = excess * z + ((p_loc - q_loc) + 0.5 * (below - above)) / q_scale
    constant = torch.log1p(gap_below + gap_above) + _log_of_ratio(p_scale, q_scale, excess)
    mean = (weight * (step * (z + 0.5 * step) + (below + above - constant))).sum(-1)
    return torch.where(mean < 0, 0.0, mean).to(p[0].dtype)


def _log_lengthening(gap: Tensor, x: Tensor) -> Tensor:
    """Return log(1 + gap (1 + exp(x))), the log of (d + gap) / d for a distance d = 1 / (1 + exp(x)) and gap >= 0."""
    ratio = gap / (1 + gap)
    log_ratio = torch.where(ratio == 0, -math.inf, torch.where(ratio == 0, 1.0, ratio).log())
    return torch.log1p(gap) + softplus(x + log_ratio)


def _log_of_ratio(a: Tensor, b: Tensor, excess: Tensor) -> Tensor:
    """Return log(a / b), computed from excess = (a - b) / b where that is accurate."""
    near = (excess > -0.5) & (excess < 1)
    return torch.where(near, torch.log1p(torch.where(near, excess, 0.0)), torch.log(a / b))


def standardized(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor, value: Tensor) -> Tensor:
    """Return the noise that gives `value`, or a finite number where `value` is not inside the bounds."""
    x, _ = pre_image(value, low, high)
    return (torch.where(x.isinf(), loc.detach(), x) - loc) / scale


def with_tails(value: Tensor, low: Tensor, high: Tensor, below: float, inside: Tensor, above: float) -> Tensor:
    """Return `below`, `inside` or `above`, by the position of the value; NaN where `inside` is NaN."""
    outside = torch.where(value <= low, below, torch.where(value >= high, above, inside))
    return torch.where(inside.isnan(), inside, outside)
