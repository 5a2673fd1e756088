"""Density, entropy and divergences of gamma distributions, exact for large and for close concentrations."""

import math

import torch
from torch import Tensor

from functional_dists.special.constant import table_of
from functional_dists.special.deviance import excess_of, exp_excess
from functional_dists.special.gauss_legendre import coarse_gauss_rule
from functional_dists.special.gaussian import HALF_LOG_2PI
from functional_dists.special.implicit import second_order
from functional_dists.special.operations import elementwise_operation
from functional_dists.special.polygamma import carried_rests, log_gamma, stirling_rests, trigamma_rest

__all__ = [
    "equal_means",
    "equal_means_divergence",
    "gamma_divergence",
    "gamma_entropy",
    "gamma_log_density",
    "log_ratio",
]
__dir__ = __all__.copy  # what tab completion shows

_SMALL = 2.0  # below this concentration the formula as it stands in books has more digits


def log_ratio(value: Tensor, rate: Tensor, a: Tensor) -> Tensor:
    """Return log(value rate / a) without derivatives, exact where the ratio is near 1, and without overflow.

    >>> log_ratio(torch.tensor(1.0 + 2**-20), torch.tensor(1.0), torch.tensor(1.0))
    tensor(9.5367e-07)
    """
    value, rate, a = value.detach(), rate.detach(), a.detach()
    x = (value * rate - a) / a
    is_near = x.abs() < 0.5
    return torch.where(is_near, torch.log1p(torch.where(is_near, x, 0.0)), value.log() + rate.log() - a.log())


def gamma_log_density(a: Tensor, log_rate: Tensor, log_value: Tensor, offset: Tensor, *, of_log: bool) -> Tensor:
    """Return the log-density of a value x, or of log x, from log x, in float64; -inf where it overflows.

    With t = log(rate x) and d = t - log a the log-density of log x is a t - exp(t) - log Gamma(a). For large a it is
    log(a) / 2 - log(2 pi) / 2 - a (exp(d) - 1 - d) less the rest of Stirling's formula. Source: Loader, "Fast and
    accurate computation of binomial probabilities" (2000).

    Args:
        a: The concentration.
        log_rate: The logarithm of the rate.
        log_value: log x.
        offset: d with all digits; it needs no derivatives.
        of_log: Whether to return the log-density of log x.

    >>> zero, one = torch.tensor([0.0, 1.0], dtype=torch.float64)
    >>> gamma_log_density(one, zero, zero, zero, of_log=False)
    tensor(-1., dtype=torch.float64)
    """
    offset = offset.detach()
    is_far = offset > 700
    log_value, offset = torch.where(is_far, 0.0, log_value), torch.where(is_far, 0.0, offset)
    point, fixed = log_value + log_rate, a.detach()
    rests = stirling_rests(a)
    rest, _ = carried_rests(a, rests)
    # Of exp(t) - a - a d, the derivatives by a are -d and 1 / a, where autograd would cancel exp(d).
    power, one = fixed * torch.exp(offset), torch.ones_like(offset)
    energy = second_order([-offset, fixed * torch.expm1(offset)], [1 / fixed, -one, power], [a, point])
    large = 0.5 * a.log() - HALF_LOG_2PI - rest - (fixed * exp_excess(offset) + energy)
    is_small = a < _SMALL
    small_a = torch.where(is_small, a, 1.0)
    moved = fixed * torch.exp(offset + (point - point.detach()))
    small = (a if of_log else a - 1) * point - moved - log_gamma(small_a, rests)
    if of_log:
        found = torch.where(is_small, small, large)
    else:
        found = torch.where(is_small, small + log_rate, large - log_value)
    return torch.where(is_far, -math.inf, found)


def gamma_entropy(a: Tensor) -> Tensor:
    """Return the entropy of a standard gamma variable of float64 concentration, by the rests of Stirling's formula.

    It is a + log Gamma(a) + (1 - a) psi(a).

    >>> gamma_entropy(torch.tensor([1.0, 1e6], dtype=torch.float64))
    tensor([1.0000, 8.3267], dtype=torch.float64)
    """
    rest, rest_of_digamma = carried_rests(a)
    return 0.5 * a.log() + HALF_LOG_2PI + rest + (1 - a) * rest_of_digamma


# --------------------------------------------------------------------------------------------------------- divergences
def equal_means(a: Tensor, b: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """Return the divergence of gamma distributions of equal means, and its derivative by the second concentration b.

    With f(u) = log Gamma(u) - u log u + u it is f(b) - f(a) - (b - a) f'(a), and its derivative is f'(b) - f'(a). Near
    each other they are integrals of f''(u) = psi'(u) - 1 / u > 0, times (b - u) or 1, from a to b.
    """
    u, weight = (t.view(-1, *[1] * change.ndim) for t in table_of(coarse_gauss_rule, change))
    is_near = (b < 4 * a) & (a < 4 * b)
    bend = trigamma_rest(a + u * torch.where(is_near, change, 0.0))
    near = change * change * (weight * (1 - u) * bend).sum(0), change * (weight * bend).sum(0)
    of_a, of_b = stirling_rests(a), stirling_rests(b)
    far = of_b.log_gamma - of_a.log_gamma - 0.5 * (b.log() - a.log()) - change * of_a.digamma
    return torch.where(is_near, near[0], far), torch.where(is_near, near[1], of_b.digamma - of_a.digamma)


_operation = elementwise_operation("gamma_divergence", ("a", "b", "change"), equal_means, num_results=2)


def gamma_divergence(a: Tensor, rate_a: Tensor, b: Tensor, rate_b: Tensor) -> Tensor:
    """Return KL(Gamma(a, rate_a) || Gamma(b, rate_b)) >= 0, with first and second derivatives, in float64.

    With the ratio of the means m = (a / rate_a) / (b / rate_b) it is b (m - 1 - log m), plus the divergence of
    distributions with those concentrations and equal means. Neither is negative.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> gamma_divergence(one, one, one, 2 * one)  # 2 - 1 - log 2
    tensor(0.3069, dtype=torch.float64)
    """
    x = ((a - b) * rate_b + b * (rate_b - rate_a)) / (b * rate_a)  # m - 1
    is_near = (x > -0.5) & (x < 1)
    near = b * excess_of(torch.where(is_near, x, 0.0))
    of_means = torch.where(is_near, near, _of_far_means(is_near, a, rate_a, b, rate_b))
    return of_means + equal_means_divergence(a, b)


def _of_far_means(is_near: Tensor, a: Tensor, rate_a: Tensor, b: Tensor, rate_b: Tensor) -> Tensor:
    """Return b (m - 1 - log m) for a ratio of the means m that is not near 1, which may overflow.

    Its derivatives are those of a rate_b / rate_a - b - b log m, in which the large terms do not cancel.
    """
    a, rate_a, b, rate_b = (torch.where(is_near, 1.0, t) for t in (a, rate_a, b, rate_b))
    sum_of_logs = a.log() + rate_b.log() - b.log() - rate_a.log()
    ratio = ((a / b) * (rate_b / rate_a)).detach()
    is_normal = (ratio > 1e-300) & (ratio < 1e300)
    log_ratio_of_means = torch.where(is_normal, ratio.log(), sum_of_logs.detach())
    log_ratio_of_means = log_ratio_of_means + (sum_of_logs - sum_of_logs.detach())
    moved = a * (rate_b / rate_a) - b - b * log_ratio_of_means
    fixed = b.detach() * (ratio - 1 - log_ratio_of_means.detach())
    return fixed + torch.where(moved.isinf(), 0.0, moved - moved.detach())


def equal_means_divergence(a: Tensor, b: Tensor, change: Tensor | None = None) -> Tensor:
    """Return KL(Gamma(a, a) || Gamma(b, b)) >= 0, with first and second derivatives, in float64.

    It is f(b) - f(a) - (b - a) f'(a) for f(u) = log Gamma(u) - u log u + u. Where b and a are rounded,
    give their difference as `change`.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> equal_means_divergence(one, 2 * one)  # 2 - 2 log 2 - (1 - gamma)
    tensor(0.1909, dtype=torch.float64)
    """
    fixed_a, fixed_b = a.detach(), b.detach()
    change = fixed_b - fixed_a if change is None else change.detach()
    value, slope = _operation(fixed_a, fixed_b, change)
    of_a, bend_of_b = stirling_rests(fixed_a), stirling_rests(fixed_b).trigamma
    slopes = [-change * of_a.trigamma, slope]
    curves = [of_a.trigamma - change * of_a.tetragamma, -of_a.trigamma, bend_of_b]
    return value + second_order(slopes, curves, [a, b])
