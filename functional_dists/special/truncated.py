"""A normal density cut to a window: its mass, the masses of parts of it, and its quantiles.

Everything is an offset from the anchor, the point of the window nearest to the normal's mean, and the window is
reflected so that its farther end is above the anchor. There the density is at most its value at the anchor: integrals
have positive terms of moderate size only, for any window, and nothing is lost to the size of the mean or of the bounds.
"""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from functional_dists.special.elementary import expm1, expm1_minus
from functional_dists.special.gaussian import SQRT_HALF
from functional_dists.special.quadrature import window_rule

# Offsets beyond this energy weigh less than exp(-24) or exp(-45), and are cut off; see `_reach`.
_ENERGY = {torch.float32: 48.0, torch.float64: 90.0}
# In standard deviations: narrower windows have a density that is exponential to 1e-9; farther ones, no cdf in float64.
_NARROW, _FAR = 1e-4, 30.0
_DEEPEST, _LOG_TAIL_AT_FAR = 1e-280, -454.3212439955966
_WIDEST = 1e30  # stands for an infinite width


class Mass(NamedTuple):
    """The integral of exp(-energy) over offsets, by quadrature; the last axis of the tables holds the nodes."""

    width: Tensor  # of the integrated offsets
    offset: Tensor  # table of nodes
    energy: Tensor  # table: the log-density, relative to the anchor and negated
    weight: Tensor  # table: that of the rule times exp(-energy)
    total: Tensor  # sum of the weights: the integral is width * total

    def log(self) -> Tensor:
        """Return the log of the integral."""
        return torch.log(self.width) + torch.log(self.total)

    def mean(self, table: Tensor) -> Tensor:
        """Return the mean of a function, given at the nodes."""
        return (self.weight * table).sum(-1) / self.total


class Window(NamedTuple):
    """A window, reflected where `side` is -1: the value at an offset is anchor + side * offset."""

    anchor: Tensor  # a constant: any choice gives the same distribution
    side: Tensor  # 1 or -1
    slope: Tensor  # of the energy at the anchor, per standard deviation; never negative
    scale: Tensor
    start: Tensor  # offset of the nearer end, never positive
    stop: Tensor  # offset of the farther end

    def energy(self, offset: Tensor) -> Tensor:
        """Return by how much the log-density is smaller at an offset than at the anchor."""
        return energy(self.slope, self.scale, offset)

    def mass(self) -> Mass:
        """Return the mass of the whole window."""
        return mass(self.slope, self.scale, self.start, self.stop)


def window(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Window:
    """Return the reflected window of a normal; its bounds may be infinite.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> reflected = window(5 * one, one, zero, one)
    >>> reflected.anchor, reflected.side, reflected.slope, reflected.stop
    (tensor(1.), tensor(-1.), tensor(4.), tensor(1.))
    """
    anchor = torch.minimum(torch.maximum(loc, low), high).detach()
    below, above = anchor - low, high - anchor
    flipped = below > above
    side = torch.where(flipped, -torch.ones_like(anchor), 1.0)
    return Window(
        anchor=anchor,
        side=side,
        slope=side * (anchor - loc) / scale,
        scale=scale,
        start=-torch.where(flipped, above, below),
        stop=torch.where(flipped, below, above),
    )


def energy(slope: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Return (z^2 - z_0^2) / 2 for z = z_0 + offset / scale, where z_0 = slope.

    >>> energy(torch.tensor(1.0), torch.tensor(1.0), torch.tensor(2.0))
    tensor(4.)
    """
    r = offset / scale
    return r * (slope + 0.5 * r)


def mass(slope: Tensor, scale: Tensor, start: Tensor, stop: Tensor) -> Mass:
    """Integrate exp(-energy) over offsets from `start` <= 0 to `stop` >= 0.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> mass(zero, one, -one, one).log() - 0.5 * math.log(2 * math.pi)
    tensor(-0.3817)
    """
    reach = _reach(slope, scale)
    first = torch.maximum(start, -reach)
    width = torch.minimum(stop, reach) - first
    node, weight = window_rule(slope)
    offset = first[..., None] + width[..., None] * node
    at_nodes = energy(slope[..., None], scale[..., None], offset)
    weight = weight * torch.exp(-at_nodes)
    return Mass(width, offset, at_nodes, weight, weight.sum(-1))


def _reach(slope: Tensor, scale: Tensor) -> Tensor:
    """Return an offset whose energy is between a half and the whole of _ENERGY; a constant."""
    slope, largest = slope.detach(), _ENERGY[slope.dtype]
    return scale.detach() * (largest / (slope + torch.sqrt(slope * slope + largest)))


# ------------------------------------------------------------------------------------------------------ parts of a mass
class Share(NamedTuple):
    """The share of one side of an offset in the mass of its window, relatively accurate however small it is."""

    of_start: Tensor  # bool: the side of the window's start; the other one where that is smaller
    energy: Tensor
    width: Tensor
    total: Tensor  # the share is exp(-energy) * width * total

    def value(self) -> Tensor:
        """Return the share."""
        return torch.exp(-self.energy) * self.width * self.total

    def log(self) -> Tensor:
        """Return its log; -inf, without derivatives, where it is nothing."""
        something = self.width > 0
        width = torch.log(torch.where(something, self.width, 1.0))
        return torch.where(something, width + torch.log(self.total) - self.energy, -math.inf)


def share_of_value(of: Window, whole: Mass, value: Tensor, low: Tensor, high: Tensor) -> Share:
    """Return the share of the values on one side of a finite value.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> reflected = window(zero, one, -9 * one, 9 * one)
    >>> share_of_value(reflected, reflected.mass(), 5 * one, -9 * one, 9 * one).value()
    tensor(2.8665e-07)
    """
    upright = of.side > 0
    below, above = value - low, high - value
    past_start, to_stop = torch.where(upright, below, above), torch.where(upright, above, below)
    return share(of, whole, of.side * (value - of.anchor), past_start, to_stop)


def share(of: Window, whole: Mass, offset: Tensor, past_start: Tensor, to_stop: Tensor) -> Share:
    """Return the share of the offsets on one side of `offset`: above it, unless most of the mass is there.

    `past_start` and `to_stop` are its distances from the ends, which decide where it is close to one.
    """
    near_stop = (of.energy(offset) > 0.7) | (to_stop < past_start)
    above, outward = (offset > 0) & near_stop, offset < 0
    # The part's own anchor is its offset nearest to the mean: the window's own where that is in the part.
    own = above | outward
    centre = torch.where(own, offset, 0.0)
    start = torch.where(own, 0.0, of.start)
    stop = torch.where(above, to_stop, torch.where(outward, past_start, offset))
    slope = torch.where(outward, -1.0, 1.0).to(offset.dtype) * (of.slope + centre / of.scale)
    part = mass(slope, of.scale, start, stop)
    return Share(~above, of.energy(centre), part.width / whole.width, part.total / whole.total)


# ----------------------------------------------------------------------------------------------------------- quantiles
def quantile(of: Window, whole: Mass, below: Tensor, above: Tensor) -> Tensor:
    """Return the offset with mass `below` on the side of low and `above` on that of high, shares that add up to 1.

    Two steps of Newton's method from `start_of_quantile`: of a value that is a constant, the first gives the first
    derivatives, and the second one second derivatives.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> reflected = window(zero, one, -one, one)
    >>> quantile(reflected, reflected.mass(), 0.25 * one, 0.75 * one)
    tensor(-0.4418)
    """
    wide = Window(*(t.detach().double() for t in of))
    z, distance = start_of_quantile(wide, below.detach().double(), above.detach().double(), extreme=True)
    offset = (wide.scale * torch.where(wide.slope > 0, distance, z)).to(whole.total.dtype)
    offset = torch.minimum(torch.maximum(offset, of.start), of.stop).detach()
    upright = of.side > 0
    before, after = torch.where(upright, below, above), torch.where(upright, above, below)
    for _ in range(2):
        counted = share(of, whole, offset, offset - of.start, of.stop - offset)
        shortage = torch.where(counted.of_start, before - counted.value(), counted.value() - after)
        offset = offset + shortage * torch.exp(of.energy(offset) + whole.log())
    return offset


def start_of_quantile(of: Window, below: Tensor, above: Tensor, *, extreme: bool = False) -> tuple[Tensor, Tensor]:
    """Return in units of the scale where that offset is from the mean, and from the nearer end of the window.

    In float64 without derivatives, to about 1e-9 of the noise; `extreme` shares may be less than 1e-80. With a and b
    the ends and Q the upper tail of the normal it is the z with Q(z) = after Q(a) + before Q(b): positive terms.

    >>> zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    >>> start_of_quantile(window(zero, one, 50 * one, 51 * one), 0.5 * one, 0.5 * one)
    (tensor(50.0139, dtype=torch.float64), tensor(0.0139, dtype=torch.float64))
    """
    upright = of.side > 0
    before, after = torch.where(upright, below, above), torch.where(upright, above, below)
    a, b = of.slope + of.start / of.scale, of.slope + of.stop / of.scale
    width = ((of.stop - of.start) / of.scale).clamp(max=_WIDEST)
    narrow = width <= _NARROW
    # Exponential with the rate at the centre of a narrow window, and with the asymptotic tail in a far one.
    rate = torch.where(narrow, (a + 0.5 * width).clamp(min=1e-200), a.clamp(min=_FAR))
    fall = torch.where(narrow, rate * width, width * (rate + 0.5 * width) - _log_far_mills(rate, width))
    log_tail = _log_tail(before, after, fall)
    tail_a, tail_b = _upper_tail(a), _upper_tail(b)
    lower = after * _upper_tail(-a) + before * _upper_tail(-b)
    upper = after * tail_a + before * tail_b
    z = torch.special.ndtri(torch.minimum(lower, upper))
    z = torch.where(lower < upper, z, -z)
    from_end = narrow | (a > _FAR)
    if extreme:
        # So far out that ndtri ends: from there as from an end at _FAR.
        tail_a = tail_a.clamp(min=_DEEPEST)
        log_upper = torch.log(tail_a) + torch.log(after + before * (tail_b / tail_a))
        deep = ~from_end & (upper < _DEEPEST)
        log_tail = torch.where(deep, _LOG_TAIL_AT_FAR - log_upper, log_tail)
    distance = torch.where(narrow, log_tail / rate, _far_distance(rate, log_tail))
    if extreme:
        distance, from_end = torch.where(deep, rate + distance - a, distance), from_end | deep
    return torch.where(from_end, a + distance, z), torch.where(from_end, distance, z - a)


def _upper_tail(z: Tensor) -> Tensor:
    return 0.5 * torch.special.erfc(SQRT_HALF * z)


def _log_tail(before: Tensor, after: Tensor, fall: Tensor) -> Tensor:
    """Return -log(after + before exp(-fall)) = -log1p(-before (1 - exp(-fall)))."""
    half = 0.5 * fall.clamp(max=100.0)
    gap = before * 2 * torch.sinh(half) * torch.exp(-half)
    near = gap < 0.5
    tail = after + before * torch.exp(-fall)
    return torch.where(near, -torch.log1p(-torch.where(near, gap, 0.0)), -torch.log(torch.where(near, 1.0, tail)))


def _far_distance(a: Tensor, log_tail: Tensor) -> Tensor:
    """Return the t with Q(a + t) = Q(a) exp(-log_tail), for a large a."""
    t = 2 * log_tail / (a + torch.sqrt(a * a + 2 * log_tail)) * (a * _far_mills(a))
    for _ in range(2):
        excess = t * (a + 0.5 * t) - _log_far_mills(a, t) - log_tail
        t = t - excess * _far_mills(a + t)
    return t


def _log_far_mills(a: Tensor, t: Tensor) -> Tensor:
    """Return log(R(a + t) / R(a)), R the Mills ratio of a large argument."""
    return torch.log(_far_mills(a + t) / _far_mills(a))


def _far_mills(y: Tensor) -> Tensor:
    """Return the Mills ratio to 6 / y^6, a convergent of its continued fraction (Laplace 1805)."""
    square = y * y
    return (square + 2) / (y * (square + 3))


# --------------------------------------------------------------------------------------------------------------- draws
class Draw(NamedTuple):
    """A quantile of the noise, in float64: the value is anchor + offset, and z = (value - loc) / scale."""

    anchor: Tensor
    offset: Tensor
    path: Tensor  # zero, with the derivatives of the value by the parameters


def draw(below: Tensor, above: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Draw:
    """Return the value with mass `below` under it and `above` over it, shares that add up to 1.

    It solves Phi(z) = above Phi(a) + below Phi(b), a and b the standardised bounds. So dz - z dz^2 / 2, which is
    dPhi(z) / phi(z), is the same sum of da - a da^2 / 2 and db - b db^2 / 2, weighted with the ratios of the densities:
    exact first and second derivatives, without the normaliser.

    >>> half, one = torch.tensor(0.5, dtype=torch.float64), torch.ones((), dtype=torch.float64)
    >>> draw(half, half, 0 * one, one, one, 1.5 * one).offset
    tensor(0.2121, dtype=torch.float64)
    """
    loc, scale, low, high = (t.double() for t in (loc, scale, low, high))
    fixed = window(*(t.detach() for t in (loc, scale, low, high)))
    z, distance = start_of_quantile(fixed, below.double(), above.double())
    offset = fixed.side * fixed.scale * torch.where(fixed.slope > 0, distance, z)
    z = fixed.side * z

    def moved(bound: Tensor, weight: Tensor, gap: Tensor) -> Tensor:
        """Return weight phi(a) / phi(z) (da - a da^2 / 2) for the standardised bound a, which is `gap` above z."""
        finite = bound.isfinite()
        a = (torch.where(finite, bound, 0.0) - loc) / scale
        change = a - a.detach()
        ratio = weight * torch.exp(-torch.where(finite, gap * (z + 0.5 * gap), math.inf))
        return ratio * (change - 0.5 * a.detach() * change * change)

    width = (fixed.stop - fixed.start) / fixed.scale
    upright = fixed.side > 0
    to_low = torch.where(upright, -distance, distance - width)
    to_high = torch.where(upright, width - distance, distance)
    phi_change = moved(low, above.double(), to_low) + moved(high, below.double(), to_high)
    z_change = phi_change + 0.5 * z * phi_change * phi_change
    path = (loc - loc.detach()) + (scale - scale.detach()) * (z + z_change) + scale.detach() * z_change
    return Draw(fixed.anchor, offset, path)


# ---------------------------------------------------------------------------------------------------------- divergence
_CLOSE = {torch.float32: 3.0, torch.float64: 8.0}


class Bounded(Protocol):
    """A normal and its window."""

    @property
    def loc(self) -> Tensor: ...
    @property
    def scale(self) -> Tensor: ...
    @property
    def low(self) -> Tensor: ...
    @property
    def high(self) -> Tensor: ...


def divergence(p: Bounded, q: Bounded) -> Tensor:
    """Return KL(p || q) where q's window contains p's; never negative, and exact where the two are close.

    With D the energy of q less that of p, relative to p's anchor, log p - log q = D + constant inside p's window. Where
    D is small it is l = D + log E exp(-D) of q cut to p's window, whose divergence is the mean of exp(-l) - 1 + l, and
    what q has outside adds -log(1 - that share).
    """
    of_p, of_q = window(p.loc, p.scale, p.low, p.high), window(q.loc, q.scale, q.low, q.high)
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
    r = of_p.side[..., None] * mass_p.offset / unit[..., None]
    difference = r * (tilt[..., None] + 0.5 * r * curvature[..., None])

    missing_low = _outside(of_q, mass_q, p.low, q.low, q.high, below=True)
    missing_high = _outside(of_q, mass_q, p.high, q.low, q.high, below=False)
    missing = missing_low + missing_high
    close = (difference.detach().abs().amax(-1) < _CLOSE[missing.dtype]) & (missing.detach() < 0.5)
    small = torch.where(close[..., None], difference, 0.0)
    log_ratio = small + torch.log1p(mass_p.mean(expm1(-small)))[..., None]
    of_close = mass_p.mean(_exp_minus_1_minus(-log_ratio)) - torch.log1p(-torch.where(close, missing, 0.0))

    anchor_in_q = of_q.energy(of_q.side * (of_p.anchor - of_q.anchor))
    of_apart = mass_p.mean(difference) + (anchor_in_q + mass_q.log() - mass_p.log())
    return torch.where(close, of_close, torch.where(of_apart > 0, of_apart, 0.0))


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
    reached = ((bound - of.anchor) / of.scale).detach().square().isfinite()
    counted = share_of_value(of, whole, torch.where(reached, bound, of.anchor), low, high)
    value = counted.value()
    from_low = counted.of_start == (of.side > 0)
    return torch.where(reached, torch.where(from_low if below else ~from_low, value, 1 - value), 0.0)
