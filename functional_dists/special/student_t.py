"""Quantiles, tails and the normaliser of Student's t density, for all degrees of freedom up to those of a normal.

With x = sqrt(df) sinh(w) the density of w is cosh(w)^-df, over a constant. One tail at a point is integrated relative
to the density there, by a rule of Gauss and Legendre in w. The derivatives by df are integrals of the derivatives of
the log-density at a fixed x, which are small where df is large:

    g = d log f / d df = (x^2 / (df (df + x^2)) - D) / 2 - E,  D = log(1 + q) - q / (1 + q),  q = x^2 / df,

with E the mean of the other terms. The integral is over the tail above x where g < 0, else over (0, x): on either side
g has one sign. The normaliser is that of a normal times exp(r(df)), where the terms of the recurrence of

    r(df) = log Gamma((df + 1) / 2) - log Gamma(df / 2) - log(df / 2) / 2

have one sign.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special.constant import table_of
from functional_dists.special.deviance import exp_excess
from functional_dists.special.elementary import LOG_2, horner
from functional_dists.special.gauss_legendre import coarse_gauss_rule, fine_gauss_rule
from functional_dists.special.gaussian import HALF_LOG_2PI
from functional_dists.special.implicit import Local, second_order, step_to_odds
from functional_dists.special.operations import elementwise_operation, in_blocks
from functional_dists.special.quadrature import sum_of_nodes

__all__ = [
    "HalfLine",
    "half_line",
    "normaliser_rest",
    "normaliser_slope",
    "score_at",
]
__dir__ = __all__.copy  # what tab completion shows

_SHIFT = 10  # steps of 2 in df from which the series is used
# r(df) is the sum of c_k / df^(2k-1). The highest power first.
_REST = (1936.6020833333333, -105.01923076923077, 691 / 88, -31 / 36, 17 / 112, -1 / 20, 1 / 24, -1 / 4)
_ORDERS = range(15, 0, -2)
_SLOPE = [-number * order for number, order in zip(_REST, _ORDERS, strict=True)]
_CURVE = [number * order * (order + 1) for number, order in zip(_REST, _ORDERS, strict=True)]


def _odd_numbers(like: Tensor) -> Tensor:
    return 2 * torch.arange(_SHIFT, dtype=like.dtype, device=like.device) + 1


def _shifted(df: Tensor) -> Tensor:
    """Return m = df + 1, df + 3, ... on a last axis."""
    return df[..., None] + table_of(_odd_numbers, df)


def normaliser_rest(df: Tensor) -> Tensor:
    """Return r(df): the log of the normaliser less that of a normal, at most 0, without cancellation.

    r(df) - r(df + 2) = log(1 - 1 / m^2) / 2 with m = df + 1.

    >>> normaliser_rest(torch.tensor([1.0, 1e6]))
    tensor([-2.2579e-01, -2.5000e-07])
    """
    m = _shifted(df)
    ratio = (m - 1) * (m + 1) / (m * m)
    is_small = ratio < 0.5
    steps = torch.where(is_small, torch.where(is_small, ratio, 1.0).log(), torch.log1p(-1 / (m * m)))
    z = df + 2 * _SHIFT
    return 0.5 * steps.sum(-1) + horner(_REST, 1 / (z * z)) / z


def normaliser_slope(df: Tensor) -> Tensor:
    """Return dr / d df, which is positive.

    >>> normaliser_slope(torch.tensor([1.0, 1e6]))
    tensor([1.9315e-01, 2.5000e-13])
    """
    m, z = _shifted(df), df + 2 * _SHIFT
    return (1 / (m * (m - 1) * (m + 1))).sum(-1) + horner(_SLOPE, 1 / (z * z)) / (z * z)


def _normaliser_curve(df: Tensor) -> Tensor:
    m, z = _shifted(df), df + 2 * _SHIFT
    last = (m - 1) * (m + 1)
    return horner(_CURVE, 1 / (z * z)) / (z * z * z) - ((3 * m * m - 1) / (m * last).square()).sum(-1)


# --------------------------------------------------------------------------------------------------------------- tails
def _log_cosh(sinh: Tensor) -> Tensor:
    """Return log(cosh(w)) for sinh(w) >= 0, which may be large.

    >>> _log_cosh(torch.tensor([1e-10, 1e200], dtype=torch.float64))
    tensor([5.0000e-21, 4.6052e+02], dtype=torch.float64)
    """
    is_far = sinh > 1e9
    far = torch.where(is_far, sinh, 1.0).log()
    return torch.where(is_far, far, 0.5 * torch.log1p(torch.where(is_far, 0.0, sinh).square()))


class _Tail(NamedTuple):
    """One side of a point: the nodes there, with their weights times the density over that at the point."""

    is_above: Tensor
    log_cosh: Tensor  # at the point
    node_log_cosh: Tensor  # at the nodes
    weight: Tensor
    mass: Tensor  # the sum of the weights: the mass of the side over the density at the point
    log_total: Tensor  # log of the mass of the half-line over the density at the point


def _score_of_df(log_cosh: Tensor, df: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Return g, the derivative of the log-density by df, and q / (1 + q), from log(1 + q) / 2 and dr / d df."""
    share = -torch.expm1(-2 * log_cosh)
    return 0.5 * (share / df - exp_excess(-2 * log_cosh)) + slope, share


def _score_curve(share: Tensor, df: Tensor, curve: Tensor) -> Tensor:
    """Return the second derivative of the log-density by df, from q / (1 + q) and that of r."""
    return 0.5 * (share * share - share * (2 - share) / df) / df + curve


class Score(NamedTuple):
    """The log-density at z, and its derivatives."""

    value: Tensor
    by_df: Tensor
    by_df_twice: Tensor
    by_df_and_z: Tensor
    slope: Tensor  # by z
    curve: Tensor  # by z, twice


def score_at(z: Tensor, df: Tensor, rest: Tensor, slope: Tensor, curve: Tensor) -> Score:
    """Return the log-density at z, from r(df) and its derivatives; its derivatives are finite for each z."""
    root, is_infinite = df.sqrt(), z.isinf()
    z = z.clamp(-1e300, 1e300)
    energy, width = _log_cosh(z.abs() / root), torch.hypot(root, z)
    by_df, share = _score_of_df(energy, df, slope)
    along, per_width = z / width, 1 / width
    return Score(
        torch.where(is_infinite, -math.inf, rest - HALF_LOG_2PI - (df + 1) * energy),
        by_df,
        _score_curve(share, df, curve),
        -along * per_width * (share - per_width * per_width),
        -(df + 1) * along * per_width,
        -(df + 1) * (1 - 2 * share) * per_width * per_width,
    )


def _tail(w: Tensor, df: Tensor, rest: Tensor, slope: Tensor, precise: bool) -> _Tail:
    node, weight = (
        numbers.reshape(-1, *[1] * w.ndim) for numbers in table_of(fine_gauss_rule if precise else coarse_gauss_rule, w)
    )
    at = _log_cosh(torch.sinh(w.clamp(max=709.0)))
    is_above = _score_of_df(at, df, slope)[0] < 0
    # Above, w grows until the energy df log(cosh) has grown by `cut`. Heavy tails exp(-df w) have a variable u of
    # their own, with w = -4 log(u) / df: the integrand is almost u^3, also times log(u)^2.
    cut, power = 37.0 if precise else 23.0, 4 / df
    tanh = torch.tanh(w)
    growth = torch.expm1(2 * cut / df.clamp(min=2.0))
    reach = torch.asinh(growth / (torch.sqrt(tanh * tanh + growth) + tanh * torch.sqrt(1 + growth)))
    length = torch.where(is_above, reach, w)
    is_stretched = is_above & (df < 2)
    step = torch.where(is_stretched, -power * torch.log(node), length * node).clamp(max=340.0)
    weight = torch.where(is_stretched, power / node, length) * weight
    # cosh^2(b + s) / cosh^2(b) - 1 from b = w up, or from b = 0.
    start_tanh, start_share = torch.where(is_above, tanh, 0.0), torch.where(is_above, torch.sigmoid(-2 * w), 0.5)
    grown = torch.expm1(2 * step)
    change = 0.5 * torch.log1p(grown * (start_tanh + start_share.square() * (grown / (1 + grown))))
    weight = weight * torch.exp(-df * torch.where(is_above, change, change - at))
    node_log_cosh = torch.where(is_above, change + at, change)
    log_total = 0.5 * torch.log(0.5 * math.pi / df) - rest + df * at
    return _Tail(is_above, at, node_log_cosh, weight, sum_of_nodes(weight), log_total)


def _masses(tail: _Tail) -> tuple[Tensor, Tensor, Tensor]:
    """Return the masses of (0, x), of the tail above x, and of the half-line, over the density at x."""
    total = torch.exp(tail.log_total.clamp(max=700.0))
    other = total - tail.mass
    return torch.where(tail.is_above, other, tail.mass), torch.where(tail.is_above, tail.mass, other), total


# ---------------------------------------------------------------------------------------------------------- operations
def _local(x: Tensor, df: Tensor, rest: Tensor, slope: Tensor, curve: Tensor, precise: bool) -> tuple[Tensor, ...]:
    w = torch.asinh(x / df.sqrt())
    tail = _tail(w, df, rest, slope, precise)
    _, over, total = _masses(tail)
    ratio = torch.exp(torch.log(tail.mass) - tail.log_total)  # of the half-line
    log_above = torch.where(tail.is_above, torch.log(tail.mass) - tail.log_total, torch.log1p(-ratio)) - LOG_2
    log_below = torch.where(tail.is_above, torch.log1p(-0.5 * ratio), torch.log1p(ratio) - LOG_2)
    width = torch.hypot(df.sqrt(), x)  # dx / dw
    growth = -(df + 1) * (x / width) / width

    # Beyond 1e280 the derivatives of the quantile would overflow.
    tilt, _ = _score_of_df(tail.log_cosh, df, slope)
    node_tilt, share = _score_of_df(tail.node_log_cosh, df, slope)
    node_curve = _score_curve(share, df, curve)
    narrow = width.clamp(max=1e280)
    sign = torch.where(tail.is_above, narrow, -narrow)
    first = sign * sum_of_nodes(tail.weight * node_tilt)
    second = sign * sum_of_nodes(tail.weight * (node_tilt * node_tilt + node_curve))
    second = second - 2 * tilt * first - growth * first * first
    return log_below, log_above, width * (2 * total - over), width * over, growth, first, second, tilt


def _start(below: Tensor, above: Tensor, df: Tensor, rest: Tensor) -> Tensor:
    """Return w of the quantile, about.

    For df > 1 it is Wallace's "Bounds on normal approximations to Student's and the chi-square distributions" (1959):
    log cosh(w) = z^2 / (2 df) ((8 df + 3) / (8 df + 1))^2, with z that of a normal. Below, w is proportional to the
    log-odds. Far out the tail is exp(-df w).
    """
    is_lower = below < above
    z = torch.where(
        is_lower,
        torch.special.erfinv(torch.where(is_lower, below, 0.0)) * math.sqrt(2),
        -torch.special.ndtri(0.5 * above),
    )
    target = (z * (8 * df + 3) / (8 * df + 1)).square() / (2 * df)
    is_far = target > 20
    near = torch.asinh(torch.sqrt(torch.expm1(2 * torch.where(is_far, 0.0, target))))
    normal = torch.where(is_far, target + LOG_2, near)
    log_total = 0.5 * torch.log(0.5 * math.pi / df) - rest
    linear = 0.5 * torch.log1p(2 * below / above) * torch.exp(log_total)
    heavy = LOG_2 - (torch.log(above) + torch.log(df) + log_total) / df
    return torch.where(heavy > 1 + 0.5 * torch.log1p(df), heavy, torch.where(df < 1, linear, normal))


def _quantile(below: Tensor, above: Tensor, df: Tensor, rest: Tensor, slope: Tensor, precise: bool) -> Tensor:
    """Return the x with the mass `below` of the half-line under it, by steps in the log-odds of the whole line."""
    goal = torch.log1p(2 * below / above)
    w = _start(below, above, df, rest)
    for is_fine in (False, precise):
        tail = _tail(w, df, rest, slope, is_fine)
        under, over, total = _masses(tail)
        tanh = torch.tanh(w)
        growth, curvature = -df * tanh, -df * torch.exp(-2 * tail.log_cosh)
        gap = torch.log1p(2 * under / over) - goal
        w = w + step_to_odds(gap, 1 / (total + under), 1 / over, growth, curvature)
        w = w.clamp(0.0, 700.0)  # where x does not overflow
    return df.sqrt() * torch.sinh(w)


def _normaliser(df: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return normaliser_rest(df), normaliser_slope(df), _normaliser_curve(df)


_student_t_normaliser = elementwise_operation("student_t_normaliser", ["df"], _normaliser, num_results=3)
_student_t_quantile = elementwise_operation(
    "student_t_quantile", ["below", "above", "df", "rest", "slope"], in_blocks(_quantile), flags=["precise"]
)
_student_t_score = elementwise_operation(
    "student_t_score", ["z", "df", "rest", "slope", "curve"], in_blocks(score_at), num_results=6
)
_student_t_local = elementwise_operation(
    "student_t_local", ["x", "df", "rest", "slope", "curve"], in_blocks(_local), flags=["precise"], num_results=8
)


# ---------------------------------------------------------------------------------------------------- with derivatives
class HalfLine(NamedTuple):
    """Degrees of freedom in float64, and the rest of the normaliser with its derivatives, as constants."""

    df: Tensor
    precise: bool
    rest: Tensor
    slope: Tensor
    curve: Tensor

    def quantile(self, below: Tensor, above: Tensor) -> Tensor:
        """Return the distance x from 0 with P(|X| < x) = below, without derivatives."""
        masses = below.detach(), above.detach().clamp(min=1e-300)
        found: Tensor = _student_t_quantile(*masses, self.df.detach(), self.rest, self.slope, self.precise)
        return found

    def local(self, x: Tensor) -> Local:
        """Return the numbers at a distance x from 0, with the masses of the whole line."""
        found = _student_t_local(x.detach(), self.df.detach(), self.rest, self.slope, self.curve, self.precise)
        log_below, log_above, below, above, growth, slope, curve, tilt = found
        return Local(log_below, log_above, below, above, growth, [slope], [curve], [tilt])

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log-density at z."""
        found = _student_t_score(z.detach(), self.df.detach(), self.rest, self.slope, self.curve)
        value, by_df, by_df_twice, by_df_and_z, slope, curve = found
        moved: Tensor = second_order([slope, by_df], [curve, by_df_and_z, by_df_twice], [z, self.df])
        return value + moved


def half_line(df: Tensor) -> HalfLine:
    """Return what is known about degrees of freedom, in float64; with the digits of float32 if that is their dtype.

    Those above 1e60 count as 1e60, which is the normal distribution to the last digit.

    >>> half_line(torch.tensor(torch.inf)).log_density(torch.zeros((), dtype=torch.float64))
    tensor(-0.9189, dtype=torch.float64)
    """
    wide = df.double().clamp(max=1e60)
    fixed = wide.detach()
    return HalfLine(wide, df.dtype == torch.float64, *_student_t_normaliser(fixed))
