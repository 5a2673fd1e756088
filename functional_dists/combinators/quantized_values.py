"""A family whose values are rounded to integers; the outermost take the tails (Salimans et al., "PixelCNN++", 2017)."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists.combinators.intervals import log_mass
from functional_dists.combinators.limits import Split, check_bounds, define_limited, define_tails, elements
from functional_dists.combinators.values import values_of
from functional_dists.family import Atom, Definition, Parameters, Real, combinator, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of
from functional_dists.special import support as supports

__all__ = ["quantized"]


@combinator
def quantized(family: Any) -> Definition:
    """Return the family of values rounded to the integers low, ..., high; the outermost take the tails.

    Args:
        family: A continuous family with a cdf for every element: `logistic` for the discretised logistic.

    Returns:
        A family with the parameters of `family`, then `low` and `high`, which must be integers, or infinite.

    Raises:
        TypeError: `family` has no cdf.

    >>> from functional_dists import normal
    >>> quantized(normal).log_prob(torch.zeros(3), 1.0, -1.0, 1.0, torch.tensor([0, 1, 2])).exp()
    tensor([0.3829, 0.3085, 0.0000])
    """
    sampled = "Integers, int64, of shape (*sample_shape, *batch, *event)."
    verb, split_of, wide = limited = define_limited("quantized", family, sample=sampled)
    default = values_of(family).event_dims

    @verb
    def check(params: Parameters) -> None:
        """Raise a ValueError that names the parameter and the first bad position, in eager code only."""
        low, high = params[-2:]
        check_bounds(family, params, low <= high)
        require((low == low.floor()) | low.isinf(), "low", "must be an integer")
        require((high == high.floor()) | high.isinf(), "high", "must be an integer")

    def rounded(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return torch.clamp(torch.ceil(x - 0.5), low, high)

    def score(split: Split, value: Tensor) -> Tensor:
        own, low, high = split
        is_outcome = (value == value.floor()) & (value >= low) & (value <= high)
        safe = torch.where(is_outcome, value, torch.clamp(rounded(family.median(*own).detach(), low, high), low, high))
        first = torch.where(safe <= low, -torch.inf, safe - 0.5)
        last = torch.where(safe >= high, torch.inf, safe + 0.5)
        mass = log_mass(family, own, first, last)
        return nan_of(
            torch.where(is_outcome, mass, -torch.inf),
            torch.where(value.isnan(), value, 0.0),
            low,
            high,
            *elements(own, low),
        )

    @verb
    def sample(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> Tensor:
        """Draw integers: rounded values of the family."""
        own, low, high = split_of(params)
        drawn = family.sample(key, *own, sample_shape=sample_shape)
        return rounded(drawn, low, high).long()

    @verb
    def sample_and_log_prob(
        key: Source, params: Parameters, *, sample_shape: Shape = (), event_dims: int = default
    ) -> tuple[Tensor, Tensor]:
        """Draw what `sample` draws, with its log-probability, which has the score-function gradient."""
        value = sample(key, *params, sample_shape=sample_shape)
        return value, sum_event(score(wide(params), value.double()), event_dims).to(params[0].dtype)

    @verb
    def log_prob(params: Parameters, value: Atom, *, event_dims: int = default) -> Tensor:
        """Return the log-probability of an integer; -inf for other numbers and outside of the bounds."""
        return sum_event(score(wide(params), value.double()), event_dims).to(params[0].dtype)

    define_tails(limited, family, lambda x: x.floor() + 0.5)

    @verb
    def icdf(params: Parameters, value: Real) -> Tensor:
        """Return the quantile of the probability `value`, elementwise, as real numbers; NaN outside [0, 1]."""
        *own, low, high = params
        return rounded(family.icdf(*own, value), low, high)

    @verb
    def support(params: Parameters, *, event_dims: int = default) -> Constraint:
        """Return the support as a constraint: the integers between the bounds."""
        return supports.scored_events(lambda value: log_prob(*params, value, event_dims=event_dims), event_dims)

    if hasattr(family, "deterministic"):

        @verb
        def deterministic(params: Parameters) -> Tensor:
            """Return the action of a policy that does not explore: that of the family, rounded, int64."""
            *own, low, high = params
            return rounded(family.deterministic(*own), low, high).long()

    return verb
