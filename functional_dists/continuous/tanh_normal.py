"""Normal distribution squashed by tanh onto the open interval (low, high).

If x ~ Normal(loc, scale), then y = low + (high - low) (tanh(x) + 1) / 2, and
log p(y) = log Normal(x; loc, scale) - log(1 - tanh(x)^2) - log((high - low) / 2), summed over the event; see appendix C
of Haarnoja et al., "Soft Actor-Critic" (2018).

Next to a bound, rounding a value removes digits on which its density depends. `sample_and_log_prob` scores the noise,
so it loses none. A rollout that stores actions can store `sample_pretanh` instead and score it by `log_prob_pretanh`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random
import functional_dists.special as special
from functional_dists.continuous.bounds import if_bounds_differ
from functional_dists.family import Real, broadcast_shape, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import HALF_LOG_2PI, log_squash_slope
from functional_dists.special import support as supports
from functional_dists.special.squashed import kl_inside, mean_log_sech2, mode_before, moments, standardized, with_tails


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
    ValueError: low must leave a number between itself and high; this fails at position (1,)
    """
    require(loc.isfinite(), "loc", "must be finite")
    require((scale > 0) & scale.isfinite(), "scale", "must be positive and finite")
    require(low.isfinite(), "low", "must be finite")
    require(high.isfinite(), "high", "must be finite")
    require(special.next_above(low) < high, "low", "must leave a number between itself and high")


# -------------------------------------------------------------------------------------------------------------- draws
@verb(confine=special.strictly_inside)
def rsample(key: Source, loc: Real, scale: Real, low: Real, high: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a value of shape (*sample_shape, *batch, *event) inside (low, high), differentiable by every parameter.

    >>> rsample(random.key(42), torch.zeros(2), 1.0, -2.0, 3.0)
    tensor([-1.3720,  0.9791])
    """
    noise = _noise(key, sample_shape, loc, scale, low, high)
    return special.squash(loc + scale * noise, low, high)


sample = verb.sample(rsample)


@verb(confine=special.strictly_inside)
def sample_and_log_prob(
    key: Source, loc: Real, scale: Real, low: Real, high: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(2), 1.0, -2.0, 3.0)
    >>> log_prob
    tensor(-3.3000)
    """
    noise = _noise(key, sample_shape, loc, scale, low, high)
    x = (loc + scale * noise).detach()
    value, log_slope = special.squash(x, low, high).detach(), log_squash_slope(x.double(), low, high)
    noise, loc, scale = noise.double(), loc.double(), scale.double()
    if not special.is_constant(low, high):  # compiled code takes a third longer for the terms, which are 0
        # The value is held constant, so its distances to the bounds and its pre-image depend on the bounds.
        below, above, width = special.log_growth_of_distances(x.double(), low, high)
        loc, log_slope = loc - 0.5 * (below - above), log_slope + below + above - 2 * width
    log_prob = special.log_pushforward_density(
        special.noise_of_constant_value(noise, loc, scale), scale.log() + log_slope
    )
    return value, sum_event(log_prob, event_dims).to(x.dtype)


@verb(confine=special.strictly_inside)
def rsample_and_log_prob(
    key: Source, loc: Real, scale: Real, low: Real, high: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise, as a SAC loss needs.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.zeros(2), 1.0, -2.0, 3.0)
    >>> log_prob
    tensor(-3.3000)
    """
    noise = _noise(key, sample_shape, loc, scale, low, high)
    x = loc + scale * noise
    log_slope = log_squash_slope(x.double(), low, high)
    log_prob = special.log_pushforward_density(noise.double(), scale.double().log() + log_slope)
    return special.squash(x, low, high), sum_event(log_prob, event_dims).to(x.dtype)


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

    By a quadrature of 40 or 48 nodes in float32, 112 or 88 in float64; its error is at most 7 ulp on the test grid.

    >>> entropy(torch.zeros(2), 1.0, -1.0, 1.0)
    tensor(1.3396)
    """
    normal_entropy = 0.5 + HALF_LOG_2PI + scale.log()
    return sum_event(normal_entropy + torch.log(0.5 * (high - low)) + mean_log_sech2(loc, scale), event_dims)


@verb
def support(loc: Real, scale: Real, low: Real, high: Real, *, event_dims: int = 1) -> Constraint:
    """Return the support as a constraint: the open interval (low, high).

    >>> support(torch.zeros(2), 1.0, -1.0, 1.0, event_dims=0).check(torch.tensor([0.5, 1.0]))
    tensor([ True, False])
    """
    return supports.of_events(supports.open_interval(low, high), event_dims)


@verb
def _kl_of_equal_bounds(p: Params, q: Params, *, event_dims: int = 1) -> Tensor:
    """Return the divergence of the normals, which the same bijection maps to p and q."""
    per_element = special.normal_kl(p.loc, p.scale, q.loc, q.scale)
    return sum_event(per_element.expand(broadcast_shape(*p, *q)), event_dims)


@if_bounds_differ(_kl_of_equal_bounds, Params)
@verb
def kl(p: Params, q: Params, *, event_dims: int = 1) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; inf if q's interval does not cover p's.

    With equal bounds it is the divergence of the normals. Otherwise the trapezoidal rule integrates the log-ratio over
    p's noise: 341 nodes in float32 and 951 in float64, enough for scales up to 10. The integral is slow. It is skipped
    if the bounds are equal Python numbers, and in eager code on the CPU if they are equal constants.

    >>> kl(Params(torch.zeros(2), 1.0), Params(1.0, 1.0))
    tensor(1.)
    >>> kl(Params(torch.zeros(1), 1.0), Params(torch.zeros(1), 1.0, -2.0, 2.0))
    tensor(0.8901)
    """
    has_same_bounds = (p.low == q.low) & (p.high == q.high)
    normals_kl = special.normal_kl(p.loc, p.scale, q.loc, q.scale)
    # NaN bounds fail the two order checks, so that they give NaN and not inf.
    is_missed = ((p.low < q.low) | (p.high > q.high)) & (p.low <= p.high) & (q.low <= q.high)
    p = p._replace(low=torch.where(is_missed, q.low, p.low), high=torch.where(is_missed, q.high, p.high))
    divergence = torch.where(has_same_bounds, normals_kl, kl_inside(p, q))
    return sum_event(torch.where(is_missed & ~divergence.isnan(), math.inf, divergence), event_dims)


@verb
def cdf(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return P(Y <= value), elementwise.

    >>> cdf(torch.zeros(2), 1.0, -1.0, 1.0, torch.tensor([0.5, 1.0]))
    tensor([0.7086, 1.0000])
    """
    return with_tails(value, low, high, 0.0, special.ndtr(standardized(loc, scale, low, high, value)), 1.0)


@verb
def log_cdf(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return log P(Y <= value), elementwise.

    >>> log_cdf(torch.zeros(2), 1.0, -1.0, 1.0, torch.tensor([0.5, -1.0]))
    tensor([-0.3445,    -inf])
    """
    return with_tails(value, low, high, -math.inf, special.log_ndtr(standardized(loc, scale, low, high, value)), 0.0)


survival, log_survival = verb.survivals(
    cdf, log_cdf, lambda loc, scale, low, high, value: (-loc, scale, -high, -low, -value)
)


@verb(confine=special.strictly_inside)
def icdf(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

    >>> icdf(torch.zeros(2), 1.0, -1.0, 1.0, torch.tensor([0.5, 0.975]))
    tensor([0.0000, 0.9611])
    """
    # At 0 and 1 the normal quantile is infinite and would give NaN derivatives; a finite number saturates tanh too.
    z = special.ndtri(value)
    z = torch.where(z.isinf(), z.detach().clamp(-1e30, 1e30), z)
    return special.squash(loc + scale * z, low, high)


# ------------------------------------------------------------------------------------------------ moments and points
@verb(confine=special.strictly_inside)
def deterministic(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return the action of a policy that does not explore: squash(loc), which is also the median.

    >>> deterministic(torch.tensor([0.0, 1.0]), 1.0, -1.0, 1.0)
    tensor([0.0000, 0.7616])
    """
    return special.nan_of(special.squash(loc, low, high), scale)


median = deterministic


@verb(confine=special.strictly_inside)
def mode(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return the value of largest density; of two equal peaks (loc = 0, scale large) the upper one.

    Before the squashing it is the root of x = loc + 2 scale^2 tanh(x) on loc's side of 0.

    >>> mode(torch.tensor([0.0, 0.1]), torch.tensor([0.5, 1.0]), -1.0, 1.0)
    tensor([0.0000, 0.9663])
    """
    side = torch.where(loc < 0, -1.0, 1.0).to(loc.dtype)
    x = side * mode_before(side * loc, 2 * scale * scale)
    return special.squash(x, low, high).expand(broadcast_shape(loc, scale, low, high))


@verb(confine=special.strictly_inside)
def mean(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return the mean, elementwise.

    By a quadrature of 40 or 48 nodes in float32, 112 or 88 in float64; its error is at most 5 ulp on the test grid.

    >>> mean(torch.tensor([-1.0, 1.0]), 1.0, -1.0, 1.0)
    tensor([-0.5504,  0.5504])
    """
    side = torch.where(loc < 0, -1.0, 1.0).to(loc.dtype)
    tanh_mean, gap, _ = moments(side * loc, scale)
    half = 0.5 * (high - low)
    # Measured from the nearer bound, as in `squash`; near the centre, measured from the centre.
    near = tanh_mean.detach() < 0.5
    end = torch.where(loc < 0, low, high)
    value = torch.where(near, low + half + side * half * tanh_mean, end - side * half * gap)
    return special.strictly_inside(value, low, high)


@verb
def variance(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return the variance, elementwise.

    It uses the quadrature of the mean. On the test grid, where the variance goes down to 1e-80, the error is at most
    40 ulp.

    >>> variance(torch.zeros(2), 1.0, -1.0, 1.0)
    tensor([0.3943, 0.3943])
    """
    return (0.5 * (high - low)).square() * moments(torch.where(loc < 0, -loc, loc), scale)[2]


@verb
def stddev(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return the standard deviation, elementwise, the root of the variance.

    >>> stddev(torch.zeros(2), 1.0, -1.0, 1.0)
    tensor([0.6279, 0.6279])
    """
    return 0.5 * (high - low) * special.root(moments(torch.where(loc < 0, -loc, loc), scale)[2])


# ---------------------------------------------------------------------------------------------------- pre-tanh values
@verb
def sample_pretanh(key: Source, loc: Real, scale: Real, low: Real, high: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw the value that `sample` squashes, detached from the graph; store it if you need the density later.

    >>> sample_pretanh(random.key(42), torch.zeros(2), 1.0, -2.0, 3.0)
    tensor([-0.9702,  0.1940])
    """
    return special.nan_of(loc + scale * _noise(key, sample_shape, loc, scale, low, high), low + high).detach()


@verb
def log_prob_pretanh(loc: Real, scale: Real, low: Real, high: Real, pre: Real, *, event_dims: int = 1) -> Tensor:
    """Return the log-density of `squash(pre, low, high)`, exact even where that value saturates.

    >>> log_prob_pretanh(torch.zeros(2), 1.0, -1.0, 1.0, torch.tensor([0.0, 20.0]), event_dims=0)
    tensor([  -0.9189, -162.3052])
    """
    z = (pre - loc) / scale
    return sum_event(special.log_pushforward_density(z, scale.log() + log_squash_slope(pre, low, high)), event_dims)


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
    """Return `value` with each bound replaced by the nearest number inside (low, high), to train on clipped actions.

    A value is at a bound if the two are equal in the coarser of their dtypes; the number inside is of that dtype too.
    Values beyond the bounds and NaN are unchanged. The derivative with respect to `value` is 1.

    >>> clipped = torch.tensor([0.5, 1.0, 1.5])
    >>> log_prob(torch.zeros(3), 1.0, -1.0, 1.0, inside(clipped, -1.0, 1.0), event_dims=0)
    tensor([ -0.7821, -22.5119,     -inf])
    """
    return special.nan_of(special.off_bounds(value, low, high), low, high)
