"""The Poisson distribution in float64: its masses, its tails and its quantiles, exact in both tails.

`torch.special.gammaincc` has a relative error of 1e-9 where the count is near the rate, and no derivatives in forward
mode. Here a tail is the nearest mass times an integral of a positive function.
"""

import math

import torch
from torch import Tensor

from functional_dists.special.constant import table_of
from functional_dists.special.deviance import exp_excess, ratio_excess
from functional_dists.special.elementary import LOG_2, horner
from functional_dists.special.gaussian import HALF_LOG_2PI
from functional_dists.special.log_gamma import stirling_rest
from functional_dists.special.quadrature import half_line_rule

# log k! - (log(2 pi k) / 2 + k log k - k) for k = 1, ..., 9, at 40 digits; above, the series of Stirling in 1 / k^2.
_STIRLING = (
    0.08106146679532726,
    0.0413406959554093,
    0.02767792568499834,
    0.020790672103765093,
    0.016644691189821193,
    0.013876128823070748,
    0.01189670994589177,
    0.010411265261972096,
    0.009255462182712733,
)


def _stirling(count: Tensor) -> Tensor:
    """Return log k! less the formula of Stirling, for integers k >= 1."""
    found = stirling_rest(count.clamp(min=10.0))
    for k, error in enumerate(_STIRLING, start=1):
        found = torch.where(count == k, error, found)
    return found


def log_mass(rate: Tensor, count: Tensor) -> Tensor:
    """Return the log-probability of a count, k = 0, 1, ...; -inf, with no gradient, for k > 0 at rate 0.

    It is -k (r - 1 - log r) - log(2 pi k) / 2 - the error of Stirling's formula, r = rate / k. Source: Loader, "Fast
    and accurate computation of binomial probabilities" (2000).

    >>> log_mass(torch.tensor(1e6, dtype=torch.float64), torch.tensor(1e6, dtype=torch.float64))
    tensor(-7.8267, dtype=torch.float64)
    """
    is_zero, is_excluded = count == 0, (rate == 0) & (count > 0)
    count, positive = torch.where(is_zero, 1.0, count), torch.where(is_zero | is_excluded, 1.0, rate)
    found = -count * ratio_excess(positive, count) - _stirling(count) - 0.5 * count.log() - HALF_LOG_2PI
    return torch.where(is_zero, -rate, torch.where(is_excluded, -math.inf, found))


def _tail_over_mass(rate: Tensor, count: Tensor, is_lower: Tensor) -> Tensor:
    """Return P(X <= k) / P(X = k) if `is_lower`, else P(X > k) / P(X = k + 1), of which the tail is the smaller one.

    With a = k + 1 and d = -1 or 1 it is rate or a times the integral over s > 0 of
    exp(-d (a - rate) s - rate (exp(-d s) - 1 + d s)), from the integrals of the incomplete gamma functions. At low
    rates this decays too suddenly for the rule if d = -1; then it is the sum 1 + k / rate (1 + (k - 1) / rate (...)).
    """
    x, weight = table_of(half_line_rule, rate)
    direction = torch.where(is_lower, -1.0, 1.0).to(rate.dtype)
    slope = direction * (count + 1 - rate)
    width = 2 / torch.maximum(slope, rate.sqrt().clamp(min=0.5))  # so that the integrand decays like exp(-2 x)
    s = width[..., None] * x
    energy = slope[..., None] * s + rate[..., None] * exp_excess(-direction[..., None] * s)
    integral = torch.where(is_lower, rate, count + 1) * width * (weight * torch.exp(-energy)).sum(-1)
    has_few_terms = is_lower & (rate < _FEW)
    total, low_rate = torch.ones_like(rate), torch.where(has_few_terms, rate, 1.0)
    for i in range(1, _FEW):
        total = torch.where(count >= i, 1 + i / low_rate * total, total)
    return torch.where(has_few_terms, total, integral)


_FEW = 8


def _is_below_median(rate: Tensor, count: Tensor) -> Tensor:
    """Return whether a count is below the median, by a bound (Choi, "On the medians of gamma distributions", 1994)."""
    return count < rate - LOG_2


def _log_tails(rate: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return log P(X <= k) and log P(X > k) for k = 0, 1, ..., from the integral of the smaller tail."""
    is_lower = _is_below_median(rate, count)
    edge = torch.where(is_lower, count, count + 1)
    log_tail = log_mass(rate, edge) + _tail_over_mass(rate, count, is_lower).log()
    log_rest = torch.log1p(-torch.exp(log_tail))
    return torch.where(is_lower, log_tail, log_rest), torch.where(is_lower, log_rest, log_tail)


def tails(rate: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return P(X <= value) and P(X > value). First and second derivatives by the rate are exact; others are 0.

    >>> tails(torch.tensor(2.0, dtype=torch.float64), torch.tensor(1.5, dtype=torch.float64))
    (tensor(0.4060, dtype=torch.float64), tensor(0.5940, dtype=torch.float64))
    """
    rate, value = torch.broadcast_tensors(rate, value)
    fixed, is_below, is_above, count = _arguments(rate, value)
    log_cdf, log_survival = _log_tails(fixed, count)
    # The sum is 1, so the larger one is 1 less the smaller one, which has all digits.
    cdf, survival = log_cdf.exp(), log_survival.exp()
    is_lower = _is_below_median(fixed, count)
    cdf, survival = torch.where(is_lower, cdf, 1 - survival), torch.where(is_lower, 1 - cdf, survival)
    mass = log_mass(fixed, count).exp()
    bend = mass * _log_slope(fixed, count)
    cdf, survival = _along(rate, cdf, -mass, -bend), _along(rate, survival, mass, bend)
    return _outside(is_below, is_above, cdf, 0.0, 1.0), _outside(is_below, is_above, survival, 1.0, 0.0)


def log_tails(rate: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return log P(X <= value) and log P(X > value). First and second derivatives by the rate are exact; others are 0.

    >>> log_tails(torch.tensor(2000.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64))
    (tensor(-2000., dtype=torch.float64), tensor(0., dtype=torch.float64))
    """
    rate, value = torch.broadcast_tensors(rate, value)
    fixed, is_below, is_above, count = _arguments(rate, value)
    log_cdf, log_survival = _log_tails(fixed, count)
    log_mass_at, log_slope = log_mass(fixed, count), _log_slope(fixed, count)
    is_impossible = log_survival == -math.inf  # at rate 0
    found = []
    for log_tail, sign in ((log_cdf, -1.0), (torch.where(is_impossible, 0.0, log_survival), 1.0)):
        slope = sign * torch.exp(log_mass_at - log_tail)
        found.append(_along(rate, log_tail, slope, slope * log_slope - slope * slope))
    found[1] = torch.where(is_impossible, -math.inf, found[1])
    return _outside(is_below, is_above, found[0], -math.inf, 0.0), _outside(
        is_below, is_above, found[1], 0.0, -math.inf
    )


def _arguments(rate: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the constant rate, where the value is below 0 or infinite, and its integer part elsewhere."""
    value = value.detach()
    is_below, is_above = value < 0, value == math.inf
    return rate.detach(), is_below, is_above, torch.where(is_below | is_above, 0.0, value).floor()


def _log_slope(rate: Tensor, count: Tensor) -> Tensor:
    """Return the derivative k / rate - 1 of the log of the mass of k; -1 for rate 0."""
    is_zero = rate == 0
    return torch.where(is_zero, 0.0, count) / torch.where(is_zero, 1.0, rate) - 1


def _along(rate: Tensor, value: Tensor, slope: Tensor, bend: Tensor) -> Tensor:
    """Return a constant value with a first and a second derivative by the rate."""
    step = rate - rate.detach()
    return value + slope * step + 0.5 * bend * step * step


def _outside(is_below: Tensor, is_above: Tensor, inside: Tensor, below: float, above: float) -> Tensor:
    return torch.where(is_below, below, torch.where(is_above, above, inside))


_REACH = 3  # how far the quantile may be from its first guess


def quantile(rate: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return the lowest count with P(X <= k) >= lower, or P(X > k) <= upper = 1 - lower if that is smaller.

    The guess inverts the main term of the saddle-point approximation (Giles, "Algorithm 955: approximation of the
    inverse Poisson cumulative distribution function", 2016). From one exact tail, the masses next to it decide.

    >>> half = torch.tensor(0.5, dtype=torch.float64)
    >>> quantile(torch.tensor([2.0, 1e6], dtype=torch.float64), half, half)
    tensor([2.0000e+00, 1.0000e+06], dtype=torch.float64)
    """
    rate, lower, upper = torch.broadcast_tensors(rate.detach(), lower.detach(), upper.detach())
    is_lower, tail = lower < upper, torch.minimum(lower, upper)
    tail_inside = tail.clamp(min=1e-307)
    is_zero = rate == 0
    positive = torch.where(is_zero, 1.0, rate)
    guess = _guess(positive, torch.where(is_lower, 1.0, -1.0) * torch.special.ndtri(tail_inside))
    # From below up to the quantile in the lower half, from above down to it in the upper half: tails only grow.
    anchor = torch.where(is_lower, guess - _REACH, guess + _REACH)
    below_0 = anchor < 0
    start = torch.where(below_0, 0.0, anchor)
    log_lower, log_upper = _log_tails(positive, start)
    reached = torch.where(below_0, 0.0, torch.where(is_lower, log_lower, log_upper).exp())
    edge = torch.where(is_lower, torch.where(below_0, 0.0, start + 1), start)  # the next mass to add
    mass = log_mass(positive, edge).exp()
    steps = torch.zeros_like(rate)
    for _ in range(2 * _REACH + 1):
        is_short = torch.where(is_lower, reached < tail_inside, reached + mass <= tail_inside)
        steps = steps + is_short
        reached = reached + mass
        mass = mass * torch.where(is_lower, positive / (edge + 1), edge / positive)
        edge = torch.where(is_lower, edge + 1, edge - 1)
    first = torch.where(is_lower & below_0, -1.0, start)
    found = (first + torch.where(is_lower, steps, -steps)).clamp(min=0)
    return torch.where(is_zero, 0.0, found)


def _guess(rate: Tensor, z: Tensor) -> Tensor:
    """Return about the quantile: the integer part of rate r + 1/3, with r log r - r + 1 = z^2 / (2 rate)."""
    slant = z / rate.sqrt()
    near = 1 + slant * (1 + slant * (1 / 6 - slant / 72))
    r = (1 + slant + slant * slant / 6).clamp(min=1e-3)
    for _ in range(5):
        log_r = torch.where((r - 1).abs() < 1e-3, 1.0, r.log())
        r = (r - (r * log_r - r + 1 - 0.5 * slant * slant) / log_r).clamp(min=1e-9)
    r = torch.where(slant.abs() < 0.1, near, torch.where(slant < -math.sqrt(2), 0.0, r))
    return (rate * r + 1 / 3).floor()


# ------------------------------------------------------------------------------------------------------------ entropy
_SUM_BELOW = 100.0  # the rate up to which the entropy is a sum, over the counts up to 20 standard deviations above
_NUM_TERMS = 300


def entropy(rate: Tensor) -> Tensor:
    """Return the entropy in nats: a sum of positive terms up to rate 100, above it an asymptotic series.

    The series is log(2 pi e rate) / 2 - 1 / (12 rate) - 1 / (24 rate^2) - ... (Evans & Boersma, "The entropy of a
    Poisson distribution", 1988), up to rate^-8. Its remainder at 100 is below 1e-15.

    >>> entropy(torch.tensor([0.0, 1.0, 1e6], dtype=torch.float64))
    tensor([0.0000, 1.3048, 8.3267], dtype=torch.float64)
    """
    is_large, is_zero = rate >= _SUM_BELOW, rate == 0
    small = torch.where(is_large | is_zero, 1.0, rate)[..., None]
    count = torch.arange(_NUM_TERMS, dtype=rate.dtype, device=rate.device)
    log_masses = log_mass(small, count)
    total = -(log_masses.exp() * log_masses).sum(-1)
    large = torch.where(is_large, rate, _SUM_BELOW)
    inverse = 1 / large
    series = 0.5 + HALF_LOG_2PI + 0.5 * large.log() + inverse * horner(_ENTROPY, inverse)
    return torch.where(is_large, series, torch.where(is_zero, 0.0, total))


_ENTROPY = (
    *(-400967 / 10080, -33953 / 5040, -1375 / 1008, -863 / 2520),
    *(-9 / 80, -19 / 360, -1 / 24, -1 / 12),
)
