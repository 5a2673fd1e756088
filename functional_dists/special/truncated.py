"""A normal density cut to a window: its mass, the masses of its parts, and its quantiles.

All positions are offsets from the anchor, the point of the window nearest to the normal's mean. The density is largest
at the anchor, so integrals have positive terms of moderate size for any window. A large mean or bound costs no digits.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special.constant import is_constant, table_of
from functional_dists.special.elementary import expm1, expm1_minus, plus_product, plus_scaled
from functional_dists.special.interval import first_and_last_inside
from functional_dists.special.quadrature import sum_of_nodes, window_nodes, window_rule, window_weights
from functional_dists.special.truncated_log_mass import cut_off, log_mass
from functional_dists.special.truncated_quantile import standard_quantile
from functional_dists.special.vectorized import materialize

__all__ = [
    "Bounded",
    "DetachedQuantile",
    "Mass",
    "TailMass",
    "Window",
    "detached_quantile",
    "divergence",
    "energy",
    "mass",
    "pathwise_term",
    "quantile",
    "tail_mass",
    "window",
]
__dir__ = __all__.copy  # what tab completion shows

# Integrals are cut at half of this energy: the density beyond is below exp(-24) or exp(-45) of its maximum.
_ENERGY = {torch.float32: 48.0, torch.float64: 90.0}


class Mass(NamedTuple):
    """The integral of exp(-energy) over offsets, by quadrature; the first axis of the tables holds the nodes.

    The other axes are those of `total`. A tensor combined with a table must not have more axes than `total`.
    """

    first: Tensor
    last: Tensor  # the integral is over offsets from `first` to `last`
    log_density: Tensor  # table: relative to the anchor
    weight: Tensor  # table: the weight of the rule times the density
    total: Tensor  # sum of the weights; the integral is width * total

    @property
    def width(self) -> Tensor:
        """The length of the integrated interval."""
        return self.last - self.first

    @property
    def offset(self) -> Tensor:
        """The table of the nodes' offsets."""
        return _nodes(self.first, self.last)[0]

    def log(self) -> Tensor:
        """Return the log of the integral."""
        return torch.log(self.width) + torch.log(self.total)

    def mean(self, table: Tensor) -> Tensor:
        """Return the mean of a function given by its values at the nodes."""
        return sum_of_nodes(self.weight * table) / self.total


class Window(NamedTuple):
    """A window around its anchor: the value at an offset is anchor + offset."""

    anchor: Tensor  # a constant: any choice gives the same distribution
    slope: Tensor  # of the energy at the anchor, per standard deviation; 0 if the mean is inside
    scale: Tensor
    start: Tensor  # offset of the lower end, never positive
    stop: Tensor  # offset of the upper end, never negative

    def energy(self, offset: Tensor) -> Tensor:
        """Return the log-density at the anchor minus that at an offset."""
        return energy(self.slope, offset / self.scale)

    def mass(self) -> Mass:
        """Return the mass of the whole window."""
        return mass(self.slope, self.scale, self.start, self.stop)

    def log_density(self, offset: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the log-density at an offset, accurate to `dtype`; the window itself may be float64."""
        if dtype == torch.float32:
            return -self.energy(offset) - log_mass(self.slope, self.scale, self.start, self.stop)
        return -self.energy(offset) - self.mass().log()

    def entropy(self) -> Tensor:
        """Return the differential entropy of the whole window."""
        if _can_sum_node_by_node(self):
            log_mass, mean_log_density = _sum_node_by_node(self)
            return log_mass - mean_log_density
        whole = self.mass()
        return whole.log() - whole.mean(whole.log_density)


def window(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Window:
    """Return the window of a normal; its bounds may be infinite.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> of = window(5 * one, one, zero, one)
    >>> of.anchor, of.slope, of.start
    (tensor(1.), tensor(-4.), tensor(-1.))
    """
    anchor = torch.minimum(torch.maximum(loc, low), high).detach()
    return Window(anchor=anchor, slope=(anchor - loc) / scale, scale=scale, start=low - anchor, stop=high - anchor)


def energy(slope: Tensor, deviation: Tensor) -> Tensor:
    """Return (z^2 - z_0^2) / 2 for z = z_0 + deviation, where z_0 = slope.

    >>> energy(torch.tensor(1.0), torch.tensor(2.0))
    tensor(4.)
    """
    return deviation * plus_scaled(slope, deviation, 0.5)


def mass(slope: Tensor, scale: Tensor, start: Tensor, stop: Tensor) -> Mass:
    """Integrate exp(-energy) over offsets from `start` <= 0 to `stop` >= 0.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> mass(zero, one, -one, one).log() - 0.5 * math.log(2 * math.pi)
    tensor(-0.3817)
    """
    first, last = cut_off(slope, scale, start, stop, _ENERGY[slope.dtype])
    slope, *ends = materialize(slope, first / scale, last / scale)
    deviation, weight = _nodes(*ends)
    log_density = deviation * plus_scaled(-slope, deviation, -0.5)  # the energy need not be negated at every node
    weight = weight * torch.exp(log_density)
    return Mass(first, last, log_density, weight, sum_of_nodes(weight))


def _nodes(first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights between ends `first` <= 0 and `last` >= 0; nodes near 0 keep their relative accuracy."""
    node, mirrored, weight = (numbers.view(-1, *[1] * first.ndim) for numbers in table_of(window_rule, first))
    return plus_product(first * mirrored, last, node), weight


def _can_sum_node_by_node(of: Window) -> bool:
    """Say whether to use `_sum_node_by_node`: only without derivatives, which would be too much code."""
    is_table = of.slope.dtype == torch.float32 and of.slope.device.type == "cpu"
    return is_table and torch.compiler.is_compiling() and is_constant(of.slope, of.scale, of.start, of.stop)


def _sum_node_by_node(of: Window) -> tuple[Tensor, Tensor]:
    """Return the log of the mass and the mean of the log-density, without a table.

    Inductor writes a table to memory before it sums it. It fuses these sums into one loop over the windows.
    """
    first, last = cut_off(of.slope, of.scale, of.start, of.stop, _ENERGY[of.slope.dtype])
    below, above, minus_slope = first / of.scale, last / of.scale, -of.slope
    total = weighted_sum = torch.zeros_like(minus_slope)
    for node, mirrored, weight in zip(window_nodes(), window_nodes()[::-1], window_weights(), strict=True):
        deviation = below * mirrored + above * node
        log_density = deviation * (minus_slope - 0.5 * deviation)
        node_mass = weight * torch.exp(log_density)
        total, weighted_sum = total + node_mass, weighted_sum + node_mass * log_density
    return torch.log(last - first) + torch.log(total), weighted_sum / total


# ---------------------------------------------------------------------------------------------------------- tail mass
class TailMass(NamedTuple):
    """The mass on one side of an offset as a fraction of the window's mass, with full relative accuracy."""

    is_lower: Tensor  # bool: the tail is below the offset, else above
    energy: Tensor
    width: Tensor
    total: Tensor  # the tail mass is exp(-energy) * width * total

    def value(self) -> Tensor:
        """Return the tail mass."""
        return torch.exp(-self.energy) * self.width * self.total

    def log(self) -> Tensor:
        """Return the log of the tail mass; -inf, without derivatives, where the tail is empty."""
        is_empty = self.width <= 0
        width = torch.log(torch.where(is_empty, 1.0, self.width))
        return torch.where(is_empty, -math.inf, width + torch.log(self.total) - self.energy)


def tail_mass(of: Window, whole: Mass, offset: Tensor, past_start: Tensor, to_stop: Tensor) -> TailMass:
    """Return the mass on the outer side of `offset`, or on the inner side if most of the mass is on the outer side.

    `past_start` and `to_stop` are the distances of `offset` to the ends. They matter where it is close to an end.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> wide = window(zero, one, -9 * one, 9 * one)
    >>> tail_mass(wide, wide.mass(), 5 * one, 14 * one, 4 * one).value()
    tensor(2.8665e-07)
    """
    upper = offset > 0
    beyond, within = torch.where(upper, to_stop, past_start), torch.where(upper, past_start, to_stop)
    outer = (of.energy(offset) > 0.7) | (beyond < within)
    is_lower = upper ^ outer
    # The tail has its own anchor, its offset nearest to the mean: the window's anchor if the tail contains it.
    centre = torch.where(outer, offset, 0.0)
    distance = offset - centre
    start = torch.where(is_lower, torch.where(outer, -past_start, of.start), distance)
    stop = torch.where(is_lower, distance, torch.where(outer, to_stop, of.stop))
    part = mass(of.slope + centre / of.scale, of.scale, start, stop)
    return TailMass(is_lower, of.energy(centre), part.width / whole.width, part.total / whole.total)


# ----------------------------------------------------------------------------------------------------------- quantiles
def quantile(of: Window, whole: Mass, below: Tensor, above: Tensor) -> Tensor:
    """Return the offset with the fractions `below` and `above` of the mass on its two sides; these add up to 1.

    Two Newton steps start from `standard_quantile`, which has no derivatives. The first step adds first derivatives,
    the second step adds second derivatives.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> window_of_normal = window(zero, one, -one, one)
    >>> quantile(window_of_normal, window_of_normal.mass(), 0.25 * one, 0.75 * one)
    tensor(-0.4418)
    """
    start, stop = (offset.detach() for offset in (of.start, of.stop))
    scale = of.scale.detach()
    offset = scale * standard_quantile(below, above, of.slope, start / scale, stop / scale, extreme=True)
    offset = torch.minimum(torch.maximum(offset, start), stop)
    for _ in range(2):
        tail = tail_mass(of, whole, offset, offset - of.start, of.stop - offset)
        shortage = torch.where(tail.is_lower, below - tail.value(), tail.value() - above)
        offset = offset + shortage * torch.exp(of.energy(offset) + whole.log())
    return offset


class DetachedQuantile(NamedTuple):
    """A quantile without derivatives: the value is anchor + offset."""

    of: Window
    deviation: Tensor  # the offset in standard deviations

    def value(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the value, strictly inside the bounds."""
        return torch.clamp(self.of.anchor + self.offset(), *first_and_last_inside(low, high))

    def offset(self) -> Tensor:
        """Return the offset from the anchor."""
        return self.of.scale * self.deviation


def detached_quantile(
    below: Tensor, above: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor
) -> DetachedQuantile:
    """Return the value with the fractions `below` and `above` of the mass on its two sides; these add up to 1.

    >>> half, one = torch.tensor(0.5), torch.ones(())
    >>> detached_quantile(half, half, 0 * one, one, one, 1.5 * one).offset()
    tensor(0.2121)
    """
    fixed = window(*(t.detach() for t in (loc, scale, low, high)))
    start, stop = fixed.start / fixed.scale, fixed.stop / fixed.scale
    return DetachedQuantile(fixed, standard_quantile(below, above, fixed.slope, start, stop))


def pathwise_term(
    drawn: DetachedQuantile, below: Tensor, above: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """Return 0, with the derivatives of the drawn value by the parameters.

    The standardised value z solves Phi(z) = above Phi(a) + below Phi(b), where a and b are the standardised bounds. So
    dPhi(z) / phi(z) = dz - z dz^2 / 2 is a weighted sum of da - a da^2 / 2 and db - b db^2 / 2. Its weights are `above`
    and `below` times ratios of densities. First and second derivatives are exact, and need no normaliser.

    >>> half, one = torch.tensor(0.5), torch.ones(())
    >>> parameters = (0 * one, one, one, 1.5 * one)
    >>> drawn = detached_quantile(half, half, *parameters)
    >>> torch.func.grad(lambda loc: pathwise_term(drawn, half, half, loc, *parameters[1:]))(parameters[0])
    tensor(0.0294)
    """
    of, r = drawn
    z = of.slope + r

    def moved(bound: Tensor, weight: Tensor, gap: Tensor) -> Tensor:
        """Return weight phi(a) / phi(z) (da - a da^2 / 2) for the standardised bound a = z + gap."""
        is_infinite = bound.isinf()
        a = (torch.where(is_infinite, 0.0, bound) - loc) / scale
        change = a - a.detach()
        ratio = weight * torch.exp(-torch.where(is_infinite, math.inf, energy(z, gap)))
        return ratio * (change - 0.5 * a.detach() * change * change)

    below, above = below.to(r.dtype), above.to(r.dtype)
    phi_change = moved(low, above, of.start / of.scale - r) + moved(high, below, of.stop / of.scale - r)
    z_change = phi_change + 0.5 * z * phi_change * phi_change
    return (loc - loc.detach()) + (scale - scale.detach()) * (z + z_change) + scale.detach() * z_change


# ---------------------------------------------------------------------------------------------------------- divergence
_CLOSE = {torch.float32: 3.0, torch.float64: 8.0}


class Bounded(NamedTuple):
    """A normal and its window."""

    loc: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor


def divergence(p: tuple[Tensor, ...], q: tuple[Tensor, ...]) -> Tensor:
    """Return KL(p || q) where q's window contains p's; never negative, and exact where the two are close.

    Both are given by loc, scale, low and high, which broadcast. D is the energy of q minus that of p, relative to p's
    anchor. Inside p's window log p - log q = D + constant. Where D is small, q is first cut to p's window. Then the
    log-ratio is l = D + log E exp(-D), and the divergence is the mean of exp(-l) - 1 + l. The mass m of q outside p's
    window adds -log(1 - m).
    """
    p, q = _with_equal_axes(p, q)
    of_p, of_q = window(*p), window(*q)
    mass_p, mass_q = of_p.mass(), of_q.mass()
    # D is 1/2 ((x - loc_q)^2 / scale_q^2 - (x - loc_p)^2 / scale_p^2) minus the same at the anchor. Its value comes
    # from differences of the parameters, its derivatives from the plain formula.
    unit = p.scale.detach()
    curvature = _with_slopes(
        (p.scale - q.scale) / q.scale * (p.scale + q.scale) / q.scale,
        (unit / q.scale).square() - (unit / p.scale).square(),
    )
    z_p, z_q = (of_p.anchor - p.loc) / p.scale, (of_p.anchor - q.loc) / q.scale
    ratio = unit / q.scale
    tilt = _with_slopes(z_p * curvature + (p.loc - q.loc) / q.scale * ratio, z_q * ratio - z_p * (unit / p.scale))
    r = mass_p.offset / unit
    difference = r * (tilt + 0.5 * r * curvature)

    missing_low = _outside(of_q, mass_q, p.low, q.low, q.high, below=True)
    missing_high = _outside(of_q, mass_q, p.high, q.low, q.high, below=False)
    missing = missing_low + missing_high
    close = (difference.detach().abs().amax(0) < _CLOSE[missing.dtype]) & (missing.detach() < 0.5)
    close = close & ~mass_q.total.detach().isnan()  # NaN bounds of q, which `missing` may not show
    small = torch.where(close, difference, 0.0)
    log_ratio = small + torch.log1p(mass_p.mean(expm1(-small)))
    close_divergence = mass_p.mean(_exp_minus_1_minus(-log_ratio)) - torch.log1p(-torch.where(close, missing, 0.0))

    anchor_in_q = of_q.energy(of_p.anchor - of_q.anchor)
    far_divergence = mass_p.mean(difference) + (anchor_in_q + mass_q.log() - mass_p.log())
    return torch.where(close, close_divergence, torch.where(far_divergence < 0, 0.0, far_divergence))  # NaN stays NaN


def _with_equal_axes(p: tuple[Tensor, ...], q: tuple[Tensor, ...]) -> tuple[Bounded, Bounded]:
    """Return the parameters with equally many axes, so that none broadcasts with the axis of p's nodes."""
    axes = max(t.ndim for t in (*p, *q))
    p, q = (tuple(t[(None,) * (axes - t.ndim)] for t in side) for side in (p, q))
    return Bounded(*p), Bounded(*q)


def _with_slopes(value: Tensor, simple: Tensor) -> Tensor:
    """Return an accurate value with the derivatives of a simple formula for it."""
    return value.detach() + (simple - simple.detach())


def _exp_minus_1_minus(x: Tensor) -> Tensor:
    """Return exp(x) - 1 - x without cancellation near 0."""
    near = x.abs() < 1
    near_x, far_x = torch.where(near, x, 0.0), torch.where(near, 1.0, x)
    return torch.where(near, expm1_minus(near_x), torch.exp(far_x) - 1 - far_x)


def _outside(of: Window, whole: Mass, bound: Tensor, low: Tensor, high: Tensor, *, below: bool) -> Tensor:
    """Return the tail mass below or above a bound; 0 at an infinite bound."""
    is_far = ((bound - of.anchor) / of.scale).detach().square() == math.inf
    value = torch.where(is_far, of.anchor, bound)
    tail = tail_mass(of, whole, value - of.anchor, value - low, high - value)
    is_outside = tail.is_lower if below else ~tail.is_lower
    return torch.where(is_far, 0.0, torch.where(is_outside, tail.value(), 1 - tail.value()))
