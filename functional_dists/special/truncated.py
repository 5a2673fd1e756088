"""A normal density cut to a window: its mass, the masses of parts of it, and its quantiles.

Everything is an offset from the anchor, the point of the window nearest to the normal's mean. There the density is at
most its value at the anchor: integrals have positive terms of moderate size only, for any window, and nothing is lost
to the size of the mean or of the bounds.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special.constant import is_constant
from functional_dists.special.elementary import expm1, expm1_minus, plus_product, plus_scaled
from functional_dists.special.quadrature import sum_of_nodes, window_nodes, window_operands, window_weights
from functional_dists.special.truncated_log_mass import cut_off, log_mass
from functional_dists.special.truncated_quantile import standard_quantile
from functional_dists.special.vectorized import once

# Offsets beyond half of this energy weigh less than exp(-24) or exp(-45), and are cut off.
_ENERGY = {torch.float32: 48.0, torch.float64: 90.0}


class Mass(NamedTuple):
    """The integral of exp(-energy) over offsets, by quadrature; the first axis of the tables holds the nodes.

    The others are those of `total`. Where a table meets other tensors, these must not have more axes than that.
    """

    first: Tensor
    last: Tensor  # from the first to the last of the integrated offsets
    log_density: Tensor  # table: relative to the anchor
    weight: Tensor  # table: that of the rule times the density
    total: Tensor  # sum of the weights: the integral is width * total

    @property
    def width(self) -> Tensor:
        """How far the integrated offsets reach."""
        return self.last - self.first

    @property
    def offset(self) -> Tensor:
        """The table of the nodes' offsets."""
        return _nodes(self.first, self.last)[0]

    def log(self) -> Tensor:
        """Return the log of the integral."""
        return torch.log(self.width) + torch.log(self.total)

    def mean(self, table: Tensor) -> Tensor:
        """Return the mean of a function, given at the nodes."""
        return sum_of_nodes(self.weight * table) / self.total


class Window(NamedTuple):
    """A window around its anchor: the value at an offset is anchor + offset."""

    anchor: Tensor  # a constant: any choice gives the same distribution
    slope: Tensor  # of the energy at the anchor, per standard deviation: 0, but where the mean is outside
    scale: Tensor
    start: Tensor  # offset of the lower end, never positive
    stop: Tensor  # offset of the upper end, never negative

    def energy(self, offset: Tensor) -> Tensor:
        """Return by how much the log-density is smaller at an offset than at the anchor."""
        return energy(self.slope, offset / self.scale)

    def mass(self) -> Mass:
        """Return the mass of the whole window."""
        return mass(self.slope, self.scale, self.start, self.stop)

    def log_density(self, offset: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the log-density at an offset, to the digits of `dtype`, which the float64 of the window may exceed."""
        if dtype == torch.float32:
            return -self.energy(offset) - log_mass(self.slope, self.scale, self.start, self.stop)
        return -self.energy(offset) - self.mass().log()

    def entropy(self) -> Tensor:
        """Return the differential entropy of the whole window."""
        if _is_quick_by_node(self):
            log_mass, mean_log_density = _node_by_node(self)
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
    slope, *ends = once(slope, first / scale, last / scale)
    deviation, weight = _nodes(*ends)
    log_density = deviation * plus_scaled(-slope, deviation, -0.5)  # the energy need not be negated at every node
    weight = weight * torch.exp(log_density)
    return Mass(first, last, log_density, weight, sum_of_nodes(weight))


def _nodes(first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nodes between an end below 0 and one above, or at 0: next to that one they are relatively exact."""
    node, mirrored, weight = (numbers.view(-1, *[1] * first.ndim) for numbers in window_operands(first))
    return plus_product(first * mirrored, last, node), weight


def _is_quick_by_node(of: Window) -> bool:
    """Say whether `_node_by_node` is there to be used: it is too much code to be differentiated."""
    is_table = of.slope.dtype == torch.float32 and of.slope.device.type == "cpu"
    return is_table and torch.compiler.is_compiling() and is_constant(of.slope, of.scale, of.start, of.stop)


def _node_by_node(of: Window) -> tuple[Tensor, Tensor]:
    """Return the log of the mass and the mean of the log-density as `Mass` does, but without a table.

    Inductor writes tables to memory before it sums them up. This it fuses into one loop, over the windows.
    """
    first, last = cut_off(of.slope, of.scale, of.start, of.stop, _ENERGY[of.slope.dtype])
    below, above, minus_slope = first / of.scale, last / of.scale, -of.slope
    total = summed = torch.zeros_like(minus_slope)
    for node, mirrored, weight in zip(window_nodes(), window_nodes()[::-1], window_weights(), strict=True):
        deviation = below * mirrored + above * node
        log_density = deviation * (minus_slope - 0.5 * deviation)
        share = weight * torch.exp(log_density)
        total, summed = total + share, summed + share * log_density
    return torch.log(last - first) + torch.log(total), summed / total


# ------------------------------------------------------------------------------------------------------ parts of a mass
class Share(NamedTuple):
    """The share of one side of an offset in the mass of its window, relatively accurate however small it is."""

    of_lower: Tensor  # bool: it is the share of the offsets below; of those above where that is smaller
    energy: Tensor
    width: Tensor
    total: Tensor  # the share is exp(-energy) * width * total

    def value(self) -> Tensor:
        """Return the share."""
        return torch.exp(-self.energy) * self.width * self.total

    def log(self) -> Tensor:
        """Return its log; -inf, without derivatives, where it is nothing."""
        is_nothing = self.width <= 0
        width = torch.log(torch.where(is_nothing, 1.0, self.width))
        return torch.where(is_nothing, -math.inf, width + torch.log(self.total) - self.energy)


def share(of: Window, whole: Mass, offset: Tensor, past_start: Tensor, to_stop: Tensor) -> Share:
    """Return the share of the offsets on one side of `offset`: the outer one, unless most of the mass is there.

    `past_start` and `to_stop` are its distances from the ends, which decide where it is close to one.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> wide = window(zero, one, -9 * one, 9 * one)
    >>> share(wide, wide.mass(), 5 * one, 14 * one, 4 * one).value()
    tensor(2.8665e-07)
    """
    upper = offset > 0
    beyond, within = torch.where(upper, to_stop, past_start), torch.where(upper, past_start, to_stop)
    outer = (of.energy(offset) > 0.7) | (beyond < within)
    of_lower = upper ^ outer
    # The part's own anchor is its offset nearest to the mean: the window's own where that is in the part.
    centre = torch.where(outer, offset, 0.0)
    distance = offset - centre
    start = torch.where(of_lower, torch.where(outer, -past_start, of.start), distance)
    stop = torch.where(of_lower, distance, torch.where(outer, to_stop, of.stop))
    part = mass(of.slope + centre / of.scale, of.scale, start, stop)
    return Share(of_lower, of.energy(centre), part.width / whole.width, part.total / whole.total)


# ----------------------------------------------------------------------------------------------------------- quantiles
def quantile(of: Window, whole: Mass, below: Tensor, above: Tensor) -> Tensor:
    """Return the offset with mass `below` under it and `above` over it, shares that add up to 1.

    Two steps of Newton's method from `standard_quantile`: of a value that is a constant, the first gives the first
    derivatives, and the second one second derivatives.

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
        counted = share(of, whole, offset, offset - of.start, of.stop - offset)
        shortage = torch.where(counted.of_lower, below - counted.value(), counted.value() - above)
        offset = offset + shortage * torch.exp(of.energy(offset) + whole.log())
    return offset


class Draw(NamedTuple):
    """A quantile of the noise: the value is anchor + offset."""

    of: Window  # without derivatives
    deviation: Tensor  # the offset in standard deviations

    def value(self) -> Tensor:
        """Return it, without derivatives."""
        return self.of.anchor + self.offset()

    def offset(self) -> Tensor:
        """Return its offset from the anchor, without derivatives."""
        return self.of.scale * self.deviation


def draw(below: Tensor, above: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Draw:
    """Return the value with mass `below` under it and `above` over it, shares that add up to 1.

    >>> half, one = torch.tensor(0.5), torch.ones(())
    >>> draw(half, half, 0 * one, one, one, 1.5 * one).offset()
    tensor(0.2121)
    """
    fixed = window(*(t.detach() for t in (loc, scale, low, high)))
    start, stop = fixed.start / fixed.scale, fixed.stop / fixed.scale
    return Draw(fixed, standard_quantile(below, above, fixed.slope, start, stop))


def path(drawn: Draw, below: Tensor, above: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return zero, with the derivatives of the drawn value by the parameters.

    It solves Phi(z) = above Phi(a) + below Phi(b), a and b the standardised bounds. So dz - z dz^2 / 2, which is
    dPhi(z) / phi(z), is the same sum of da - a da^2 / 2 and db - b db^2 / 2, weighted with the ratios of the densities:
    exact first and second derivatives, without the normaliser.

    >>> half, one = torch.tensor(0.5), torch.ones(())
    >>> parameters = (0 * one, one, one, 1.5 * one)
    >>> drawn = draw(half, half, *parameters)
    >>> torch.func.grad(lambda loc: path(drawn, half, half, loc, *parameters[1:]))(parameters[0])
    tensor(0.0294)
    """
    of, r = drawn
    z = of.slope + r

    def moved(bound: Tensor, weight: Tensor, gap: Tensor) -> Tensor:
        """Return weight phi(a) / phi(z) (da - a da^2 / 2) for the standardised bound a, which is `gap` above z."""
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

    Both are given by loc, scale, low and high, which broadcast. With D the energy of q less that of p, relative to p's
    anchor, log p - log q = D + constant inside p's window. Where D is small it is l = D + log E exp(-D) of q cut to p's
    window, whose divergence is the mean of exp(-l) - 1 + l, and what q has outside adds -log(1 - that share).
    """
    p, q = _with_equal_axes(p, q)
    of_p, of_q = window(*p), window(*q)
    mass_p, mass_q = of_p.mass(), of_q.mass()
    # D = 1/2 ((x - loc_q)^2 / scale_q^2 - (x - loc_p)^2 / scale_p^2) less that at the anchor: the values by differences
    # of the parameters, the derivatives as they stand.
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
    close = close & ~mass_q.total.detach().isnan()  # of bounds that `missing` does not show
    small = torch.where(close, difference, 0.0)
    log_ratio = small + torch.log1p(mass_p.mean(expm1(-small)))
    of_close = mass_p.mean(_exp_minus_1_minus(-log_ratio)) - torch.log1p(-torch.where(close, missing, 0.0))

    anchor_in_q = of_q.energy(of_p.anchor - of_q.anchor)
    of_apart = mass_p.mean(difference) + (anchor_in_q + mass_q.log() - mass_p.log())
    return torch.where(close, of_close, torch.where(of_apart < 0, 0.0, of_apart))  # NaN stays NaN


def _with_equal_axes(p: tuple[Tensor, ...], q: tuple[Tensor, ...]) -> tuple[Bounded, Bounded]:
    """Return the parameters with leading axes of size 1, so that none of their axes meets that of p's nodes."""
    axes = max(t.ndim for t in (*p, *q))
    p, q = (tuple(t[(None,) * (axes - t.ndim)] for t in side) for side in (p, q))
    return Bounded(*p), Bounded(*q)


def _with_slopes(value: Tensor, simple: Tensor) -> Tensor:
    """Return a value computed with care, with the derivatives of a simple form of it."""
    return value.detach() + (simple - simple.detach())


def _exp_minus_1_minus(x: Tensor) -> Tensor:
    """Return exp(x) - 1 - x, to its last digits at 0."""
    near = x.abs() < 1
    near_x, far_x = torch.where(near, x, 0.0), torch.where(near, 1.0, x)
    return torch.where(near, expm1_minus(near_x), torch.exp(far_x) - 1 - far_x)


def _outside(of: Window, whole: Mass, bound: Tensor, low: Tensor, high: Tensor, *, below: bool) -> Tensor:
    """Return the share of the mass below a bound, or above it; 0 at an infinite bound."""
    is_far = ((bound - of.anchor) / of.scale).detach().square() == math.inf
    value = torch.where(is_far, of.anchor, bound)
    counted = share(of, whole, value - of.anchor, value - low, high - value)
    missed = counted.of_lower if below else ~counted.of_lower
    return torch.where(is_far, 0.0, torch.where(missed, counted.value(), 1 - counted.value()))
