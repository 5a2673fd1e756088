"""Quantiles, tails and moments of the density exp(concentration cos(angle)) on (0, pi), without derivatives.

It is half of a von Mises distribution around 0. A point is a pair: the angle, and the rest pi - angle, so that both
ends keep their digits. One tail at a point is integrated relative to the density there, by a rule of Gauss and
Legendre: that above the point where 1 - cos(angle) is larger than its mean, else that below. Then no term of a
derivative cancels another one. The mass of both is pi exp(-concentration) I0(concentration), over the density at 0.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special.constant import table_of
from functional_dists.special.deviance import exp_excess
from functional_dists.special.elementary import expm1
from functional_dists.special.gauss_legendre import coarse_gauss_rule, fine_gauss_rule
from functional_dists.special.implicit import Local, log_odds, odds_step, second_order
from functional_dists.special.operations import elementwise_operation, in_blocks
from functional_dists.special.quadrature import sum_of_nodes

__all__ = ["HalfCircle", "divergence", "half_circle", "versine"]
__dir__ = __all__.copy  # what tab completion shows


def versine(angle: Tensor, rest: Tensor) -> Tensor:
    """Return 1 - cos(angle) from an angle in [0, pi] and pi - angle.

    >>> versine(torch.tensor(1e-10), torch.tensor(math.pi))
    tensor(5.0000e-21)
    """
    is_near = angle < rest
    half = torch.sin(0.5 * torch.where(is_near, angle, rest))
    return torch.where(is_near, 2 * half * half, 2 - 2 * half * half)


def _rule(like: Tensor, precise: bool) -> tuple[Tensor, Tensor]:
    """Return nodes and weights on (0, 1), on a leading axis."""
    rule = fine_gauss_rule if precise else coarse_gauss_rule
    node, weight = table_of(rule, like)
    axes = [-1] + [1] * like.ndim
    return node.reshape(axes), weight.reshape(axes)


def _density(concentration: Tensor, precise: bool, energy: float) -> tuple[Tensor, Tensor]:
    """Return x = 1 - cos(angle) at the nodes, and the weights times the density over that at 0."""
    node, weight = _rule(concentration, precise)
    last = 2 * torch.asin(torch.sqrt((energy / (2 * concentration)).clamp(max=1.0)))
    x = 2 * torch.sin(0.5 * last * node).square()
    return x, last * weight * torch.exp(-concentration * x)


class _Tail(NamedTuple):
    """The smaller side of a point: the nodes there, with their weights times the density over that at the point."""

    is_above: Tensor
    versine: Tensor  # 1 - cos(angle)
    change: Tensor  # |cos(x) - cos(angle)| at the nodes x
    weight: Tensor
    mass: Tensor  # the sum of the weights
    log_total: Tensor  # log of the mass of both sides over the density at the point


def _tail(angle: Tensor, rest: Tensor, concentration: Tensor, total: Tensor, mean: Tensor, precise: bool) -> _Tail:
    node, weight = _rule(angle, precise)
    at = versine(angle, rest)
    is_above = at > mean
    # Above, the integral ends where the energy has grown by the cut: cos^2(end/2) = cos^2(angle/2) - cut / (2 kappa).
    cut = (36.0 if precise else 23.0) / (2 * concentration)
    kept = (torch.sin(0.5 * rest).square() - cut).clamp(min=0.0)
    length = torch.where(is_above, rest - 2 * torch.asin(torch.sqrt(kept)), angle)
    # |cos(x) - cos(angle)| = 2 sin((x + angle) / 2) sin(|x - angle| / 2), and sin(y) = sin(pi - y).
    from_end = is_above & (rest < angle)
    start, sign = torch.where(from_end, rest, angle), torch.where(is_above & ~from_end, 1.0, -1.0)
    half_step = (0.5 * length) * node
    change = torch.sin(start + sign * half_step) * torch.sin(half_step) * 2
    weight = torch.exp(torch.where(is_above, -concentration, concentration) * change) * (length * weight)
    return _Tail(is_above, at, change, weight, sum_of_nodes(weight), total.log() + concentration * at)


def _masses(tail: _Tail) -> tuple[Tensor, Tensor]:
    """Return the masses below and above a point over the density there."""
    other = torch.exp(tail.log_total.clamp(max=700.0)) - tail.mass
    return torch.where(tail.is_above, other, tail.mass), torch.where(tail.is_above, tail.mass, other)


# ----------------------------------------------------------------------------------------------------------- operations
def _moments(concentration: Tensor, precise: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, weight = _density(concentration, precise, 42.0 if precise else 21.0)
    total = sum_of_nodes(weight)
    mean = sum_of_nodes(weight * x) / total
    distance = x - mean
    square = weight * distance * distance
    return total, mean, sum_of_nodes(square) / total, sum_of_nodes(square * distance) / total


def _local(
    angle: Tensor, rest: Tensor, concentration: Tensor, total: Tensor, mean: Tensor, variance: Tensor, precise: bool
) -> tuple[Tensor, ...]:
    tail = _tail(angle, rest, concentration, total, mean, precise)
    log_mass = torch.log(tail.mass) - tail.log_total
    log_rest = torch.log1p(-torch.exp(log_mass))
    log_below, log_above = (torch.where(tail.is_above, *pair) for pair in ((log_rest, log_mass), (log_mass, log_rest)))
    growth = -concentration * torch.sin(torch.minimum(angle, rest))
    tilt = mean - tail.versine
    first, second = tail.weight * tail.change, tail.weight * tail.change * tail.change
    slope = -(sum_of_nodes(first) + tail.mass * tilt.abs())
    curve = sum_of_nodes(second) - tail.mass * (variance + tilt * tilt)
    curve = torch.where(tail.is_above, curve, -curve) - growth * slope * slope
    return log_below, log_above, *_masses(tail), growth, slope, curve, tilt


def _start(below: Tensor, above: Tensor, concentration: Tensor, total: Tensor) -> Tensor:
    """Return log tan(angle / 2) of the quantile, about.

    With y = 2 sin(angle / 2) the density is exp(-kappa y^2 / 2) / cos(angle / 2), which is almost that of a normal of
    precision kappa - 1/4 that is cut at 2. Near pi the density grows like exp(kappa rest^2 / 2); kappa near 0 is the
    uniform distribution.
    """
    is_lower, is_flat = below < above, concentration < 0.5
    root = torch.sqrt((concentration - 0.25).clamp(min=0.25))
    cut = root * math.sqrt(2)
    near = torch.special.erfinv(below * torch.erf(cut)) * math.sqrt(2)
    far = -torch.special.ndtri(0.5 * (above + below * torch.special.erfc(cut)))
    y = (torch.where(is_lower, near, far) / root).clamp(max=2 - 1e-9)
    half = torch.where(is_flat, 0.5 * math.pi * below, torch.asin(0.5 * y))
    rest = above * total * torch.exp((2 * concentration).clamp(max=700.0))
    is_end = ~is_lower & (is_flat | (concentration * rest * rest < 0.5))
    rest = torch.where(is_flat, math.pi * above, rest / (1 + concentration * rest * rest / 6))
    half_rest = torch.where(is_end, 0.5 * rest, 0.5)
    return torch.where(is_end, -torch.log(torch.tan(half_rest)), torch.log(torch.tan(half)))


def _quantile(
    below: Tensor, above: Tensor, concentration: Tensor, total: Tensor, mean: Tensor, precise: bool
) -> tuple[Tensor, Tensor]:
    """Return the angle with the mass `below` under it, and pi - angle.

    Its coordinate is t = log tan(angle / 2), in which the density is exp(kappa cos(angle)) sin(angle).
    """
    goal = log_odds(below, above)
    t = _start(below, above, concentration, total)
    for is_fine in (False, False, True)[: 3 if precise else 2]:
        angle, rest = _angles(t)
        under, over = _masses(_tail(angle, rest, concentration, total, mean, is_fine))
        sine, cosine = 1 / torch.cosh(t), -torch.tanh(t)
        square = sine * sine
        growth, curvature = cosine - concentration * square, -square * (1 + 2 * concentration * cosine)
        t = odds_step(t, goal, under / sine, over / sine, growth, curvature)
    return _angles(t)


def _angles(t: Tensor) -> tuple[Tensor, Tensor]:
    return 2 * torch.atan(torch.exp(t)), 2 * torch.atan(torch.exp(-t))


def _divergence(p: Tensor, q: Tensor, precise: bool) -> tuple[Tensor, Tensor]:
    """Return KL(p || q) of two concentrations around one angle, and its derivative by q.

    With x = 1 - cos(angle), m its mean under p and d = q - p it is log E exp(-d (x - m)). That is log(1 + E e) with
    e = exp(-d (x - m)) - 1 + d (x - m) >= 0, which does not cancel where p and q are close. Where they are not, the
    plain differences do not cancel.
    """
    p, q = torch.broadcast_tensors(p, q)
    (p_total, p_mean, *_), (q_total, q_mean, *_), change = _moments(p, precise), _moments(q, precise), q - p
    is_near = change.abs() < torch.maximum(0.3 * p, torch.ones_like(p))
    near = torch.where(is_near, change, 0.0)
    x, weight = _density(p, True, 80.0)
    power = near * (p_mean - x)
    excess = sum_of_nodes(weight * exp_excess(power)) / p_total
    slope = sum_of_nodes(weight * (p_mean - x) * expm1(power)) / (p_total * (1 + excess))
    far = torch.log(q_total / p_total) + change * p_mean
    return torch.where(is_near, torch.log1p(excess), far), torch.where(is_near, slope, p_mean - q_mean)


#: The integral of exp(-concentration x) over (0, pi), and the mean, the variance and the third central moment of
#: x = 1 - cos(angle), of (concentration).
von_mises_moments = elementwise_operation(
    "von_mises_moments", ["concentration"], in_blocks(_moments), flags=["precise"], num_results=4
)
#: The angle and the rest of the quantile.
von_mises_quantile = elementwise_operation(
    "von_mises_quantile",
    ["below", "above", "concentration", "total", "mean"],
    in_blocks(_quantile),
    flags=["precise"],
    num_results=2,
)
#: The numbers of `implicit.Local` at a point: one slope, curve and tilt.
von_mises_local = elementwise_operation(
    "von_mises_local",
    ["angle", "rest", "concentration", "total", "mean", "variance"],
    in_blocks(_local),
    flags=["precise"],
    num_results=8,
)
#: The divergence of two concentrations, and its derivative by the second one, of (p, q).
von_mises_divergence = elementwise_operation(
    "von_mises_divergence", ["p", "q"], in_blocks(_divergence), flags=["precise"], num_results=2
)


# ---------------------------------------------------------------------------------------------------- with derivatives
class HalfCircle(NamedTuple):
    """A concentration in float64, and the moments of x = 1 - cos(angle), without derivatives."""

    concentration: Tensor
    precise: bool
    total: Tensor
    mean: Tensor
    variance: Tensor
    third: Tensor

    def quantile(self, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distance from the centre with the mass `below` inside, and pi less it."""
        masses = below.detach().clamp(min=1e-300), above.detach().clamp(min=1e-300)
        found = von_mises_quantile(*masses, self.concentration.detach(), self.total, self.mean, self.precise)
        return found[0], found[1]

    def local(self, angle: Tensor, rest: Tensor) -> Local:
        """Return the numbers at a distance from the centre."""
        fixed = angle.detach(), rest.detach(), self.concentration.detach()
        found = von_mises_local(*fixed, self.total, self.mean, self.variance, self.precise)
        log_below, log_above, below, above, growth, slope, curve, tilt = found
        return Local(log_below, log_above, below, above, growth, [slope], [curve], [tilt])

    def log_total(self) -> Tensor:
        """Return log(2 pi I0) - concentration."""
        return torch.log(2 * self.total) + second_order([-self.mean], [self.variance], [self.concentration])

    def log_density(self, x: Tensor) -> Tensor:
        """Return the log-density at x = 1 - cos(angle)."""
        return -self.concentration * x - self.log_total()

    def entropy(self) -> Tensor:
        """Return log(2 pi I0) - concentration I1 / I0; its slope is -concentration times the variance."""
        fixed = self.concentration.detach()
        slope, curve = -fixed * self.variance, fixed * self.third - self.variance
        return torch.log(2 * self.total) + fixed * self.mean + second_order([slope], [curve], [self.concentration])

    def mean_versine(self) -> Tensor:
        """Return E (1 - cos(angle))."""
        return self.mean + second_order([-self.variance], [self.third], [self.concentration])

    def mean_cosine(self) -> Tensor:
        """Return E cos(angle) = I1 / I0, with its digits where it is small."""
        fixed = self.concentration.detach()
        ratio = torch.special.i1e(fixed) / torch.special.i0e(fixed)
        return ratio + second_order([self.variance], [-self.third], [self.concentration])


def half_circle(concentration: Tensor) -> HalfCircle:
    """Return what is known about a concentration, in float64; with the digits of float32 if that is its dtype.

    >>> half_circle(torch.tensor(0.0)).mean_versine()
    tensor(1., dtype=torch.float64)
    """
    wide, precise = concentration.double(), concentration.dtype == torch.float64
    return HalfCircle(wide, precise, *von_mises_moments(wide.detach(), precise))


def divergence(p: HalfCircle, q: HalfCircle) -> Tensor:
    """Return KL(p || q) of two concentrations, without cancellation where they are close.

    >>> divergence(half_circle(torch.tensor(1.0)), half_circle(torch.tensor(1.0)))
    tensor(0., dtype=torch.float64)
    """
    found, slope = von_mises_divergence(p.concentration.detach(), q.concentration.detach(), p.precise)
    change = q.concentration.detach() - p.concentration.detach()
    curves = [p.variance + p.third * change, -p.variance, q.variance]
    moved = second_order([-p.variance * change, slope], curves, [p.concentration, q.concentration])
    return found + moved
