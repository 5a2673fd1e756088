"""Von Mises distribution of every element, with density exp(concentration cos(x - loc)) / (2 pi I0(concentration)).

It is a distribution of angles: `loc` may be any real number, and draws lie in [-pi, pi). `log_prob` is periodic: any
number that stands for an angle has its density. The moments are those of the circle, as in `torch.distributions`: the
mean is `loc`, and the variance is 1 - E cos(x - loc). The cdf and the quantile are those of the numbers in [-pi, pi).
See Mardia & Jupp, "Directional statistics" (2000), section 3.5.

The distance |x - loc| is the quantile of a uniform number, with its derivative by the concentration, both to the last
digits: see `special.von_mises`. A concentration of 0 is the uniform distribution.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.continuous import location_scale
from functional_dists.family import Real, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of, strictly_inside
from functional_dists.special import support as supports
from functional_dists.special.constant import scalar
from functional_dists.special.elementary import LOG_2
from functional_dists.special.implicit import carried_by_tail, carried_point, change_of_mass
from functional_dists.special.von_mises import HalfCircle, divergence, half_circle, versine


class Params(NamedTuple):
    """Parameters of a von Mises distribution, which broadcast against each other.

    loc: The mean direction in radians, of shape (*batch, *event).
    concentration: How peaked the density is, not negative, of shape (*batch, *event).
    """

    loc: Real
    concentration: Real


verb = define(Params)
_PI_REST = 1.2246467991473532e-16  # pi - math.pi


@verb
def check(loc: Real, concentration: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(2), torch.tensor([1.0, -1.0]))
    Traceback (most recent call last):
    ...
    ValueError: concentration must not be negative, and finite; this fails at position (1,)
    """
    require(loc.isfinite(), "loc", "must be finite")
    require((concentration >= 0) & concentration.isfinite(), "concentration", "must not be negative, and finite")


def _inside(value: Tensor) -> Tensor:
    return strictly_inside(value, scalar(-math.pi, value), scalar(math.pi, value))


def _turns(angle: Tensor) -> Tensor:
    """Return the number of whole turns to subtract from an angle."""
    return torch.round(angle.detach() / (2 * math.pi))


# -------------------------------------------------------------------------------------------------------------- draws
class _Draw(NamedTuple):
    """A distance from the centre, to one of both sides."""

    side: Tensor  # -1 or 1
    angle: Tensor  # the distance, in [0, pi]
    rest: Tensor  # pi - angle


def _draw(key: Source, sample_shape: Shape, loc: Tensor, half: HalfCircle, like: Tensor) -> _Draw:
    lower, upper = location_scale.tails(key, sample_shape, loc, like)
    is_lower = lower < upper
    tail = torch.where(is_lower, lower, upper)  # the first half of the numbers are those below the centre
    return _Draw(torch.where(is_lower, -1.0, 1.0).double(), *half.quantile(1 - 2 * tail, 2 * tail))


def _at_angle(loc: Tensor, offset: Tensor) -> Tensor:
    """Return loc + offset in [-pi, pi), rounded once to the dtype of `loc`."""
    angle = loc.double() + offset
    return _inside((angle - 2 * math.pi * _turns(angle)).to(loc.dtype))


def _moving(draw: _Draw, half: HalfCircle) -> _Draw:
    """Return a draw that moves with the concentration."""
    angle = carried_point(draw.angle, half.local(draw.angle, draw.rest), [half.concentration])
    return _Draw(draw.side, angle, draw.rest - (angle - angle.detach()))


@verb(confine=_inside)
def sample(key: Source, loc: Real, concentration: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw an angle in [-pi, pi) of shape (*sample_shape, *batch, *event), detached from the graph.

    >>> sample(random.key(42), torch.zeros(2), 4.0)
    tensor([ 0.1491, -0.0409])
    """
    draw = _draw(key, sample_shape, loc, half_circle(concentration), concentration)
    return _at_angle(loc, draw.side * draw.angle).detach()


@verb(confine=_inside)
def rsample(key: Source, loc: Real, concentration: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw what `sample` draws, differentiable with respect to `loc` and `concentration`.

    >>> rsample(random.key(42), torch.zeros(2), 4.0)
    tensor([ 0.1491, -0.0409])
    """
    half = half_circle(concentration)
    draw = _moving(_draw(key, sample_shape, loc, half, concentration), half)
    return _at_angle(loc, draw.side * draw.angle)


@verb(confine=_inside)
def sample_and_log_prob(
    key: Source, loc: Real, concentration: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(2), 4.0)
    >>> log_prob
    tensor([-0.3072, -0.2662])
    """
    half = half_circle(concentration)
    side, angle, rest = _draw(key, sample_shape, loc, half, concentration)
    moved = side * (loc - loc.detach()).double()  # away from a constant value
    log_prob = half.log_density(versine(angle - moved, rest + moved))
    return _at_angle(loc, side * angle).detach(), sum_event(log_prob, event_dims).to(loc.dtype)


@verb(confine=_inside)
def rsample_and_log_prob(
    key: Source, loc: Real, concentration: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.zeros(2), 4.0)
    >>> log_prob
    tensor([-0.3072, -0.2662])
    """
    half = half_circle(concentration)
    draw = _moving(_draw(key, sample_shape, loc, half, concentration), half)
    log_prob = nan_of(half.log_density(versine(draw.angle, draw.rest)), loc)
    return _at_angle(loc, draw.side * draw.angle), sum_event(log_prob, event_dims).to(loc.dtype)


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(loc: Real, concentration: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density at an angle, which is periodic.

    >>> log_prob(torch.zeros(3), 4.0, torch.tensor([0.0, 3.0, 6.0]))
    tensor([-0.2628, -8.2228, -0.4222])
    """
    is_infinite = value.isinf()
    sine = torch.sin(0.5 * (torch.where(is_infinite, loc.detach(), value).double() - loc.double()))
    density = half_circle(concentration).log_density(2 * sine * sine)
    return sum_event(torch.where(is_infinite, -math.inf, density), event_dims).to(value.dtype)


@verb
def entropy(loc: Real, concentration: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, log(2 pi I0) - concentration I1 / I0.

    >>> entropy(torch.zeros(2), torch.tensor([0.0, 4.0]))
    tensor([1.8379, 0.8088])
    """
    return sum_event(nan_of(half_circle(concentration).entropy(), loc), event_dims).to(loc.dtype)


@verb
def support(loc: Real, concentration: Real, *, event_dims: int = 0) -> Constraint:
    """Return the support as a constraint: the real numbers, each of which stands for its angle.

    >>> support(torch.zeros(2), 4.0).check(torch.tensor([0.0, torch.nan]))
    tensor([ True, False])
    """
    return supports.of_events(constraints.real, event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats, without cancellation where the two are close.

    It is that of the concentrations, plus q.concentration (I1 / I0)(p.concentration) (1 - cos(p.loc - q.loc)).

    >>> kl(Params(torch.zeros(2), 4.0), Params(torch.tensor([0.0, 1.0]), 5.0))
    tensor([0.0162, 2.0010])
    """
    of_p, of_q = half_circle(p.concentration), half_circle(q.concentration)
    sine = torch.sin(0.5 * (p.loc.double() - q.loc.double()))
    of_angle = 2 * of_q.concentration * of_p.mean_cosine() * sine * sine
    return sum_event(divergence(of_p, of_q) + of_angle, event_dims).to(p.loc.dtype)


# ------------------------------------------------------------------------------------------------------- distribution
class _End(NamedTuple):
    """An angle, seen from `loc`: the tail beyond it, on its side of the circle."""

    turns: Tensor  # whole turns that were subtracted
    is_lower: Tensor
    log_tail: Tensor  # log of the mass between the angle and loc + pi or loc - pi
    log_density: Tensor
    change: Tensor  # 0, with the derivatives of the tail over the density

    def tail(self, log_unit: Tensor) -> Tensor:
        """Return the tail in a unit whose logarithm is given."""
        return torch.exp(self.log_tail - log_unit) + torch.exp(self.log_density - log_unit) * self.change


def _end(offset: Tensor, half: HalfCircle) -> _End:
    turns = _turns(offset)
    offset = offset - 2 * math.pi * turns
    is_lower = offset < 0
    angle = torch.where(is_lower, -offset, offset)
    rest = ((math.pi - angle) + _PI_REST).clamp(min=0.0)
    local = half.local(angle, rest)
    log_density = half.log_density(versine(angle, rest)).detach()
    return _End(
        turns,
        is_lower,
        local.log_above - LOG_2,
        log_density,
        -change_of_mass(angle, local, [half.concentration]),
    )


class _Masses(NamedTuple):
    """The masses of [-pi, value] and of [value, pi): one of them is `part` exp(log_unit), the other one is the rest."""

    is_below: Tensor  # whether the part is the mass below the value
    part: Tensor
    log_unit: Tensor

    def _is_part(self, below: bool) -> Tensor:
        return self.is_below if below else ~self.is_below

    def mass(self, *, below: bool) -> Tensor:
        part = torch.exp(self.log_unit) * self.part
        return torch.where(self._is_part(below), part, 1 - part)

    def log_mass(self, *, below: bool) -> Tensor:
        is_empty = self.part <= 0
        log_part = self.log_unit + torch.where(is_empty, 1.0, self.part).log()
        log_rest = torch.log1p(-torch.exp(self.log_unit) * torch.where(self._is_part(below), 0.0, self.part))
        return torch.where(self._is_part(below), torch.where(is_empty, -math.inf, log_part), log_rest)


def _masses(loc: Tensor, concentration: Tensor, value: Tensor) -> _Masses:
    """Return the masses on both sides of a value in [-pi, pi]."""
    half, wide = half_circle(concentration), loc.double()
    start, end = _end(-math.pi - wide, half), _end(value - wide, half)
    is_one_sided, is_around = start.is_lower == end.is_lower, end.turns > start.turns
    log_unit = torch.maximum(start.log_tail, end.log_tail)
    log_unit = torch.where(log_unit.isinf(), 0.0, log_unit)
    first, last = start.tail(log_unit), end.tail(log_unit)
    # On one side of the circle the tails differ by the mass between the angles, else they are the mass outside.
    sign = torch.where(end.is_lower == is_around, 1.0, -1.0)
    part = torch.where(is_one_sided, sign * (first - last), first + last)
    return _Masses(is_one_sided != is_around, part, log_unit)


def _with_ends(function: Any, loc: Tensor, concentration: Tensor, value: Tensor, low: float, high: float) -> Tensor:
    is_low, is_high = value < -math.pi, value > math.pi
    inside = function(_masses(loc, concentration, torch.where(is_low | is_high, 0.0, value).double()))
    found = torch.where(is_low, low, torch.where(is_high, high, inside))
    return nan_of(found, inside.detach()).to(loc.dtype)


@verb
def cdf(loc: Real, concentration: Real, value: Real) -> Tensor:
    """Return P(X <= value) of the angle X in [-pi, pi), elementwise.

    >>> cdf(torch.tensor([0.0, 1.0]), 4.0, torch.tensor([0.0, -3.0]))
    tensor([5.0000e-01, 1.8393e-04])
    """
    return _with_ends(lambda masses: masses.mass(below=True), loc, concentration, value, 0.0, 1.0)


@verb
def log_cdf(loc: Real, concentration: Real, value: Real) -> Tensor:
    """Return log P(X <= value) of the angle X in [-pi, pi), elementwise; finite where the cdf underflows.

    >>> log_cdf(torch.tensor([0.0, 1.0]), 4.0, torch.tensor([0.0, -3.0]))
    tensor([-0.6931, -8.6010])
    """
    return _with_ends(lambda masses: masses.log_mass(below=True), loc, concentration, value, -math.inf, 0.0)


@verb
def survival(loc: Real, concentration: Real, value: Real) -> Tensor:
    """Return P(X > value) of the angle X in [-pi, pi), elementwise.

    >>> survival(torch.tensor([0.0, 1.0]), 4.0, torch.tensor([0.0, 3.0]))
    tensor([5.0000e-01, 2.9650e-04])
    """
    return _with_ends(lambda masses: masses.mass(below=False), loc, concentration, value, 1.0, 0.0)


@verb
def log_survival(loc: Real, concentration: Real, value: Real) -> Tensor:
    """Return log P(X > value) of the angle X in [-pi, pi), elementwise; finite where the survival underflows.

    >>> log_survival(torch.tensor([0.0, 1.0]), 4.0, torch.tensor([0.0, 3.0]))
    tensor([-0.6931, -8.1235])
    """
    return _with_ends(lambda masses: masses.log_mass(below=False), loc, concentration, value, 0.0, -math.inf)


@verb(confine=_inside)
def icdf(loc: Real, concentration: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value` among angles in [-pi, pi), elementwise; NaN outside [0, 1].

    >>> icdf(torch.tensor([0.0, 1.0]), 4.0, torch.tensor([0.975, 0.5]))
    tensor([1.0765, 0.9993])
    """
    p = value.double()
    p = torch.where((p >= 0) & (p <= 1), p, math.nan)
    half = half_circle(concentration)
    start = _end(-math.pi - loc.double(), half)
    tail = start.tail(torch.zeros_like(start.log_tail))
    before, after = torch.where(start.is_lower, tail, 1 - tail), torch.where(start.is_lower, 1 - tail, tail)
    # Probabilities of the angles between loc - pi and loc + pi, which -pi divides into two arcs.
    is_around = after < p
    lower = torch.where(is_around, p - after, before + p)
    upper = torch.where(is_around, (1 - p) + after, after - p)
    is_lower = lower < upper
    tail = torch.where(is_lower, lower, upper)
    above = (2 * tail).clamp(min=1e-300)
    angle, rest = half.quantile(1 - 2 * tail, above)
    local = half.local(angle, rest)
    angle = carried_by_tail(angle, local, [half.concentration], above.log(), -local.above)
    found = _at_angle(loc, torch.where(is_lower, -angle, angle))
    is_end = (p == 0) | (p == 1)
    end = torch.where(p == 0, -math.pi, math.pi).to(loc.dtype)
    return torch.where(is_end, _inside(nan_of(end, found.detach())), found)


# ------------------------------------------------------------------------------------------------------------ moments
@verb(confine=_inside)
def mean(loc: Real, concentration: Real) -> Tensor:
    """Return the mean direction, elementwise: `loc`, in [-pi, pi). It is also the median direction and the mode.

    >>> mean(torch.tensor([1.0, 4.0]), 4.0)
    tensor([ 1.0000, -2.2832])
    """
    return nan_of(_at_angle(loc, torch.zeros_like(loc, dtype=torch.float64)), concentration)


mode = median = deterministic = mean


@verb
def variance(loc: Real, concentration: Real) -> Tensor:
    """Return the circular variance, elementwise: 1 - E cos(x - loc).

    >>> variance(torch.zeros(2), torch.tensor([0.0, 4.0]))
    tensor([1.0000, 0.1365])
    """
    return nan_of(half_circle(concentration).mean_versine(), loc).to(loc.dtype)


stddev = verb.stddev(variance)
