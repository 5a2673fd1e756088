"""The gamma distribution around a point: its masses on both sides, and the derivatives of its quantiles.

The coordinate is t = log x of the standard gamma distribution, with h(t) = a t - exp(t). A point is given by its offset
d = t - log a from the mode, so that no digits are lost where a is large. In units of the density at t, the moments of
one side are integrals of positive functions,

    L_j = integral over r > 0 of r^j exp(h(t - r) - h(t)),  U_j likewise with t + r.

The side taken is the one that the mean of t, psi(a), is not on. All follows from its moments, written I_j, and from the
mass of both sides, which Stirling's formula gives. With e = |t - psi(a)| and a sign that is 1 above the mean,

    dt/da = I_1 + e I_0,  d2t/da2 = sign (I_2 - (e^2 + psi'(a)) I_0) - h'(t) (dt/da)^2.

Every term of the first is positive. See `special.implicit`. PyTorch's `gammainc` has errors of 1e-9, and no derivative
by a.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special.constant import table_of
from functional_dists.special.deviance import exp_excess
from functional_dists.special.elementary import horner
from functional_dists.special.gauss_legendre import coarse_gauss_rule, fine_gauss_rule
from functional_dists.special.gaussian import HALF_LOG_2PI
from functional_dists.special.implicit import Local
from functional_dists.special.operations import elementwise_operation
from functional_dists.special.polygamma import Rests, stirling_rests

__all__ = [
    "ENERGY",
    "FEW",
    "NUM_FLAT_TERMS",
    "NUM_RESULTS",
    "NUM_TERMS",
    "Side",
    "gamma_local",
    "local",
    "log_total_at_mode",
    "smaller_side",
]
__dir__ = __all__.copy  # what tab completion shows

# Each pair of numbers is for results rounded to float32, and for those in float64.
ENERGY = (23.0, 38.0)  # integrals end where the density has fallen by exp(-energy)
FEW = 4.0  # below this concentration the lower side is a series
NUM_TERMS = (22, 34)  # of that series
NUM_FLAT_TERMS = (14, 20)  # of the series for the flat part of the upper side


class Side(NamedTuple):
    """One side of a point."""

    is_lower: Tensor  # whether it is the lower one
    moments: Sequence[Tensor]  # I_0, I_1, ...
    log_total: Tensor  # the logarithm of the mass of both sides, in units of the density at t


def log_total_at_mode(a: Tensor, rests: Rests) -> Tensor:
    """Return log Gamma(a) - (a log a - a)."""
    return rests.log_gamma - 0.5 * a.log() + HALF_LOG_2PI


def smaller_side(offset: Tensor, a: Tensor, rests: Rests, order: int, *, precise: bool) -> Side:
    """Return the side of a point that the mean is not on, with its moments up to I_order."""
    is_lower = offset < rests.digamma
    t = offset + a.log()
    # Above the mean and below x = 1 the density is nearly flat: the integral is split at x = 1.
    is_flat = ~is_lower & (t < 0)
    x = torch.where(is_flat, 1.0, a * torch.exp(offset))
    fall = torch.where(is_flat, 1 - a, a * torch.expm1(offset))  # -h'
    found = _quadrature(torch.where(is_lower, -fall, fall), x, a, is_lower, order, precise)
    flat = _flat_part(torch.where(is_flat, -t, 0.0), a, found, order, precise)
    series = _lower_series(torch.where(is_lower, x, 0.0), a, order, precise)
    is_series = is_lower & (a < FEW)
    moments = [
        torch.where(is_series, s, torch.where(is_flat, f, q)) for s, f, q in zip(series, flat, found, strict=True)
    ]
    return Side(is_lower, moments, log_total_at_mode(a, rests) + a * exp_excess(offset))


def _quadrature(fall: Tensor, x: Tensor, a: Tensor, is_lower: Tensor, order: int, precise: bool) -> tuple[Tensor, ...]:
    """Return the integrals of r^j exp(-E(r)) over r > 0, E(r) = fall r + x (exp(s r) - 1 - s r), s = -1 or 1.

    They end where E is `ENERGY` or a bit more. Below, exp(-r) - 1 + r >= r^2 / (2 + r) gives an equation of second
    degree. Above, exp(r) - 1 - r >= r^2 / 2 gives a first end, and E(r) = x (exp(r) - 1) - a r a better one.
    """
    energy = ENERGY[precise]
    part = energy - 2 * fall
    root = torch.sqrt(part * part + 8 * a * energy)
    below = torch.where(part > 0, (part + root) / (2 * a), 4 * energy / (root - part))
    first = 2 * energy / (fall + torch.sqrt(fall * fall + 2 * energy * x))
    end = torch.where(is_lower, below, torch.log1p((energy + a * first) / x))
    u, weight = _rule(fall, precise)
    r = end * u
    density = weight * torch.exp(-fall * r - x * exp_excess(torch.where(is_lower, -r, r)))
    return tuple(end * (density * r**j).sum(0) for j in range(order + 1))


def _rule(like: Tensor, precise: bool) -> tuple[Tensor, Tensor]:
    u, weight = table_of(fine_gauss_rule if precise else coarse_gauss_rule, like)
    shape = (-1, *[1] * like.ndim)
    return u.view(shape), weight.view(shape)


def _lower_series(x: Tensor, a: Tensor, order: int, precise: bool) -> tuple[Tensor, ...]:
    """Return L_0 = sum_k x^k / (a (a + 1) ... (a + k)), minus its derivative by a, and the second derivative.

    All terms are positive. Source: Abramowitz & Stegun 6.5.29.
    """
    k = torch.arange(NUM_TERMS[precise], dtype=a.dtype, device=a.device).view(-1, *[1] * a.ndim)
    inverse = 1 / (a + k)
    term = torch.cumprod(torch.where(k == 0, 1.0, x) * inverse, 0)
    total = inverse.cumsum(0)
    factors = (1.0, total, total * total + (inverse * inverse).cumsum(0))
    return tuple((term * factor).sum(0) for factor in factors[: order + 1])


def _flat_part(width: Tensor, a: Tensor, beyond: Sequence[Tensor], order: int, precise: bool) -> tuple[Tensor, ...]:
    """Return the moments U_j at t = -width from those at t = 0, for a < 1.5 and a width up to -psi(a).

    Between, exp(a r - x (exp(r) - 1)) is exp(x) times the sum of (-1)^k / k! exp((a + k) r - k width).
    """
    exponent = a * width
    end = torch.exp(exponent)
    k = torch.arange(1, NUM_FLAT_TERMS[precise], dtype=a.dtype, device=a.device).view(-1, *[1] * a.ndim)
    inverse = 1 / (a + k)
    zeroth = (end - torch.exp(-k * width)) * inverse
    first = (width * end - zeroth) * inverse
    second = (width * width * end - 2 * first) * inverse
    sign = torch.where(k % 2 == 1, -1.0, 1.0).to(a.dtype) / torch.exp(torch.lgamma(k + 1))
    power, moments = width, []
    for j, terms in enumerate((zeroth, first, second)[: order + 1]):
        moments.append(power * horner(_RAMPS[j], exponent) + (sign * terms).sum(0))
        power = power * width
    scale = torch.exp(torch.exp(-width))
    jump = torch.exp(exponent + torch.exp(-width) - 1)  # exp(h(0) - h(t))
    shifted = [beyond[0]]
    if order > 0:
        shifted.append(beyond[1] + width * beyond[0])
    if order > 1:
        shifted.append(beyond[2] + width * (2 * beyond[1] + width * beyond[0]))
    return tuple(scale * m + jump * s for m, s in zip(moments, shifted, strict=True))


# The integral over v in (0, 1) of v^j exp(c v) for j = 0, 1, 2, and c up to 1.2: a series in c, its last term first.
_RAMPS = [[1 / (math.factorial(k) * (k + 1 + j)) for k in range(20, -1, -1)] for j in range(3)]


# -------------------------------------------------------------------------------------------------------- the operation
NUM_RESULTS = 8


def local(offset: Tensor, a: Tensor, precise: bool) -> tuple[Tensor, ...]:
    """Return the numbers of `Local`, one after the other."""
    offset, a = torch.broadcast_tensors(offset, a)
    rests = stirling_rests(a)
    side = smaller_side(offset, a, rests, 2, precise=precise)
    mass, first, second = side.moments
    log_tail = mass.log() - side.log_total
    tail = log_tail.exp()
    log_rest, rest = torch.log1p(-tail), side.log_total.exp() * (1 - tail)
    growth, tilt = -a * torch.expm1(offset), offset - rests.digamma
    slope = first + tilt.abs() * mass
    bend = second - (tilt * tilt + 1 / a + rests.trigamma) * mass
    lower = side.is_lower
    return (
        torch.where(lower, log_tail, log_rest),
        torch.where(lower, log_rest, log_tail),
        torch.where(lower, mass, rest),
        torch.where(lower, rest, mass),
        growth,
        slope,
        torch.where(lower, -bend, bend) - growth * slope * slope,
        tilt,
    )


_operation = elementwise_operation("gamma_local", ("offset", "a"), local, flags=["precise"], num_results=NUM_RESULTS)


def gamma_local(offset: Tensor, a: Tensor, *, precise: bool) -> Local:
    """Return what is known at the point log a + offset of the logarithm of a standard gamma variable.

    Args:
        offset: The point less log a, finite, in float64.
        a: The concentration, in float64.
        precise: Whether the results are for float64, instead of float32.

    >>> local = gamma_local(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), precise=True)
    >>> abs(local.log_above.item() + 1) < 1e-14  # P(X > 1) = exp(-1)
    True
    """
    log_below, log_above, below, above, growth, slope, curve, tilt = _operation(offset.detach(), a.detach(), precise)
    return Local(log_below, log_above, below, above, growth, [slope], [curve], [tilt])
