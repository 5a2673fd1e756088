"""A family whose values beyond a bound are moved to the bound, such as the actions that an environment clips."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists.combinators.intervals import integral, log_tail
from functional_dists.combinators.limits import (
    Split,
    check_bounds,
    define_limited,
    define_tails,
    elements,
    minus_p_log_p,
    points_of,
)
from functional_dists.combinators.values import values_of
from functional_dists.family import (
    Atom,
    Definition,
    Parameters,
    Real,
    combinator,
    sum_event,
)
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of
from functional_dists.special import support as supports

__all__ = ["clipped"]


@combinator
def clipped(family: Any) -> Definition:
    """Return the family of values clipped to an interval, whose bounds have probabilities of their own.

    Args:
        family: A continuous family with a cdf for every element, such as `normal`.

    Returns:
        A family with the parameters of `family`, then `low` and `high`. At a bound `log_prob` is the logarithm of a
        probability, between the bounds that of a density.

    Raises:
        TypeError: `family` has no cdf.

    >>> from functional_dists import normal
    >>> clipped(normal).log_prob(torch.zeros(3), 1.0, -1.0, 1.0, torch.tensor([0.0, 1.0, 2.0]))
    tensor([-0.9189, -1.8410,    -inf])
    """
    verb, split_of, wide = limited = define_limited("clipped", family)
    default = values_of(family).event_dims

    @verb
    def check(params: Parameters) -> None:
        """Raise a ValueError that names the parameter and the first bad position, in eager code only."""
        check_bounds(family, params, params[-2] < params[-1])

    def score(split: Split, value: Tensor) -> Tensor:
        own, low, high = split
        is_inside = (value > low) & (value < high)
        safe = torch.where(is_inside, value, family.median(*own).detach())
        inside = family.log_prob(*own, safe, event_dims=0)
        at_low, at_high = log_tail(family, "log_cdf", own, low), log_tail(family, "log_survival", own, high)
        at_bound = torch.where(value == low, at_low, torch.where(value == high, at_high, -torch.inf))
        return nan_of(
            torch.where(is_inside, inside, at_bound),
            torch.where(value.isnan(), value, 0.0),
            low,
            high,
            *elements(own, low),
        )

    @verb
    def rsample(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> Tensor:
        """Draw a value; the pathwise gradient of a clipped one is that of its bound."""
        own, low, high = split_of(params)
        return nan_of(torch.clamp(family.rsample(key, *own, sample_shape=sample_shape), low, high), *elements(own, low))

    sample = verb.sample(rsample)

    def define_pair(draw: Callable[..., Tensor], name: str, sentence: str) -> None:
        def function(
            key: Source, params: Parameters, *, sample_shape: Shape = (), event_dims: int = default
        ) -> tuple[Tensor, Tensor]:
            value = draw(key, *params, sample_shape=sample_shape)
            return value, sum_event(score(wide(params), value.double()), event_dims).to(params[0].dtype)

        function.__name__, function.__doc__ = name, sentence
        verb(function)

    of_score = "which has the score-function gradient"
    define_pair(sample, "sample_and_log_prob", f"Draw what `sample` draws, with its log-probability, {of_score}.")
    define_pair(rsample, "rsample_and_log_prob", "Draw what `rsample` draws, with its log-probability.")

    @verb
    def log_prob(params: Parameters, value: Atom, *, event_dims: int = default) -> Tensor:
        """Return the log-density between the bounds, the log-probability at a bound, -inf outside."""
        return sum_event(score(wide(params), value.double()), event_dims).to(params[0].dtype)

    define_tails(limited, family)

    @verb
    def icdf(params: Parameters, value: Real) -> Tensor:
        """Return the quantile of the probability `value`, elementwise: that of the family, clipped."""
        *own, low, high = params
        return torch.clamp(family.icdf(*own, value), low, high)

    def of_point(name: str, sentence: str) -> None:
        def function(params: Parameters) -> Tensor:
            own, low, high = split_of(params)
            return nan_of(torch.clamp(getattr(family, name)(*own), low, high), *elements(own, low))

        function.__name__, function.__doc__ = name, sentence
        verb(function)

    of_point("median", "Return the median, elementwise: that of the family, clipped.")
    if hasattr(family, "deterministic"):
        of_point("deterministic", "Return the action of a policy that does not explore: that of the family, clipped.")

    def expectation(split: Split, at: Callable[[Tensor], Tensor]) -> Tensor:
        own, low, high = split
        points = points_of(lambda p: torch.clamp(family.icdf(*own, p), low, high), low)
        inside = integral(points, lambda x: at(x) * family.log_prob(*own, x, event_dims=0).exp())
        below, above = log_tail(family, "log_cdf", own, low).exp(), log_tail(family, "log_survival", own, high).exp()
        return inside + _product(below, at(_finite(low))) + _product(above, at(_finite(high)))

    @verb
    def mean(params: Parameters) -> Tensor:
        """Return the mean, elementwise, by quadrature over panels between quantiles."""
        return expectation(wide(params), lambda x: x).to(params[0].dtype)

    @verb
    def variance(params: Parameters) -> Tensor:
        """Return the variance, elementwise, by quadrature over panels between quantiles."""
        split = wide(params)
        centre = expectation(split, lambda x: x)
        return expectation(split, lambda x: (x - centre).square()).to(params[0].dtype)

    verb.stddev(variance)

    @verb
    def entropy(params: Parameters, *, event_dims: int = default) -> Tensor:
        """Return the mean of -log_prob, with the density between the bounds and the probabilities at them."""
        own, low, high = wide(params)
        points = points_of(lambda p: torch.clamp(family.icdf(*own, p), low, high), low)
        inside = integral(points, lambda x: minus_p_log_p(family.log_prob(*own, x, event_dims=0)))
        at_low, at_high = log_tail(family, "log_cdf", own, low), log_tail(family, "log_survival", own, high)
        return sum_event(inside + minus_p_log_p(at_low) + minus_p_log_p(at_high), event_dims).to(params[0].dtype)

    @verb
    def support(params: Parameters, *, event_dims: int = default) -> Constraint:
        """Return the support as a constraint: the finite numbers between the bounds, and the bounds."""
        return supports.of_events(supports.finite_interval(params[-2], params[-1]), event_dims)

    return verb


def _finite(bound: Tensor) -> Tensor:
    """Return the bound, 0 where it is infinite: there it has no probability."""
    return torch.where(bound.isinf(), 0.0, bound)


def _product(probability: Tensor, number: Tensor) -> Tensor:
    """Return the product, 0 where the probability is, also of an infinite number."""
    return torch.where(probability == 0, 0.0, probability * number)
