"""Entropy and divergence of Beta distributions, exact for large and for close parameters."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from functional_dists.special.beta_local import beta_local
from functional_dists.special.beta_offset import difference_of_products, log_ratio
from functional_dists.special.beta_quantile import beta_quantile
from functional_dists.special.constant import table_of
from functional_dists.special.deviance import excess_of
from functional_dists.special.elementary import softplus
from functional_dists.special.gamma_density import equal_means_divergence
from functional_dists.special.implicit import carried_point
from functional_dists.special.operations import elementwise_operation
from functional_dists.special.polygamma import carried_rests

__all__ = ["beta_divergence", "beta_entropy", "divergence_of_intervals", "mean_log_lengthenings"]
__dir__ = __all__.copy  # what tab completion shows


def beta_entropy(a: Tensor, b: Tensor) -> Tensor:
    """Return the entropy of a Beta(a, b) variable on (0, 1), in float64, by the rests of Stirling's formula.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> beta_entropy(one, one).abs() < 1e-15, beta_entropy(1e6 * one, 1e6 * one)
    (tensor(True), tensor(-6.5285, dtype=torch.float64))
    """
    n = a + b
    (rest_a, digamma_a), (rest_b, digamma_b), (rest, digamma) = (carried_rests(z) for z in (a, b, n))
    log_beta_rests = rest_a + rest_b - rest
    digamma_rests = (1 - a) * digamma_a + (1 - b) * digamma_b + (n - 2) * digamma
    main = 0.5 * (torch.log(2 * math.pi / n) - torch.log1p(b / a) - torch.log1p(a / b))
    return main + log_beta_rests + digamma_rests


# --------------------------------------------------------------------------------------------------------- divergence
def _cross(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return difference_of_products(c, b, a, d)


_cross_operation = elementwise_operation("beta_cross", ["a", "b", "c", "d"], _cross)


def beta_divergence(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Return KL(Beta(a, b) || Beta(c, d)) >= 0, with first and second derivatives, in float64.

    With n = a + b and m = c + d it is m times the divergence of coins with means c / m and a / n, plus those of
    standardized gamma variables D(a, c) + D(b, d) - D(n, m). All vanish to second order.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> beta_divergence(one, one, 2 * one, one)  # 1 - log 2
    tensor(0.3069, dtype=torch.float64)
    """
    n, m = a + b, c + d
    plain = c * b - a * d
    cross = _cross_operation(*(t.detach() for t in (a, b, c, d))) + (plain - plain.detach())
    coins = a / n * _entropy_excess(cross / (m * a), c / m, a / n) + b / n * _entropy_excess(
        -cross / (m * b), d / m, b / n
    )
    rests = equal_means_divergence(a, c) + equal_means_divergence(b, d)
    rests = rests - equal_means_divergence(n, m, (c - a) + (d - b))
    return m * coins + rests


def _entropy_excess(x: Tensor, share: Tensor, other: Tensor) -> Tensor:
    """Return r log r - r + 1 >= 0 of the ratio r = 1 + x of two shares."""
    is_near = (x > -0.5) & (x < 1.0)
    near = torch.where(is_near, x, 0.0)
    share, other = torch.where(is_near, 1.0, share), torch.where(is_near, 1.0, other)
    ratio = share / other
    return torch.where(is_near, near * torch.log1p(near) - excess_of(near), ratio * torch.log(ratio) - ratio + 1)


# ------------------------------------------------------------------------------------------------------ longer bounds
def _double_exponential_rule(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return nodes u, 1 - u and weights of the rule of Takahasi & Mori (1974) on (0, 1)."""
    step = 0.09
    s = step * torch.arange(-38, 39, dtype=torch.float64, device=like.device)
    logit = math.pi * torch.sinh(s)
    below, above = torch.sigmoid(logit), torch.sigmoid(-logit)
    return below, above, step * math.pi * torch.cosh(s) * below * above


def mean_log_lengthenings(a: Tensor, b: Tensor, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of log(1 + below / X) and of log(1 + above / (1 - X)) of a Beta(a, b) variable X.

    The rule runs over the probabilities of the quantiles of X.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> mean_log_lengthenings(one, one, one, 0 * one)  # 2 log 2, and 0
    (tensor(1.3863, dtype=torch.float64), tensor(0., dtype=torch.float64))
    """
    a, b, below, above = torch.broadcast_tensors(a, b, below, above)
    shape = (-1, *[1] * a.ndim)
    lower, upper, weight = (t.view(shape) for t in table_of(_double_exponential_rule, a))
    offset = beta_quantile(lower, upper, a, b, True)
    point = log_ratio(a.detach(), b.detach()) + offset
    logit = carried_point(point, beta_local(offset, a, b, True), [a, b])

    def mean(gap: Tensor, minus_log: Tensor) -> Tensor:
        is_zero = gap <= 0
        grown = softplus(minus_log + torch.log(torch.where(is_zero, 1.0, gap)))
        # without a gap the mean is 0, and its derivative is the mean of 1 / X, which may be infinite
        return torch.where(is_zero, 0.0, (weight * grown).sum(0))

    return mean(below, softplus(-logit)), mean(above, softplus(logit))


def divergence_of_intervals(p: Sequence[Tensor], q: Sequence[Tensor]) -> Tensor:
    """Return the divergence of Betas with the parameters (a, b, low, high); inf where q does not cover p.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> divergence_of_intervals((one, one, 0 * one, one), (one, one, -one, 2 * one))  # log 3
    tensor(1.0986, dtype=torch.float64)
    """
    (a, b, low, high), (c, d, q_low, q_high) = p, q
    # NaN bounds fail the two order checks, so that they give NaN and not inf.
    is_missed = ((low < q_low) | (high > q_high)) & (low <= high) & (q_low <= q_high)
    low, high = torch.where(is_missed, q_low, low), torch.where(is_missed, q_high, high)
    width = high - low
    gap_below, gap_above = (low - q_low) / width, (q_high - high) / width
    below, above = mean_log_lengthenings(a, b, gap_below, gap_above)
    longer = (c + d - 1) * torch.log1p(gap_below + gap_above) - (c - 1) * below - (d - 1) * above
    found = beta_divergence(a, b, c, d) + longer
    return torch.where(is_missed & ~found.isnan(), math.inf, found)
