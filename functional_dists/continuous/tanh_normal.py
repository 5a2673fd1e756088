"""Normal distribution squashed by tanh onto the open interval (low, high).

If x ~ Normal(loc, scale), then y = low + (high - low) (tanh(x) + 1) / 2, and
log p(y) = log Normal(x; loc, scale) - log(1 - tanh(x)^2) - log((high - low) / 2), summed over the event; see appendix C
of Haarnoja et al., "Soft Actor-Critic" (2018).

The density of a value next to a bound depends on digits that its rounding took. `sample_and_log_prob` scores the noise
and loses none; a rollout that stores actions keeps them by storing `sample_pretanh` and scoring `log_prob_pretanh`.
"""

import functools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists import random, special
from functional_dists.continuous.normal import reanchored
from functional_dists.family import Real, as_params, broadcast_shape, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import HALF_LOG_2PI, log_normal_density, log_sech2, log_squash_slope
from functional_dists.special import support as supports
from functional_dists.special.constant import are_numbers


class Params(NamedTuple):
    """Parameters of a tanh-normal distribution, which broadcast against each other.

    loc: The mean before the squashing, of shape (*batch, *event).
    scale: The standard deviation before the squashing, positive, of shape (*batch, *event).
    low: The lower bound of the values, of shape (*batch, *event).
    high: The upper bound of the values, of shape (*batch, *event).
    """

    loc: Real
    scale: Real
    low: Real = -1.0
    high: Real = 1.0


verb = define(Params)


@verb
def check(loc: Real, scale: Real, low: Real, high: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(2), 1.0, torch.tensor([-1.0, 1.0]), 1.0)
    Traceback (most recent call last):
    ...
    ValueError: low must leave a number between itself and high; it is not at position (1,)
    """
    require(loc.isfinite(), "loc", "must be finite")
    require((scale > 0) & scale.isfinite(), "scale", "must be positive and finite")
    require(low.isfinite(), "low", "must be finite")
    require(high.isfinite(), "high", "must be finite")
    require(special.next_above(low) < high, "low", "must leave a number between itself and high")


# -------------------------------------------------------------------------------------------------------------- draws
@verb(confine=special.strictly_inside)
def sample(key: Source, loc: Real, scale: Real, low: Real, high: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a value of shape (*sample_shape, *batch, *event) inside (low, high), cut from the graph.

    >>> sample(random.key(42), torch.zeros(2), 1.0, -2.0, 3.0)
    tensor([-1.3720,  0.9791])
    """
    noise = _noise(key, sample_shape, loc, scale, low, high)
    return special.squash(loc + scale * noise, low, high).detach()


@verb(confine=special.strictly_inside)
def rsample(key: Source, loc: Real, scale: Real, low: Real, high: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw the value that `sample` draws, differentiable by every parameter.

    >>> rsample(random.key(42), torch.zeros(2), 1.0, -2.0, 3.0)
    tensor([-1.3720,  0.9791])
    """
    noise = _noise(key, sample_shape, loc, scale, low, high)
    return special.squash(loc + scale * noise, low, high)


@verb(confine=special.strictly_inside)
def sample_and_log_prob(
    key: Source, loc: Real, scale: Real, low: Real, high: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the latter carries a gradient, that of the score function.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(2), 1.0, -2.0, 3.0)
    >>> log_prob
    tensor(-3.3000)
    """
    noise = _noise(key, sample_shape, loc, scale, low, high)
    quick = special.squashed_pair(noise, loc, scale, low, high, event_dims)
    if quick is not None:
        return quick
    x = (loc + scale * noise).detach()
    value, dtype = special.squash(x, low.detach(), high.detach()), x.dtype
    x, noise, loc, scale, low, high = (t.double() for t in (x, noise, loc, scale, low, high))
    if special.is_constant(low, high):
        log_slope = log_squash_slope(x, low, high)
    else:
        fixed_low, fixed_high = low.detach(), high.detach()
        # With the value held fixed x moves with the bounds, as do its distances to them.
        width = fixed_high - fixed_low
        below = special.log_growth(width * torch.sigmoid(2 * x) + (fixed_low - low))
        above = special.log_growth(width * torch.sigmoid(-2 * x) + (high - fixed_high))
        loc = loc - 0.5 * (below - above)
        log_slope = log_squash_slope(x, fixed_low, fixed_high) + below + above - special.log_growth(high - low)
    log_prob = special.log_image_density(reanchored(noise, loc, scale), scale.log() + log_slope)
    return value, sum_event(log_prob, event_dims).to(dtype)


@verb(confine=special.strictly_inside)
def rsample_and_log_prob(
    key: Source, loc: Real, scale: Real, low: Real, high: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise: what a SAC loss needs.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.zeros(2), 1.0, -2.0, 3.0)
    >>> log_prob
    tensor(-3.3000)
    """
    noise = _noise(key, sample_shape, loc, scale, low, high)
    quick = special.squashed_pair(noise, loc, scale, low, high, event_dims)
    if quick is not None:
        return quick
    x = loc + scale * noise
    value, dtype = special.squash(x, low, high), x.dtype
    x, noise, scale, low, high = (t.double() for t in (x, noise, scale, low, high))
    log_prob = special.log_image_density(noise, scale.log() + log_squash_slope(x, low, high))
    return value, sum_event(log_prob, event_dims).to(dtype)


def _noise(key: Source, sample_shape: Shape, *parameters: Tensor) -> Tensor:
    loc = parameters[0]
    shape = broadcast_shape(*parameters)
    return random.draw_entries(random.normal, key, sample_shape, shape, dtype=loc.dtype, device=loc.device)


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(loc: Real, scale: Real, low: Real, high: Real, value: Real, *, event_dims: int = 1) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, at the bounds and beyond, and where it overflows.

    >>> log_prob(torch.zeros(2), 1.0, -1.0, 1.0, torch.tensor([0.5, 1.0]), event_dims=0)
    tensor([-0.7821,    -inf])
    """
    return special.log_tanh_normal_density_at(value, loc, scale, low, high, event_dims)


@verb
def entropy(loc: Real, scale: Real, low: Real, high: Real, *, event_dims: int = 1) -> Tensor:
    """Return the differential entropy in nats, H(Normal) + E log |dy/dx|.

    By a quadrature of 40 or 48 nodes in float32, 112 or 88 in float64; at most 7 ulp off over the grid of the tests.

    >>> entropy(torch.zeros(2), 1.0, -1.0, 1.0)
    tensor(1.3396)
    """
    of_normal = 0.5 + HALF_LOG_2PI + scale.log()
    return sum_event(of_normal + torch.log(0.5 * (high - low)) + _mean_log_sech2(loc, scale), event_dims)


def _sparing_integral(general: Any) -> Any:
    """Make a divergence do without its integral where the bounds are equal Python numbers, in compiled code too."""

    @verb
    def kl(p: Params, q: Params, *, event_dims: int = 1) -> Tensor:
        """Return the divergence of the normals, of which both are images under the same bijection."""
        return sum_event(special.normal_kl(p.loc, p.scale, q.loc, q.scale), event_dims)

    @functools.wraps(general)
    def either(p: Any, q: Any, **options: Any) -> Any:
        p, q = as_params(Params, p), as_params(Params, q)
        is_simple = _are_equal_numbers(p.low, q.low) and _are_equal_numbers(p.high, q.high)
        return (kl if is_simple else general)(p, q, **options)

    return either


def _are_equal_numbers(a: Any, b: Any) -> bool:
    return isinstance(a, (int, float)) and isinstance(b, (int, float)) and a == b


@verb
def support(loc: Real, scale: Real, low: Real, high: Real, *, event_dims: int = 1) -> Constraint:
    """Return where the log-density is finite: the open interval between the bounds, as a constraint.

    >>> support(torch.zeros(2), 1.0, -1.0, 1.0, event_dims=0).check(torch.tensor([0.5, 1.0]))
    tensor([ True, False])
    """
    return supports.of_events(supports.open_interval(low, high), event_dims)


@_sparing_integral
@verb
def kl(p: Params, q: Params, *, event_dims: int = 1) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; inf where the bounds of q miss values of p.

    With equal bounds it is that of the normals. Otherwise the log-ratio is integrated by the trapezoidal rule over p's
    noise, 341 nodes in float32 and 951 in float64, which suffice up to a scale of 10. The integral takes long; it is
    left out where the bounds are equal Python numbers, and in eager code on the CPU where they are equal constants.

    >>> kl(Params(torch.zeros(2), 1.0), Params(1.0, 1.0))
    tensor(1.)
    >>> kl(Params(torch.zeros(1), 1.0), Params(torch.zeros(1), 1.0, -2.0, 2.0))
    tensor(0.8901)
    """
    same = (p.low == q.low) & (p.high == q.high)
    of_normals = special.normal_kl(p.loc, p.scale, q.loc, q.scale)
    if _is_known_true(same, p, q):
        return sum_event(torch.where(same, of_normals, math.nan), event_dims)
    # Bounds that are NaN are not in order, and no divergence is infinite then.
    is_missed = ((p.low < q.low) | (p.high > q.high)) & (p.low <= p.high) & (q.low <= q.high)
    p = p._replace(low=torch.where(is_missed, q.low, p.low), high=torch.where(is_missed, q.high, p.high))
    divergence = torch.where(same, of_normals, _integrated_kl(p, q))
    return sum_event(torch.where(is_missed & ~divergence.isnan(), math.inf, divergence), event_dims)


def _is_known_true(condition: Tensor, p: Params, q: Params) -> bool:
    """Say whether Python may look at a condition on the bounds, without waiting for a device, and it holds."""
    everywhere = condition.all()
    return special.is_constant(*p[2:], *q[2:]) and are_numbers(everywhere) and bool(everywhere.item())


def _integrated_kl(p: Params, q: Params) -> Tensor:
    """Return KL(p || q) where p's bounds lie inside q's, the mean of log p - log q over p's noise z, in float64.

    What comes out at p as z comes out at q as z + step. All of the log-ratio is made of differences between p and q, so
    that where these are close it is small and keeps its digits.
    """
    z, weight = special.fine_normal_rule(p.loc)
    p_loc, p_scale, p_low, p_high = (t.double()[..., None] for t in p)
    q_loc, q_scale, q_low, q_high = (t.double()[..., None] for t in q)
    twice_x, width = 2 * p_loc + 2 * p_scale * z, p_high - p_low
    gap_below, gap_above = (p_low - q_low) / width, (q_high - p_high) / width
    # By how much the distances to q's bounds are longer, their logarithms.
    below, above = _log_lengthening(gap_below, -twice_x), _log_lengthening(gap_above, twice_x)
    excess = (p_scale - q_scale) / q_scale
    step = excess * z + ((p_loc - q_loc) + 0.5 * (below - above)) / q_scale
    constant = torch.log1p(gap_below + gap_above) + _log_of_ratio(p_scale, q_scale, excess)
    mean = (weight * (step * (z + 0.5 * step) + (below + above - constant))).sum(-1)
    return torch.where(mean < 0, 0.0, mean).to(p.loc.dtype)


def _log_lengthening(gap: Tensor, x: Tensor) -> Tensor:
    """Return log(1 + gap (1 + exp(x))), for a gap of 0 or more, where 1 / (1 + exp(x)) is a distance."""
    share = gap / (1 + gap)
    log_share = torch.where(share == 0, -math.inf, torch.where(share == 0, 1.0, share).log())
    return torch.log1p(gap) + special.softplus(x + log_share)


def _log_of_ratio(a: Tensor, b: Tensor, excess: Tensor) -> Tensor:
    """Return log(a / b), from (a - b) / b where this is exact."""
    near = (excess > -0.5) & (excess < 1)
    return torch.where(near, torch.log1p(torch.where(near, excess, 0.0)), torch.log(a / b))


@verb
def cdf(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return P(Y <= value), elementwise.

    >>> cdf(torch.zeros(2), 1.0, -1.0, 1.0, torch.tensor([0.5, 1.0]))
    tensor([0.7086, 1.0000])
    """
    return _outside(value, low, high, 0.0, special.ndtr(_standardized(loc, scale, low, high, value)), 1.0)


@verb
def log_cdf(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return log P(Y <= value), elementwise.

    >>> log_cdf(torch.zeros(2), 1.0, -1.0, 1.0, torch.tensor([0.5, -1.0]))
    tensor([-0.3445,    -inf])
    """
    return _outside(value, low, high, -math.inf, special.log_ndtr(_standardized(loc, scale, low, high, value)), 0.0)


@verb
def survival(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return P(Y > value), elementwise.

    >>> survival(torch.zeros(2), 1.0, -1.0, 1.0, torch.tensor([0.5, 1.0]))
    tensor([0.2914, 0.0000])
    """
    return _outside(value, low, high, 1.0, special.ndtr(-_standardized(loc, scale, low, high, value)), 0.0)


@verb
def log_survival(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return log P(Y > value), elementwise.

    >>> log_survival(torch.zeros(2), 1.0, -1.0, 1.0, torch.tensor([0.5, 1.0]))
    tensor([-1.2331,    -inf])
    """
    return _outside(value, low, high, 0.0, special.log_ndtr(-_standardized(loc, scale, low, high, value)), -math.inf)


def _standardized(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor, value: Tensor) -> Tensor:
    """Return the noise that makes `value`; a finite number stands in where none does."""
    x, _ = special.pre_image(value, low, high)
    return (torch.where(x.isinf(), loc.detach(), x) - loc) / scale


def _outside(value: Tensor, low: Tensor, high: Tensor, below: float, inside: Tensor, above: float) -> Tensor:
    """Return what is outside of the bounds, or inside of them, which is NaN if there is a NaN."""
    outside = torch.where(value <= low, below, torch.where(value >= high, above, inside))
    return torch.where(inside.isnan(), inside, outside)


@verb(confine=special.strictly_inside)
def icdf(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

    >>> icdf(torch.zeros(2), 1.0, -1.0, 1.0, torch.tensor([0.5, 0.975]))
    tensor([0.0000, 0.9611])
    """
    # At 0 and 1 a number that saturates stands for the infinite quantile, whose slopes would be NaN.
    z = special.ndtri(value)
    z = torch.where(z.isinf(), z.detach().clamp(-1e30, 1e30), z)
    return special.squash(loc + scale * z, low, high)


# ------------------------------------------------------------------------------------------------ moments and points
@verb(confine=special.strictly_inside)
def deterministic(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return what a policy plays when it does not explore, squash(loc), which is the median too.

    >>> deterministic(torch.tensor([0.0, 1.0]), 1.0, -1.0, 1.0)
    tensor([0.0000, 0.7616])
    """
    return special.nan_of(special.squash(loc, low, high), scale)


median = deterministic


@verb(confine=special.strictly_inside)
def mode(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return where the density is largest; the upper one of two equal peaks (loc = 0, scale large).

    Before the squashing that is the root of x = loc + 2 scale^2 tanh(x) on loc's side of 0.

    >>> mode(torch.tensor([0.0, 0.1]), torch.tensor([0.5, 1.0]), -1.0, 1.0)
    tensor([0.0000, 0.9663])
    """
    side = torch.where(loc < 0, -1.0, 1.0).to(loc.dtype)
    x = side * _upper_mode(side * loc, 2 * scale * scale)
    return special.squash(x, low, high).expand(broadcast_shape(loc, scale, low, high))


def _upper_mode(loc: Tensor, gain: Tensor) -> Tensor:
    """Return the largest root of x = loc + gain tanh(x), for loc >= 0.

    The right side is concave for x > 0, so there Halley's method falls to the root from any upper bound. Two steps of
    Newton's method with the slope held fixed follow, which are differentiable: the second one for second derivatives.
    """
    fixed_loc, fixed_gain = loc.detach(), gain.detach()
    top = fixed_loc + fixed_gain
    # tanh x <= x / sqrt(1 + 2 x^2 / 3) bounds the root for loc = 0; the other terms, what loc can add to it.
    centred = torch.sqrt((1.5 * (fixed_gain - 1) * (fixed_gain + 1)).clamp(min=0))
    x = torch.minimum(top, torch.minimum(centred, fixed_gain) + 1.5 * (3 * fixed_loc).pow(1 / 3) + fixed_loc)
    contracted = fixed_loc / (1 - fixed_gain).clamp(min=1e-6)
    x = torch.minimum(x, torch.where(fixed_gain < 1, contracted, x))
    for _ in range(6):
        tanh = torch.tanh(x)
        sech2 = (1 - tanh) * (1 + tanh)
        gap = x - fixed_loc - fixed_gain * tanh
        slope = 1 - fixed_gain * sech2
        curvature = 2 * fixed_gain * sech2 * tanh
        denominator = 2 * slope * slope - gap * curvature
        falling = denominator > 0
        step = torch.where(falling, 2 * gap * slope / torch.where(falling, denominator, 1.0), 0.0)
        x = torch.minimum((x - step).clamp(min=0), top)
    slope = 1 - fixed_gain * special.sech2(x)
    is_flat = slope <= 0  # zero at loc = 0, 2 scale^2 = 1 alone, where the mode has no derivative
    inverse_slope = torch.where(is_flat, 0.0, 1 / torch.where(is_flat, 1.0, slope))
    for _ in range(2):
        x = x - (x - loc - gain * special.tanh(x)) * inverse_slope
    return x


@verb(confine=special.strictly_inside)
def mean(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return the mean, elementwise.

    By a quadrature of 40 or 48 nodes in float32, 112 or 88 in float64; at most 5 ulp off over the grid of the tests.

    >>> mean(torch.tensor([-1.0, 1.0]), 1.0, -1.0, 1.0)
    tensor([-0.5504,  0.5504])
    """
    side = torch.where(loc < 0, -1.0, 1.0).to(loc.dtype)
    tanh_mean, gap, _ = _moments(side * loc, scale)
    half = 0.5 * (high - low)
    # From the nearer bound, as the squashing itself; at the centre from there.
    near = tanh_mean.detach() < 0.5
    end = torch.where(loc < 0, low, high)
    return torch.where(near, low + half + side * half * tanh_mean, end - side * half * gap)


@verb
def variance(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return the variance, elementwise.

    By the quadrature of the mean; at most 40 ulp off over the grid of the tests, which asks for relative accuracy
    where the variance is 1e-80.

    >>> variance(torch.zeros(2), 1.0, -1.0, 1.0)
    tensor([0.3943, 0.3943])
    """
    return (0.5 * (high - low)).square() * _moments(torch.where(loc < 0, -loc, loc), scale)[2]


@verb
def stddev(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return the standard deviation, elementwise, the root of the variance.

    >>> stddev(torch.zeros(2), 1.0, -1.0, 1.0)
    tensor([0.6279, 0.6279])
    """
    return 0.5 * (high - low) * special.root(_moments(torch.where(loc < 0, -loc, loc), scale)[2])


# --------------------------------------------------------------------------------------------------------- quadrature
# For scale <= 1 the rule of the normal: tanh has its poles at +-i pi / 2, so it converges as exp(-pi^2 / (scale step)).
# For scale > 1 tanh is nearly a step: its sign is integrated exactly, and the rest, which decays as exp(-2 |x|), by the
# rule of the half line. Both branches run; each sees the scale of the other's border where it is not chosen.
def _narrow_and_wide(scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    narrow = scale <= 1
    return narrow, torch.where(narrow, scale, 1.0), torch.where(narrow, 1.0, scale)


def _moments(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean of tanh(x), that of 1 - tanh(x), and the variance, for x ~ Normal(loc, scale) with loc >= 0."""
    narrow, narrow_scale, wide_scale = _narrow_and_wide(scale)
    z, weight = special.normal_rule(loc)
    step = narrow_scale[..., None] * z
    at_loc, gap_at_loc = special.tanh(loc), special.one_minus_tanh(loc)
    # tanh(loc + step) - tanh(loc) by the addition theorem, a product of factors none of which cancels.
    denominator = gap_at_loc[..., None] + at_loc[..., None] * special.one_minus_tanh(-step)
    change = special.tanh(step) * special.sech2(loc)[..., None] / denominator
    mean_change = (weight * change).sum(-1)
    narrow_variance = (weight * (change - mean_change[..., None]).square()).sum(-1)

    wide_gap, wide_square = _wide_gap(loc, wide_scale), _wide_gap_squared(loc, wide_scale)
    return (
        torch.where(narrow, at_loc + mean_change, 1 - wide_gap),
        torch.where(narrow, gap_at_loc - mean_change, wide_gap),
        torch.where(narrow, narrow_variance, wide_square - wide_gap.square()),
    )


def _wide_gap(loc: Tensor, scale: Tensor) -> Tensor:
    """Return E q, q = 1 - tanh(x).

    Far out q = exp(-2 x) (2 - q), and the factor exp(-2 x) moves the normal by -2 scale^2: the rest is near 2 there.
    """
    moved = loc - 2 * scale.square()
    far = moved > 0
    gap, _ = _half_line_moments(torch.where(far, moved, loc), scale)
    decay = _exp_of_sum(far, -loc, -moved)
    return torch.where(far, decay * (2 - gap), gap)


def _wide_gap_squared(loc: Tensor, scale: Tensor) -> Tensor:
    """Return E q^2; far out q^2 = exp(-4 x) (2 - q)^2, and the factor moves the normal by -4 scale^2."""
    moved = loc - 4 * scale.square()
    far = moved > 0
    gap, square = _half_line_moments(torch.where(far, moved, loc), scale)
    decay = _exp_of_sum(far, -2 * loc, -2 * moved)
    return torch.where(far, decay * (4 - 4 * gap + square), square)


def _exp_of_sum(where: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return exp(x + y) where asked, without the rounding of the sum, which exp would magnify."""
    return torch.exp(torch.where(where, x, 0.0)) * torch.exp(torch.where(where, y, 0.0))


def _half_line_moments(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return E q and E q^2 to an error relative to 1; on the negative half line q(x) = 2 - q(-x)."""
    x, positive, negative = _half_line(loc, scale)
    q = special.one_minus_tanh(x)
    mass_below = special.ndtr(-loc / scale)
    gap = 2 * mass_below + (q * (positive - negative)).sum(-1)
    square = 4 * mass_below + (q * q * (positive + negative) - 4 * q * negative).sum(-1)
    return gap, square


def _half_line(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return nodes x > 0, and the weights of x and of -x under Normal(loc, scale)."""
    x, weight = special.half_line_rule(loc)
    loc, scale = loc[..., None], scale[..., None]
    # The exponent alone: what a sum with the logarithms of the other factors rounds off, exp would magnify.
    energies = (0.5 * ((side * x - loc) / scale).square() for side in (1, -1))
    positive, negative = (weight / (math.sqrt(2 * math.pi) * scale) * torch.exp(-energy) for energy in energies)
    return x, positive, negative


def _mean_log_sech2(loc: Tensor, scale: Tensor) -> Tensor:
    """Return E log(1 - tanh(x)^2) = -2 E log cosh(x), where log cosh(x) = |x| - log 2 + log(1 + exp(-2 |x|))."""
    narrow, narrow_scale, wide_scale = _narrow_and_wide(scale)
    z, weight = special.normal_rule(loc)
    of_narrow = (weight * log_sech2(loc[..., None] + narrow_scale[..., None] * z)).sum(-1)
    x, positive, negative = _half_line(loc, wide_scale)
    ratio = loc / wide_scale
    mean_abs = 2 * wide_scale * torch.exp(log_normal_density(ratio)) + loc * (1 - 2 * special.ndtr(-ratio))
    remainder = (torch.log1p(torch.exp(-2 * x)) * (positive + negative)).sum(-1)
    return torch.where(narrow, of_narrow, 2 * (math.log(2.0) - mean_abs - remainder))


# ---------------------------------------------------------------------------------------------------- pre-tanh values
@verb
def sample_pretanh(key: Source, loc: Real, scale: Real, low: Real, high: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw the x that `sample` squashes, cut from the graph; store it where the density is needed later.

    >>> sample_pretanh(random.key(42), torch.zeros(2), 1.0, -2.0, 3.0)
    tensor([-0.9702,  0.1940])
    """
    x = loc + scale * _noise(key, sample_shape, loc, scale, low, high)
    return special.nan_of(x, low + high).detach()


@verb
def log_prob_pretanh(loc: Real, scale: Real, low: Real, high: Real, pre: Real, *, event_dims: int = 1) -> Tensor:
    """Return the log-density of `squash(pre, low, high)`, exact however saturated that value is.

    >>> log_prob_pretanh(torch.zeros(2), 1.0, -1.0, 1.0, torch.tensor([0.0, 20.0]), event_dims=0)
    tensor([  -0.9189, -162.3052])
    """
    z = (pre - loc) / scale
    return sum_event(special.log_image_density(z, scale.log() + log_squash_slope(pre, low, high)), event_dims)


@verb(confine=special.strictly_inside)
def squash(pre: Real, low: Real, high: Real) -> Tensor:
    """Return low + (high - low) (tanh(pre) + 1) / 2, strictly inside (low, high).

    >>> squash(torch.tensor([0.0, 100.0]), -2.0, 3.0)
    tensor([0.5000, 3.0000])
    """
    return special.squash(pre, low, high)


@verb
def unsquash(value: Real, low: Real, high: Real) -> Tensor:
    """Return the pre-tanh value of `value`; -inf at and below `low`, inf at and above `high`.

    >>> unsquash(torch.tensor([0.5, 3.0]), -2.0, 3.0)
    tensor([0., inf])
    """
    return special.unsquash(value, low, high)


@verb(confine=special.off_bounds, keeps_dtypes=True)
def inside(value: Real, low: Real, high: Real) -> Tensor:
    """Return `value` with the last numbers inside (low, high) in place of the bounds, to train on clipped actions.

    A value is at a bound if they are equal in the coarser of their dtypes, which has the last number inside, too.
    What lies beyond the bounds stays, as does NaN; the derivative by `value` is 1.

    >>> clipped = torch.tensor([0.5, 1.0, 1.5])
    >>> log_prob(torch.zeros(3), 1.0, -1.0, 1.0, inside(clipped, -1.0, 1.0), event_dims=0)
    tensor([ -0.7821, -22.5119,     -inf])
    """
    return special.nan_of(special.off_bounds(value, low, high), low, high)
