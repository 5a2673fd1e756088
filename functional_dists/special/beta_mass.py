"""The masses of a Beta distribution below and above a point, from one integral along its logit.

The logit s of a Beta(a, b) variable has the density f(s) = X^a Y^b / B(a, b), X = sigmoid(s), Y = sigmoid(-s). Its
mode is log(a / b). Points are offsets from there, which keeps all digits where a and b are large. A point above the
mode is reflected: a and b change places, and its sign changes. For a point t below the mode, with x = sigmoid(t),
y = sigmoid(-t) and n = a + b, the mass L below t is taken relative to f(t). The recurrence of the cdf in a,

    a L = 1 + n int_{s<t} X f(s) / f(t) ds

(DLMF 8.17.20), leaves an integrand that falls from t downwards, at last as exp((a + 1) s), however small a is.
So the rule of Gauss and Legendre integrates it, from t to where its energy -log(X f(s) / (x f(t))) is large.

The mass T of all, relative to f(t), is known: log(a T) = log(a B(a, b)) - a log x - b log y is 0 or more, and has all
digits of a where a is small. Then the masses are F = a L / (a T) and 1 - F = (expm1(log(a T)) - (a L - 1)) / (a T).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special.constant import table_of
from functional_dists.special.deviance import excess_of, log_one_minus_exp
from functional_dists.special.elementary import expm1_minus
from functional_dists.special.gauss_legendre import coarse_gauss_rule, fine_gauss_rule
from functional_dists.special.polygamma import stirling_rests

__all__ = [
    "Nodes",
    "Point",
    "integral_below",
    "log_beta",
    "log_masses",
    "log_total_at_mode",
    "point_at",
    "total_growth",
]
__dir__ = __all__.copy  # what tab completion shows

HALF_LOG_2PI_LESS_1 = 0.5 * math.log(2 * math.pi) - 1


class Point(NamedTuple):
    """A point t below the mode of the logit of a Beta(a, b), in float64."""

    a: Tensor
    b: Tensor
    offset: Tensor  # t - log(a / b), 0 or less
    x: Tensor  # sigmoid(t)
    y: Tensor  # sigmoid(-t)
    growth: Tensor  # (log f)'(t) = a y - b x


# Points are reflected above log((a + c) / (b + c)). Where b is small, with a large c many digits of the other mass
# would cancel, and with c = 0 the integral would be over a long way, which needs more nodes.
_TO_CENTRE = 0.015


def point_at(offset: Tensor, a: Tensor, b: Tensor) -> tuple[Point, Tensor]:
    """Return the point at an offset from the mode, and where it was reflected.

    >>> a = torch.tensor(2.0, dtype=torch.float64)
    >>> point, is_reflected = point_at(0 * a, a, 3 * a)
    >>> point.x, is_reflected
    (tensor(0.2500, dtype=torch.float64), tensor(False))
    """
    is_reflected = offset > torch.log1p(_TO_CENTRE / a) - torch.log1p(_TO_CENTRE / b)
    a, b = torch.where(is_reflected, b, a), torch.where(is_reflected, a, b)
    offset = torch.where(is_reflected, -offset, offset)
    odds = a * torch.exp(offset)
    y = b / (b + odds)
    return Point(a, b, offset, odds / (b + odds), y, -a * y * torch.expm1(offset)), is_reflected


def _bent(share: Tensor, r: Tensor, precise: bool) -> tuple[Tensor, Tensor]:
    """Return l = log(1 + share (exp(r) - 1)) and l - share r >= 0, for a share of at most 1/2."""
    if not precise:
        found = torch.log1p(share * torch.expm1(r))
        return found, found - share * r
    is_near = r.abs() < 1
    near, far = torch.where(is_near, r, 0.0), torch.where(is_near, 1.0, r)
    excess = expm1_minus(near)
    bend = share * excess - excess_of(share * (excess + near))
    found = torch.log1p(share * torch.expm1(far))
    return torch.where(is_near, bend + share * r, found), torch.where(is_near, bend, found - share * r)


# ----------------------------------------------------------------------------------------------------------- integrals
class Nodes(NamedTuple):
    """The nodes of the integral of X f(s) / f(t) below t, on a leading axis."""

    weight: Tensor  # the weight of the rule times X f(s) / f(t)
    log_x: Tensor  # log(X / x) <= 0
    log_y: Tensor  # log(Y / y) >= 0


# Where the energy is larger than this, the rest of the integral is smaller than the error of the rule.
_COARSE_ENERGY, _FINE_ENERGY = 22.0, 37.0


def integral_below(point: Point, precise: bool) -> Nodes:
    """Return the nodes of the integral below a point: 24 for an error of 1e-9, or 64 for all digits of a double."""
    a, b, x, y = point.a, point.b, point.x, point.y
    energy = _FINE_ENERGY if precise else _COARSE_ENERGY
    slope, count = point.growth + y, a + b + 1  # of X f: its energy at t - r is slope r + count (l - share r)
    is_left = x <= y
    share, sign = torch.where(is_left, x, y), torch.where(is_left, -1.0, 1.0).to(x.dtype)
    reach = _reach(slope, count, share, sign, x * y, energy)
    u, w = table_of(fine_gauss_rule if precise else coarse_gauss_rule, a)
    shape = (-1, *[1] * a.ndim)
    r = reach * u.view(shape)
    bent, bend = _bent(share, sign * r, precise)
    weight = x * reach * w.view(shape) * torch.exp(-(slope * r + count * bend))
    # bent is log(Y' / y) with Y' = 1 - X on the left, where log_y = -bent; on the right it is -log(X / x)
    return Nodes(weight, torch.where(is_left, -r - bent, -bent), torch.where(is_left, -bent, r - bent))


def _reach(slope: Tensor, count: Tensor, share: Tensor, sign: Tensor, spread: Tensor, energy: float) -> Tensor:
    """Return about the r at which the energy slope r + count (l - share r) has the given value.

    Newton's method on the root of the energy, which is almost linear where the energy is small, and on the energy where
    it is large, where it is almost linear itself.
    """
    r = 2 * energy / (slope + torch.sqrt(slope * slope + 2 * energy * count * spread))
    per_share = energy / (count * share)  # on the right the energy is about count y (exp(r) - 1 - r)
    r = torch.where(sign > 0, torch.minimum(r, torch.log1p(per_share + torch.sqrt(2 * per_share))), r)
    for _ in range(2):
        r = r.clamp(max=600.0)
        growth = torch.expm1(sign * r)
        ratio = 1 + share * growth
        found = (count * (torch.log(ratio) - sign * share * r) + slope * r).clamp(min=1e-3)
        rise = sign * count * share * (1 - share) * growth / ratio + slope
        root = torch.sqrt(energy * found)
        step = torch.where(found < energy, 2 * (root - found), -torch.minimum(2 * (found - root), found)) / rise
        moved = r + step
        r = torch.where((moved > 0) & moved.isfinite(), moved, r)
    return 1.02 * r


# --------------------------------------------------------------------------------------------------------------- masses
def log_total_at_mode(a: Tensor, b: Tensor) -> Tensor:
    """Return log(a T) for the point at the mode, a sum of positive terms: it has all digits of a where a is small.

    >>> a = torch.tensor(1e-8, dtype=torch.float64)
    >>> log_total_at_mode(a, torch.ones_like(a))  # a (1 - log a)
    tensor(1.9421e-07, dtype=torch.float64)
    """
    of_next, of_b, of_all = (stirling_rests(z).log_gamma for z in (1 + a, b, a + b))
    is_small = a < 0.5
    small, large = torch.where(is_small, a, 0.1), torch.where(is_small, 1.0, a)
    of_small = torch.lgamma(1 + small) + small - small * torch.log(small)
    of_large = of_next + 0.5 * torch.log1p(large) + large * torch.log1p(1 / large) + HALF_LOG_2PI_LESS_1
    return torch.where(is_small, of_small, of_large) + 0.5 * torch.log1p(a / b) + (of_b - of_all)


def log_beta(a: Tensor, b: Tensor) -> Tensor:
    """Return log B(a, b)."""
    return log_total_at_mode(a, b) - torch.log(a) - a * torch.log1p(b / a) - b * torch.log1p(a / b)


def total_growth(point: Point) -> Tensor:
    """Return log f(mode) - log f(t) >= 0, by which log(a T) grows from the mode to the point."""
    a, b, offset = point.a, point.b, point.offset
    n = a + b
    is_left = a <= b
    share = torch.where(is_left, a, b) / n
    r = torch.where(is_left, offset, -offset)
    near = r.clamp(max=600.0)
    # beyond 600 the logarithm is linear to the last digit
    return n * (_bent(share, near, True)[1] + (1 - share) * (r - near))


def log_masses(log_total: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logs of the masses below and above a point, from log(a T) and the rest a L - 1.

    >>> log_masses(torch.tensor(1.0).log1p(), torch.tensor(0.5))[0].exp()
    tensor(0.7500)
    """
    log_below = torch.log1p(rest) - log_total
    is_low = log_below < -1
    above = -torch.expm1(-log_total) - rest * torch.exp(-log_total)
    tiny = torch.finfo(above.dtype).tiny
    log_above = torch.log(torch.where(is_low, 1.0, above).clamp(min=tiny))
    return log_below, torch.where(is_low, log_one_minus_exp(torch.where(is_low, -log_below, 1.0)), log_above)
