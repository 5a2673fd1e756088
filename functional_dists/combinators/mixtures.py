"""Mixtures: a component is chosen by its weight, and a value is drawn from it.

`rsample` has the pathwise gradient, although a choice has none: the value moves so that its cdf stays constant, element
by element of an event, each given those before it (Graves, "Stochastic backpropagation through mixture density
distributions", 2016; Figurnov, Mohamed and Mnih, "Implicit reparameterization gradients", 2018).
"""

from typing import Any

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint
from torch.nn.functional import log_softmax

from functional_dists.combinators.components import Components, of_families, of_family
from functional_dists.combinators.paths import moved_with_cdf
from functional_dists.combinators.values import in_float64
from functional_dists.discrete import categorical
from functional_dists.family import Definition, Parameters, Real, Value, combinator, define, leaf_key, name_of, require
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of, search
from functional_dists.special.support import scored_events

__all__ = ["mixture", "mixture_of"]


@combinator
def mixture(family: Any) -> Definition:
    """Return the family of mixtures of K distributions of one family.

    Args:
        family: A family. An event of a component is that of the family by default: a number for `normal`, a vector for
            `independent(normal)`.

    Returns:
        A family with the parameters `mixing_logits`, of shape (*batch, K), and those of `family` with an axis K before
        the event, as in (*batch, K, *event).

    Raises:
        TypeError: `family` is not a family.

    >>> from functional_dists import normal
    >>> mixture(normal).log_prob(torch.zeros(2), torch.tensor([-1.0, 1.0]), 0.1, 1.0)
    tensor(0.6905)
    """
    return _define(f"mixture({name_of(family)})", of_family(family, "mixture"))


@combinator
def mixture_of(*families: Any) -> Definition:
    """Return the family of mixtures of distributions of different families with one support.

    Args:
        families: Continuous families whose events have the same number of axes.

    Returns:
        A family with the parameters `mixing_logits`, of shape (*batch, K) for K families, and those of each family.

    Raises:
        TypeError: an argument is not a family, or the events differ.

    >>> from functional_dists import normal, tanh_normal, truncated_normal
    >>> mixture_of(tanh_normal, truncated_normal).Params._fields
    ('mixing_logits', 'loc', 'scale', 'low', 'high', 'loc_2', 'scale_2', 'low_2', 'high_2')
    """
    return _define(f"mixture_of({', '.join(map(name_of, families))})", of_families(families, "mixture_of"))


def _define(name: str, components: Components) -> Definition:
    verb = define(components.Params, name, values_of=components.families[0])
    verb.event_axes = components.values.event_dims
    _define_scores(verb, components)
    _define_draws(verb, components)
    if components.have("probs"):
        _define_tables(verb, components)
    if components.values.can_split:
        _define_cdf(verb, components)
        _define_moments(verb, components)
    if components.values.can_split and components.have("icdf") and components.have("rsample"):
        _define_quantiles(verb, components)
        if components.values.event_dims == 0:
            _define_searched(verb, components)
    return verb


def _log_weights(params: Any, num_axes: int = 0) -> Tensor:
    """Return the log-weights ``(*B, K)``, with more axes of size 1."""
    return log_softmax(params[0], -1)[(..., *[None] * num_axes)]


def _define_scores(verb: Definition, components: Components) -> None:
    @verb(fit=components.fit)
    def check(params: Parameters) -> None:
        """Raise a ValueError that names the parameter and the first bad position, in eager code only."""
        require(~params[0].isnan() & (params[0] < torch.inf), "mixing_logits", "must not be NaN or +inf")
        require((params[0] > -torch.inf).any(-1), "mixing_logits", "must give a component a weight")
        components.check(params)

    def terms(params: Any, value: Tensor) -> Tensor:
        return _log_weights(params) + components.scores(params, value)

    @verb(fit=components.fit)
    def log_prob(params: Parameters, value: Value) -> Tensor:
        """Return the log-density or log-probability at a value, summed over its event."""
        wide, value_wide = in_float64(params), in_float64([value])[0]
        return search.log_sum_of_exps(terms(wide, value_wide)).to(params[0].dtype)

    @verb(fit=components.fit)
    def responsibilities(params: Parameters, value: Value) -> Tensor:
        """Return the probabilities ``(*sample, *batch, K)`` that each component made the value; 0 off the support."""
        scores = terms(in_float64(params), in_float64([value])[0])
        total = search.log_sum_of_exps(scores)[..., None]
        is_outside = total == -torch.inf
        return torch.where(is_outside, 0.0, torch.exp(scores - torch.where(is_outside, 0.0, total))).to(params[0].dtype)

    if components.have("support"):

        @verb(fit=components.fit)
        def support(params: Parameters) -> Constraint:
            """Return the support as a constraint: the values of finite log-probability."""
            return scored_events(lambda value: log_prob(*params, value), components.values.event_dims)


def _define_draws(verb: Definition, components: Components) -> None:
    log_prob, axis = verb.verbs["log_prob"], components.axis

    def draw(key: Source, params: Any, sample_shape: Any) -> Tensor:
        drawn = components.draw("sample", leaf_key(key, ("components",)), params, sample_shape)
        batch = drawn.shape[: drawn.ndim + axis][len(sample_shape) :]
        logits = params[0].expand(*batch, params[0].shape[-1])
        choice = categorical.sample(leaf_key(key, ("choice",)), logits, sample_shape=sample_shape)
        index = choice[(..., *[None] * -axis)]
        shape = list(drawn.shape)
        shape[axis] = 1
        chosen = drawn.gather(axis, index.expand(shape)).squeeze(axis)
        return nan_of(chosen, *components.of_whole(params)) if drawn.is_floating_point() else chosen

    @verb(fit=components.fit)
    def sample(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> Tensor:
        """Draw a value, detached from the graph."""
        return draw(key, params, sample_shape).detach()

    @verb(fit=components.fit)
    def sample_and_log_prob(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
        """Draw what `sample` draws, with its log-density, which has the score-function gradient."""
        value = draw(key, params, sample_shape).detach()
        return value, log_prob(*params, value)

    if not (components.values.can_split and components.have("rsample") and components.have("log_cdf")):
        return

    @verb(fit=components.fit)
    def rsample(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> Tensor:
        """Draw the value that `sample` draws, with the exact pathwise gradient."""
        value = draw(key, params, sample_shape).detach()
        moved = moved_with_cdf(components, in_float64(params), value.double())
        return value + (moved - moved.detach()).to(value.dtype)

    @verb(fit=components.fit)
    def rsample_and_log_prob(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
        """Draw what `rsample` draws, with its log-density."""
        value = rsample(key, *params, sample_shape=sample_shape)
        return value, log_prob(*params, value)


def _define_tables(verb: Definition, components: Components) -> None:
    """Define what a mixture of discrete distributions has."""

    @verb(fit=components.fit)
    def normalized_logits(params: Parameters) -> Tensor:
        """Return the log-probabilities of all outcomes, -inf for the impossible ones."""
        tables = components.apply("normalized_logits", in_float64(params))
        return search.log_sum_of_exps(_log_weights(in_float64(params), 1) + tables, -2).to(params[0].dtype)

    def of_table(name: str) -> None:
        derived = getattr(categorical, name)
        doc = f"Return the result of `categorical.{name}` for the probabilities of the mixture."
        verb.mapped(normalized_logits, derived, doc, name)

    for name in ("probs", "entropy", "mode", "deterministic"):
        of_table(name)


def _define_cdf(verb: Definition, components: Components) -> None:
    num_axes = components.values.event_dims
    sentences = {
        "cdf": "Return P(X <= value), elementwise.",
        "log_cdf": "Return log P(X <= value), elementwise; finite where the cdf underflows.",
        "survival": "Return P(X > value), elementwise; other libraries call it `sf`.",
        "log_survival": "Return log P(X > value), elementwise; finite where the survival underflows.",
    }

    def of_logarithm(name: str) -> None:
        def function(params: Parameters, value: Real) -> Tensor:
            wide = in_float64(params)
            parts = components.apply(name, wide, value.double())
            total = search.log_sum_of_exps(_log_weights(wide, num_axes) + parts, components.axis)
            return total.to(params[0].dtype)

        function.__name__, function.__doc__ = name, sentences[name]
        verb(fit=components.fit)(function)

    def of_probability(name: str) -> None:
        def function(params: Parameters, value: Real) -> Tensor:
            wide = in_float64(params)
            parts = components.apply(name, wide, value.double())
            return (_log_weights(wide, num_axes).exp() * parts).sum(components.axis).to(params[0].dtype)

        function.__name__, function.__doc__ = name, sentences[name]
        verb(fit=components.fit)(function)

    for name in sentences:
        if components.have(name):
            (of_logarithm if name.startswith("log") else of_probability)(name)


def _define_moments(verb: Definition, components: Components) -> None:
    num_axes, axis = components.values.event_dims, components.axis
    if not components.have("mean"):
        return

    @verb(fit=components.fit)
    def mean(params: Parameters) -> Tensor:
        """Return the mean, elementwise."""
        wide = in_float64(params)
        return (_log_weights(wide, num_axes).exp() * components.apply("mean", wide)).sum(axis).to(params[0].dtype)

    if not components.have("variance"):
        return

    @verb(fit=components.fit)
    def variance(params: Parameters) -> Tensor:
        """Return the variance, elementwise: the mean variance, plus the variance of the means."""
        wide = in_float64(params)
        weights, means = _log_weights(wide, num_axes).exp(), components.apply("mean", wide)
        centre = (weights * means).sum(axis, keepdim=True)
        spread = components.apply("variance", wide) + (means - centre).square()
        return (weights * spread).sum(axis).to(params[0].dtype)

    verb.stddev(variance)


def _detached(params: Any) -> list[Tensor]:
    return [tensor.detach().double() for tensor in params]


def _define_quantiles(verb: Definition, components: Components) -> None:
    cdf, survival, axis = verb.verbs["cdf"], verb.verbs["survival"], components.axis

    def slope_of_cdf(params: Any, x: Tensor) -> Tensor:
        scores = _log_weights(params, components.values.event_dims)
        return search.log_sum_of_exps(scores + components.apply("log_prob", params, x, event_dims=0), axis).exp()

    def quantile(params: Any, probability: Tensor) -> Tensor:
        wide, fixed = in_float64(params), _detached(params)
        asked = probability.double()
        is_inside = (asked > 0) & (asked < 1)
        safe = torch.where(is_inside, asked, 0.5)
        is_upper = safe > 0.5
        ends = components.apply("icdf", fixed, safe.detach())

        def is_below(x: Tensor) -> Tensor:
            p = safe.detach().expand(x.shape)
            return torch.where(p > 0.5, survival(*fixed, x) > 1 - p, cdf(*fixed, x) < p)

        low, high = search.quantile_between(is_below, ends.amin(axis), ends.amax(axis))
        x = 0.5 * (low + high)
        for step in range(4):  # the last two have derivatives
            own = fixed if step < 2 else wide
            slope = slope_of_cdf(fixed, x.detach()).clamp(min=torch.finfo(x.dtype).tiny)
            excess = torch.where(is_upper, (1 - safe) - survival(*own, x), cdf(*own, x) - safe)
            x = x - excess / slope
            if step < 2:
                x = torch.minimum(torch.maximum(x.detach(), low), high)
        far = components.apply("icdf", fixed, torch.where(is_inside, 0.5, asked).detach())
        end = torch.where(asked <= 0, far.amin(axis), far.amax(axis))
        return torch.where(is_inside, x, end + 0 * x.detach())

    @verb(fit=components.fit)
    def icdf(params: Parameters, value: Real) -> Tensor:
        """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

        It lies between those of the components. There it is searched, in a fixed number of steps.
        """
        return quantile(params, value).to(params[0].dtype)

    @verb(fit=components.fit)
    def median(params: Parameters) -> Tensor:
        """Return the median, elementwise, as `icdf` finds it."""
        like = components.apply("median", _detached(params)).sum(axis)
        return quantile(params, torch.full_like(like, 0.5)).to(params[0].dtype)


def _define_searched(verb: Definition, components: Components) -> None:
    """Define the verbs of numbers that are found by search, or by quadrature."""
    score = verb.verbs["log_prob"]

    @verb(fit=components.fit)
    def entropy(params: Parameters) -> Tensor:
        """Return the differential entropy in nats, elementwise.

        By quadrature over panels between quantiles of the components, 16 nodes each. So components of any scales may
        lie within each other.
        """
        wide = in_float64(params)
        marks = search.score_grid(wide[0])
        shape = components.apply("median", _detached(params)).shape[:-1]
        points = components.apply("icdf", wide, marks.reshape(-1, *[1] * len(shape)).expand(-1, *shape))
        x, weight = search.panels(points.movedim(-1, 0).flatten(0, 1))
        log_density = score(*wide, x)
        is_outside = log_density == -torch.inf
        safe = torch.where(is_outside, 0.0, log_density)
        return -(weight * torch.where(is_outside, 0.0, safe.exp() * safe)).sum(0).to(params[0].dtype)

    if not components.have("mode"):
        return

    @verb(fit=components.fit)
    def mode(params: Parameters) -> Tensor:
        """Return the value of largest density, without a gradient.

        It is searched between the modes of the components, which must have one peak each.
        """
        fixed = _detached(params)
        modes = components.apply("mode", fixed).movedim(-1, 0)
        top = search.top_between(lambda x: score(*fixed, x), modes)
        return nan_of(top, *components.of_whole(fixed)).to(params[0].dtype)

    verb.deterministic(mode)
