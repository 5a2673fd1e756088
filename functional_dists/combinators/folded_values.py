"""The distance of a value from the centre of a family that is symmetric about `loc`."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists.combinators.values import require_cdf
from functional_dists.family import Definition, Parameters, Real, combinator, define, joined_params, name_of, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of
from functional_dists.special import support as supports
from functional_dists.special.constant import table_of
from functional_dists.special.elementary import LOG_2
from functional_dists.special.quadrature import panel_rule

__all__ = ["folded"]


@combinator
def folded(family: Any) -> Definition:
    """Return the family of |x - loc| for x of a family that is symmetric about its parameter `loc`.

    Args:
        family: A continuous family with a cdf for every element, such as `normal`, `cauchy` or `student_t`.

    Returns:
        A family with the parameters of `family` but `loc`.

    Raises:
        TypeError: `family` has no cdf, or no parameter `loc`.

    >>> from functional_dists import cauchy
    >>> folded(cauchy).cdf(torch.ones(2), torch.tensor([1.0, 1e-30]))
    tensor([5.0000e-01, 6.3662e-31])
    """
    require_cdf("folded", family)
    fields = family.Params._fields
    if "loc" not in fields:
        raise TypeError(f"folded: family must have a parameter loc, got {name_of(family)}")
    verb = define(joined_params(family.Params, without=("loc",)), f"folded({name_of(family)})")
    place = fields.index("loc")

    def centred(params: Any) -> list[Tensor]:
        """Return the parameters of the family in float64, with loc = 0."""
        own = [tensor.double() for tensor in params]
        return [*own[:place], torch.zeros_like(own[0]), *own[place:]]

    def upper(value: Tensor) -> tuple[Tensor, Tensor]:
        """Return where a value is below 0, and the value elsewhere."""
        is_outside = value < 0
        return is_outside, torch.where(is_outside, 0.0, value.double())

    def density(own: Any, value: Tensor) -> Tensor:
        return 2 * family.log_prob(*own, value, event_dims=0).exp()

    def masses_below(own: Any, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return where P(X <= value) is below 0.2, the integral of the density there, and P(X > value) elsewhere."""
        is_near = family.log_survival(*own, value) > math.log(0.4)
        inner = torch.where(is_near, value, 0.0)
        u, weight = (rule.reshape(-1, *[1] * inner.ndim) for rule in table_of(panel_rule, inner))
        near = inner * (weight * density(own, inner * u)).sum(0)
        return is_near, near, torch.where(is_near, 0.5, 2 * family.survival(*own, value))

    def mass_below(own: Any, value: Tensor) -> Tensor:
        is_near, near, above = masses_below(own, value)
        return torch.where(is_near, near, 1 - above)

    def quantile(own: Any, probability: Tensor) -> Tensor:
        """Return the quantile of a probability in [0, 1).

        Above 1/2 it is that of the family. Below, it is the solution of Newton's method, whose last two steps have its
        first and second derivatives.
        """
        is_upper, is_small = probability > 0.5, probability < 1e-5
        far: Tensor = -family.icdf(*own, 0.5 * (1 - probability))
        goal, fixed = torch.where(is_upper, 0.25, probability), [tensor.detach() for tensor in own]
        start = torch.where(is_small, goal / density(fixed, torch.zeros_like(far)), torch.where(is_upper, 0.0, far))
        x = start.detach()
        for _ in range(2):
            x = (x + (goal.detach() - mass_below(fixed, x)) / density(fixed, x)).detach()
        slope = density(fixed, x).detach()
        for _ in range(2):
            x = x + (goal - mass_below(own, x)) / slope
        return torch.where(is_upper, far, x)

    @verb
    def check(params: Parameters) -> None:
        """Raise a ValueError that names the parameter and the first bad position, in eager code only."""
        if hasattr(family, "check"):
            family.check(*params[:place], torch.zeros_like(params[0]), *params[place:])

    @verb
    def rsample(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> Tensor:
        """Draw the distance of a draw of the family from its centre, differentiable by every parameter."""
        own = [*params[:place], torch.zeros_like(params[0]), *params[place:]]
        drawn: Tensor = family.rsample(key, *own, sample_shape=sample_shape)
        return torch.where(drawn < 0, -drawn, drawn)

    verb.sample(rsample)

    def pair(name: str, key: Source, params: Any, sample_shape: Shape, event_dims: int) -> tuple[Tensor, Tensor]:
        own = [*params[:place], torch.zeros_like(params[0]), *params[place:]]
        drawn, score = getattr(family, name)(key, *own, sample_shape=sample_shape, event_dims=0)
        return torch.where(drawn < 0, -drawn, drawn), sum_event(score.double() + LOG_2, event_dims).to(drawn.dtype)

    @verb
    def sample_and_log_prob(
        key: Source, params: Parameters, *, sample_shape: Shape = (), event_dims: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Draw what `sample` draws, with its log-density, which has the score-function gradient."""
        return pair("sample_and_log_prob", key, params, sample_shape, event_dims)

    @verb
    def rsample_and_log_prob(
        key: Source, params: Parameters, *, sample_shape: Shape = (), event_dims: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Draw what `rsample` draws, with its log-density from the same noise."""
        return pair("rsample_and_log_prob", key, params, sample_shape, event_dims)

    @verb
    def log_prob(params: Parameters, value: Real, *, event_dims: int = 0) -> Tensor:
        """Return the log-density at a value; -inf, with no gradient, below 0."""
        is_outside, inner = upper(value)
        score = family.log_prob(*centred(params), inner, event_dims=0) + LOG_2
        return sum_event(torch.where(is_outside, -math.inf, score), event_dims).to(params[0].dtype)

    @verb
    def entropy(params: Parameters, *, event_dims: int = 0) -> Tensor:
        """Return the differential entropy in nats: that of the family, less log 2."""
        return sum_event(family.entropy(*centred(params), event_dims=0) - LOG_2, event_dims).to(params[0].dtype)

    @verb
    def support(params: Parameters, *, event_dims: int = 0) -> Constraint:
        """Return the support as a constraint: the numbers from 0 on."""
        return supports.of_events(supports.finite_interval(0.0, math.inf), event_dims)

    if hasattr(family, "kl"):

        @verb
        def kl(p: Parameters, q: Parameters, *, event_dims: int = 0) -> Tensor:
            """Return the Kullback-Leibler divergence in nats: that of the family with equal `loc`."""
            make = family.Params
            found = family.kl(make(*centred(p)), make(*centred(q)), event_dims=0)
            return sum_event(found, event_dims).to(p[0].dtype)

    @verb
    def log_cdf(params: Parameters, value: Real) -> Tensor:
        """Return log P(X <= value), elementwise; finite where the cdf underflows."""
        is_empty = value <= 0
        is_near, near, above = masses_below(centred(params), torch.where(is_empty, 1.0, value.double()))
        inner = torch.where(is_near, torch.where(is_near, near, 1.0).log(), torch.log1p(-above))
        return nan_of(torch.where(is_empty, -math.inf, inner), inner.detach()).to(params[0].dtype)

    @verb
    def cdf(params: Parameters, value: Real) -> Tensor:
        """Return P(X <= value), elementwise."""
        return mass_below(centred(params), upper(value)[1]).to(params[0].dtype)

    @verb
    def icdf(params: Parameters, value: Real) -> Tensor:
        """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1]."""
        p = value.double()
        is_last, is_outside = p == 1, (p < 0) | (p > 1)
        found = quantile(centred(params), torch.where(is_last | is_outside, 0.75, p))
        end = nan_of(torch.where(is_last, math.inf, math.nan), found.detach())
        return torch.where(is_last | is_outside, end, found).to(params[0].dtype)

    @verb
    def median(params: Parameters) -> Tensor:
        """Return the median, elementwise."""
        own = centred(params)
        found: Tensor = -family.icdf(*own, torch.full_like(own[0], 0.25))
        return found.to(params[0].dtype)

    @verb
    def deterministic(params: Parameters) -> Tensor:
        """Return the action of a policy that does not explore: the median, since the mode is always 0."""
        return median(*params)

    @verb
    def mode(params: Parameters) -> Tensor:
        """Return the mode of a family with one peak, elementwise, which is 0."""
        zeros = torch.zeros_like(torch.broadcast_tensors(*params)[0])
        return nan_of(zeros, *params)

    @verb
    def log_survival(params: Parameters, value: Real) -> Tensor:
        """Return log P(X > value), elementwise; finite where the survival underflows."""
        is_outside, inner = upper(value)
        is_near, near, _ = masses_below(own := centred(params), inner)
        found = torch.where(is_near, torch.log1p(-near), family.log_survival(*own, inner) + LOG_2)
        return torch.where(is_outside, nan_of(torch.zeros_like(found), found.detach()), found).to(params[0].dtype)

    @verb
    def survival(params: Parameters, value: Real) -> Tensor:
        """Return P(X > value), elementwise; other libraries call it `sf`."""
        is_outside, inner = upper(value)
        is_near, near, above = masses_below(centred(params), inner)
        found = torch.where(is_near, 1 - near, above)
        return torch.where(is_outside, nan_of(torch.ones_like(found), found.detach()), found).to(params[0].dtype)

    return verb
