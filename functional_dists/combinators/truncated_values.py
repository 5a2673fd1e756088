"""A family conditioned on an interval."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists.combinators.intervals import integral, log_mass, quantile_inside
from functional_dists.combinators.limits import (
    Split,
    check_bounds,
    define_limited,
    minus_p_log_p,
    points_of,
)
from functional_dists.combinators.values import values_of
from functional_dists.family import (
    Definition,
    Parameters,
    Real,
    combinator,
    made_by,
    sum_event,
    verbs,
)
from functional_dists.random import Shape, Source, draw_entries, exponential
from functional_dists.special import nan_of
from functional_dists.special import support as supports

__all__ = ["truncated"]


@combinator
def truncated(family: Any) -> Definition:
    """Return the family of X given low <= X <= high.

    Args:
        family: A continuous family with a cdf for every element, such as `normal` or `logistic`.

    Returns:
        A family with the parameters of `family`, then `low` and `high`. Either bound may be infinite.

    Raises:
        TypeError: `family` has no cdf.

    >>> from functional_dists import normal
    >>> truncated(normal).mean(torch.zeros(2), 1.0, torch.tensor([0.0, 30.0]), torch.inf)
    tensor([ 0.7979, 30.0333])
    """
    verb, _, wide = define_limited("truncated", family)
    if made_by(family)[0] == "truncated":
        return _of_overlap(verb, family)
    default = values_of(family).event_dims

    @verb
    def check(params: Parameters) -> None:
        """Raise a ValueError that names the parameter and the first bad position, in eager code only."""
        check_bounds(family, params, params[-2] < params[-1])

    def log_density(split: Split, value: Tensor) -> Tensor:
        own, low, high = split
        is_outside = (value < low) | (value > high)
        middle = torch.clamp(family.median(*own), low, high).detach()
        safe = torch.where(is_outside, middle, value)
        score = family.log_prob(*own, safe, event_dims=0) - log_mass(family, own, low, high)
        return torch.where(is_outside, -torch.inf, score)

    def quantile(split: Split, probability: Tensor) -> Tensor:
        is_inside = (probability > 0) & (probability < 1)
        safe = torch.where(is_inside, probability, 0.5)
        own, low, high = split
        x = quantile_inside(family, own, low, high, safe.log(), torch.log1p(-safe))
        end = torch.where(probability == 0, low, torch.where(probability == 1, high, torch.nan))
        return torch.where(is_inside, x, end)

    def draw(key: Source, params: Any, sample_shape: Shape) -> Tensor:
        own, low, high = wide(params)
        # -log of a uniform number keeps both of its tails.
        e = draw_entries(exponential, key, sample_shape, low.shape, dtype=torch.float64, device=low.device)
        return quantile_inside(family, own, low, high, -e, torch.log(-torch.expm1(-e)))

    @verb
    def rsample(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> Tensor:
        """Draw a value by the inverse cdf, differentiable by every parameter."""
        return draw(key, params, sample_shape).to(params[0].dtype)

    verb.sample(rsample)

    @verb
    def sample_and_log_prob(
        key: Source, params: Parameters, *, sample_shape: Shape = (), event_dims: int = default
    ) -> tuple[Tensor, Tensor]:
        """Draw what `sample` draws, with its log-density, which has the score-function gradient."""
        value = draw(key, params, sample_shape).detach()
        score = sum_event(log_density(wide(params), value), event_dims)
        return value.to(params[0].dtype), score.to(params[0].dtype)

    @verb
    def rsample_and_log_prob(
        key: Source, params: Parameters, *, sample_shape: Shape = (), event_dims: int = default
    ) -> tuple[Tensor, Tensor]:
        """Draw what `rsample` draws, with its log-density."""
        value = draw(key, params, sample_shape)
        score = sum_event(log_density(wide(params), value), event_dims)
        return value.to(params[0].dtype), score.to(params[0].dtype)

    @verb
    def log_prob(params: Parameters, value: Real, *, event_dims: int = default) -> Tensor:
        """Return the log-density at a value; -inf, with no gradient, outside of the bounds."""
        return sum_event(log_density(wide(params), value.double()), event_dims).to(params[0].dtype)

    def log_part(params: Any, value: Tensor, is_below: bool) -> Tensor:
        own, low, high = wide(params)
        x = torch.minimum(torch.maximum(value.double(), low), high)
        part = log_mass(family, own, low, x) if is_below else log_mass(family, own, x, high)
        return part - log_mass(family, own, low, high)

    @verb
    def log_cdf(params: Parameters, value: Real) -> Tensor:
        """Return log P(X <= value), elementwise; finite where the cdf underflows."""
        return log_part(params, value, is_below=True).to(params[0].dtype)

    @verb
    def cdf(params: Parameters, value: Real) -> Tensor:
        """Return P(X <= value), elementwise."""
        return log_part(params, value, is_below=True).exp().to(params[0].dtype)

    @verb
    def log_survival(params: Parameters, value: Real) -> Tensor:
        """Return log P(X > value), elementwise; finite where the survival underflows."""
        return log_part(params, value, is_below=False).to(params[0].dtype)

    @verb
    def survival(params: Parameters, value: Real) -> Tensor:
        """Return P(X > value), elementwise; other libraries call it `sf`."""
        return log_part(params, value, is_below=False).exp().to(params[0].dtype)

    @verb
    def icdf(params: Parameters, value: Real) -> Tensor:
        """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1]."""
        return quantile(wide(params), value.double()).to(params[0].dtype)

    @verb
    def median(params: Parameters) -> Tensor:
        """Return the median, elementwise."""
        split = wide(params)
        return quantile(split, torch.full_like(split[1], 0.5)).to(params[0].dtype)

    def marks(split: Split) -> Tensor:
        """Return points ``(P, *B)`` between which the panels of integrals lie: the bounds, and quantiles."""
        _, low, high = split
        points = points_of(lambda p: quantile(split, p), low)
        ends = torch.where(low.isinf(), points[0], low), torch.where(high.isinf(), points[-1], high)
        return torch.cat([ends[0][None], points, ends[1][None]])

    def mean_of(split: Split, points: Tensor) -> Tensor:
        middle = points[len(points) // 2].detach()  # rounding the weights changes x less than it would change 0
        return middle + integral(points, lambda x: (x - middle) * log_density(split, x).exp())

    @verb
    def mean(params: Parameters) -> Tensor:
        """Return the mean, elementwise, by quadrature over panels between quantiles."""
        split = wide(params)
        return mean_of(split, marks(split)).to(params[0].dtype)

    @verb
    def variance(params: Parameters) -> Tensor:
        """Return the variance, elementwise, by quadrature over panels between quantiles."""
        split = wide(params)
        points = marks(split)
        centre = mean_of(split, points)
        squares = integral(points, lambda x: (x - centre).square() * log_density(split, x).exp())
        return squares.to(params[0].dtype)

    verb.stddev(variance)

    @verb
    def entropy(params: Parameters, *, event_dims: int = default) -> Tensor:
        """Return the differential entropy in nats, by quadrature over panels between quantiles."""
        split = wide(params)
        inside = integral(marks(split), lambda x: minus_p_log_p(log_density(split, x)))
        return sum_event(inside, event_dims).to(params[0].dtype)

    @verb
    def support(params: Parameters, *, event_dims: int = default) -> Constraint:
        """Return the support as a constraint: the finite numbers between the bounds."""
        return supports.of_events(supports.finite_interval(params[-2], params[-1]), event_dims)

    if hasattr(family, "mode"):

        @verb
        def mode(params: Parameters) -> Tensor:
            """Return the value of largest density, of a family with one peak."""
            *own, low, high = params
            return nan_of(torch.clamp(family.mode(*own), low, high), *own)

        verb.deterministic(mode)
    return verb


def _of_overlap(verb: Definition, family: Any) -> Definition:
    """Return the definition of a truncated family that is truncated again: to the overlap of both intervals."""

    def overlap(*params: Tensor) -> Any:
        *own, low, high, low_2, high_2 = params
        return family.Params(*own, torch.maximum(low, low_2), torch.minimum(high, high_2))

    of_family = verb.through(overlap, examples=False)
    for of_interval in verbs(family).values():
        of_family(of_interval)
    return verb
