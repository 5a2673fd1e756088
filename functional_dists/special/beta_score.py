"""The density of the logit of a Beta variable at a point, with exact derivatives, and the means of log X and log Y.

With h = log f = a log X + b log Y - log B(a, b), and M_a = E log X - log x, M_b = E log Y - log y:

    dh/da = -M_a,  dh/db = -M_b,  dh/dt = a y - b x,
    d2h/da2 = psi'(n) - psi'(a),  d2h/dadb = psi'(n),  d2h/dadt = y,  d2h/dbdt = -x,  d2h/dt2 = -n x y.

M_a is a sum of terms that do not cancel: log(x_m / x) at the mode x_m, and (psi(a) - psi(n)) - log(a / n).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special.beta_mass import Point, log_beta, log_total_at_mode, point_at, total_growth
from functional_dists.special.constant import table_of
from functional_dists.special.implicit import second_order
from functional_dists.special.operations import elementwise_operation
from functional_dists.special.polygamma import digamma_tail, stirling_rests

__all__ = ["Score", "Statistics", "beta_score", "carried_log_density", "score", "statistics_at"]
__dir__ = __all__.copy  # what tab completion shows


class Statistics(NamedTuple):
    """What a point below the mode needs of log X and log Y."""

    m_a: Tensor  # psi(1 + a) - psi(n) - log x = M_a + 1 / a > 0
    m_b: Tensor  # psi(b) - psi(n) - log y = M_b < 0
    variance_a: Tensor  # psi'(1 + a) - psi'(n) = Var(log X) - 1 / a^2
    variance_b: Tensor  # psi'(b) - psi'(n) = Var(log Y)
    of_all: Tensor  # psi'(n) = -Cov(log X, log Y)


def statistics_at(point: Point) -> Statistics:
    """Return the means of log X and log Y relative to a point, and their variances."""
    a, b, offset = point.a, point.b, point.offset
    n = a + b
    of_next, of_b, of_all = (stirling_rests(z) for z in (1 + a, b, n))
    near = offset.clamp(min=-600.0)  # beyond, the logarithm is linear to the last digit
    log_x_growth = offset - near - torch.log1p(b / n * torch.expm1(-near))
    log_y_growth = -torch.log1p(a / n * torch.expm1(offset))
    trigamma_of_all = 1 / n + of_all.trigamma
    return Statistics(
        (of_next.digamma + torch.log1p(1 / a) - of_all.digamma) - log_x_growth,
        -(_digamma_rest_growth(b, a) + log_y_growth),
        (b - 1) / ((1 + a) * n) + (of_next.trigamma - of_all.trigamma),
        a / (b * n) + (of_b.trigamma - of_all.trigamma),
        trigamma_of_all,
    )


_SHIFT = 10


def _shifts(like: Tensor) -> Tensor:
    return torch.arange(_SHIFT, dtype=like.dtype, device=like.device)


def _digamma_rest_growth(z: Tensor, more: Tensor) -> Tensor:
    """Return r(z + more) - r(z) >= 0 for r(z) = psi(z) - log z, with all digits of `more` where that is small.

    From r(z + 10), by the terms that ten steps add to each.
    """
    far = z + _SHIFT
    k = table_of(_shifts, z).view(-1, *[1] * z.ndim)
    steps = (more / ((z + k) * (z + k + more))).sum(0) - torch.log1p(_SHIFT * more / (z * (far + more)))
    leading = 0.5 * more / (far * (far + more))  # of -1 / (2 z), whose values would cancel
    return leading + (digamma_tail(far + more) - digamma_tail(far)) + steps


# --------------------------------------------------------------------------------------------------------------- score
class Score(NamedTuple):
    """The log-density of x at a logit, and the derivatives of h there, in float64, without derivatives themselves."""

    log_density: Tensor  # h - log(x y)
    x: Tensor
    y: Tensor
    growth: Tensor  # dh/dt
    tilt_a: Tensor  # dh/da
    tilt_b: Tensor  # dh/db
    curve_aa: Tensor  # d2h/da2
    curve_ab: Tensor
    curve_bb: Tensor


_SMALL = 16.0  # below this sum of a and b the formula as it stands in books has more digits


def score(offset: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    point, is_reflected = point_at(offset, a, b)
    found = statistics_at(point)
    logit = torch.log(point.a) - torch.log(point.b) + point.offset
    # the smaller logarithm with the digits of x or y
    log_x = torch.where(point.x < 0.5, logit + torch.log(point.y), torch.log1p(-point.y))
    log_y = torch.where(point.x < 0.5, torch.log1p(-point.x), torch.log(point.y))
    small = (point.a - 1) * log_x + (point.b - 1) * log_y - log_beta(point.a, point.b)
    large = torch.log(point.a) - log_total_at_mode(point.a, point.b) - total_growth(point) - log_x - log_y
    log_density = torch.where(point.a + point.b < _SMALL, small, large)

    def swapped(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(is_reflected, other, one), torch.where(is_reflected, one, other)

    per_a = 1 / point.a
    tilt_a, tilt_b = swapped(per_a - found.m_a, -found.m_b)
    curve_aa, curve_bb = swapped(-(found.variance_a + per_a * per_a), -found.variance_b)
    return (
        log_density,
        *swapped(point.x, point.y),
        torch.where(is_reflected, -point.growth, point.growth),
        tilt_a,
        tilt_b,
        curve_aa,
        found.of_all,
        curve_bb,
    )


_operation = elementwise_operation("beta_score", ["offset", "a", "b"], score, num_results=9)


def beta_score(offset: Tensor, a: Tensor, b: Tensor) -> Score:
    """Return the log-density of Beta(a, b) at a logit, given as an offset from log(a / b), and its derivatives.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> beta_score(0 * one, 2 * one, 2 * one).log_density.exp()
    tensor(1.5000, dtype=torch.float64)
    """
    return Score(*_operation(offset.detach(), a.detach(), b.detach()))


def carried_log_density(at: Score, point: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the log-density of x at a logit, with first and second derivatives by the logit and the parameters.

    The one of the logit is larger by log(x y), the logarithm of the slope of x.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> carried_log_density(beta_score(0 * one, 2 * one, 2 * one), 0 * one, 2 * one, 2 * one).exp()
    tensor(1.5000, dtype=torch.float64)
    """
    x, y, fixed_a, fixed_b = at.x, at.y, a.detach(), b.detach()
    plain, has_cancelled = (fixed_a - 1) * y - (fixed_b - 1) * x, 2 * at.growth.abs() < fixed_a * y + fixed_b * x
    slope = torch.where(has_cancelled & (fixed_a + fixed_b >= _SMALL), at.growth + (x - y), plain)
    slopes = [at.tilt_a, at.tilt_b, slope]
    curves = [at.curve_aa, at.curve_ab, y, at.curve_bb, -x, (2 - fixed_a - fixed_b) * x * y]
    return at.log_density + second_order(slopes, curves, [a, b, point])
