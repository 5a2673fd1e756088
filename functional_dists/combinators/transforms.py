"""A family moved by a bijector: y = f(x), with log p(y) = log p(x) - log |f'(x)| at x = f^-1(y)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from functional_dists.bijectors.chaining import confine_of_last
from functional_dists.bijectors.structure import added_entries, are_equal, event_dims_of, has_block, require_bijector
from functional_dists.combinators.values import in_float64, point_inside, require_density, values_of
from functional_dists.family import (
    Definition,
    Parameters,
    Real,
    Value,
    combinator,
    define,
    fit_of,
    joined_params,
    name_of,
    specification_of,
    sum_event,
)
from functional_dists.family.kinds import Kind
from functional_dists.family.kinds import Vector as _VECTOR
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of
from functional_dists.special import support as supports

__all__ = ["transformed"]


@combinator
def transformed(family: Any, bijector: Any) -> Definition:
    """Return the family of f(x) for x of a continuous family and a bijector f.

    Args:
        family: A continuous family.
        bijector: A bijector, such as those of `functional_dists.bijectors`.

    Returns:
        A family with the parameters of `family`, then those of the bijector. A name that both have gets a number:
        `scale_2`. The value before the bijector is drawn by `sample_pre` and scored by `log_prob_pre`.

    Raises:
        TypeError: `family` is not a continuous family, or `bijector` is not a bijector.

    >>> from functional_dists import bijectors, normal
    >>> transformed(normal, bijectors.exp).log_prob(torch.zeros(2), 1.0, torch.tensor([1.0, 2.0]))
    tensor([-0.9189, -1.8523])
    """
    require_density("transformed", family)
    require_bijector("transformed", bijector)
    return _Transformed(family, bijector).define()


class _Transformed:
    """The parts of a transformed family, and its verbs."""

    def __init__(self, family: Any, bijector: Any) -> None:
        self.family, self.bijector = family, bijector
        self.values, self.event_dims = values_of(family), event_dims_of(bijector)
        self.count = len(family.Params._fields)
        self.is_elementwise = (self.values.can_split or not self.values.event_dims) and not self.event_dims
        self.default = max(self.values.event_dims, self.event_dims)
        self.family_fit = fit_of(family)
        bijector_spec: Any = specification_of(bijector.forward)
        self.layouts = [argument.kind.layout for argument in bijector_spec.arguments if argument.is_parameter]
        self.has_own_shapes = bijector_spec.fit is not None or has_block(
            bijector
        )  # of parameters that do not broadcast
        self.num_added = added_entries(bijector)
        are_elements = all(layout == "per element" for layout in self.layouts) and not self.event_dims
        # How the shapes of the parameters fit together, of a value after and before the bijector; None: they broadcast.
        self.fit: Any = None if are_elements and self.family_fit is None else self.shape_of_value
        self.pre_fit: Any = None if self.fit is None else self.shape

    # --------------------------------------------------------------------------------------------------- parameters
    def shape(self, *shapes: Sequence[int]) -> torch.Size:
        """Return the shape of the batch and of the event before the bijector."""
        own, moving = shapes[: self.count], shapes[self.count :]
        whole = torch.broadcast_shapes(*own) if self.family_fit is None else self.family_fit(*map(torch.Size, own))
        if self.has_own_shapes:
            return whole
        elements = [
            shape[:-1] if layout == "matrix" else shape for shape, layout in zip(moving, self.layouts, strict=True)
        ]
        return torch.broadcast_shapes(whole, *elements)

    def shape_of_value(self, *shapes: torch.Size) -> torch.Size:
        shape = self.shape(*shapes)
        return torch.Size((*shape[:-1], shape[-1] + self.num_added)) if self.num_added else shape

    def split(self, params: Any) -> tuple[list[Tensor], list[Tensor]]:
        """Return the parameters of the family, with all axes of the batch, and those of the bijector."""
        own, moving = list(params[: self.count]), list(params[self.count :])
        if self.family_fit is None:
            shape = self.shape(*(tensor.shape for tensor in params))
            own = [tensor.expand(shape) for tensor in own]
        return own, moving

    # ------------------------------------------------------------------------------------------------------- scores
    def score_before(self, own: Any, x: Tensor) -> Tensor:
        """Return the score of x, for each unit that the log-determinant has a number for, or more."""
        options = {"event_dims": self.event_dims} if self.values.can_split else {}
        score: Tensor = self.family.log_prob(*own, x, **options)
        return score

    @property
    def unit(self) -> int:
        """Return how many axes of the event one number of the score has summed."""
        return max(self.event_dims, 0 if self.values.can_split else self.values.event_dims)

    def minus_log_det(self, score: Tensor, log_det: Tensor) -> Tensor:
        return score - sum_event(log_det, self.unit - self.event_dims)

    def total(self, score: Tensor, event_dims: int) -> Tensor:
        """Return the sum over the axes of the event that a score has left."""
        if event_dims < self.unit:
            raise ValueError(f"event_dims must be at least {self.unit}, as an event is a vector, got {event_dims}")
        return sum_event(score, event_dims - self.unit)

    def log_prob(self, params: Any, value: Tensor, event_dims: int) -> Tensor:
        own, moving = self.split(in_float64(params))
        value = value.double()
        anchor = self.bijector.forward(*moving, point_inside(self.family, own)).detach()

        def moved_inside(is_inside: Tensor) -> Tensor:
            return torch.where(is_inside[..., None] if self.event_dims else is_inside, value, anchor)

        is_inside = self.bijector.image(*moving).check(value)
        # So far out that the inverse overflows, the density is 0.
        is_finite = self.bijector.inverse(*moving, moved_inside(is_inside)).detach().isfinite()
        is_inside = is_inside & (is_finite.all(-1) if self.event_dims else is_finite)
        safe = moved_inside(is_inside)
        before = self.bijector.inverse(*moving, safe)
        score = self.minus_log_det(self.score_before(own, before), -self.bijector.inverse_log_det(*moving, safe))
        nans = torch.where(value.isnan(), value, torch.where(anchor.isnan(), anchor, 0.0))
        if score.ndim < value.ndim:
            is_inside = is_inside if self.event_dims else is_inside.all(-1)
            nans = nans.sum(-1)
        score = nan_of(torch.where(is_inside, score, -torch.inf), nans)
        return self.total(score, event_dims).to(params[0].dtype)

    def log_prob_before(self, params: Any, x: Tensor, event_dims: int) -> Tensor:
        own, moving = self.split(in_float64(params))
        x = x.double()
        score = self.minus_log_det(self.score_before(own, x), self.bijector.forward_log_det(*moving, x))
        return self.total(score, event_dims).to(params[0].dtype)

    def pair(self, name: str, key: Source, params: Any, sample_shape: Shape, event_dims: int) -> tuple[Tensor, Tensor]:
        """Return a draw and its score from the noise."""
        own, moving = self.split(params)
        options = {"event_dims": self.event_dims} if self.values.can_split else {}
        x, score = getattr(self.family, name)(key, *own, sample_shape=sample_shape, **options)
        log_det = self.bijector.forward_log_det(*in_float64(moving), x.double())
        value = self.bijector.forward(*moving, x)
        score = self.total(self.minus_log_det(score.double(), log_det), event_dims).to(params[0].dtype)
        return value, score

    # -------------------------------------------------------------------------------------------------------- verbs
    def define(self) -> Definition:
        family, bijector = self.family, self.bijector
        name = f"transformed({name_of(family)}, {name_of(bijector)})"
        verb = define(joined_params(family.Params, bijector.Params), name, values_of=family)
        verb.event_axes = self.default
        if self.event_dims:
            kind: Any = _VECTOR
            verb.value_kind = kind if isinstance(kind, Kind) else None
        confine = confine_of_last([bijector], verb.params._fields)
        self.define_draws(verb, confine)
        self.define_scores(verb)
        if self.is_elementwise and hasattr(bijector, "is_increasing") and hasattr(family, "cdf"):
            self.define_cdf(verb, confine)
        for point in ("median", "deterministic"):
            if hasattr(family, point) and (self.is_elementwise or point == "deterministic"):
                self.define_point(verb, point, confine)
        return verb

    def define_point(self, verb: Definition, name: str, confine: Any) -> None:
        def function(params: Parameters) -> Tensor:
            own, moving = self.split(params)
            return self.forward(moving, getattr(self.family, name)(*own))

        sentence = "median" if name == "median" else "action of a policy that does not explore"
        function.__name__ = name
        function.__doc__ = f"Return the {sentence}: that of {name_of(self.family)}, moved by the bijector."
        verb(fit=self.fit, confine=confine)(function)

    def forward(self, moving: Any, x: Tensor) -> Tensor:
        moved: Tensor = self.bijector.forward(*moving, x)
        return moved

    def define_draws(self, verb: Definition, confine: Any) -> None:
        family, default = self.family, self.default

        @verb(fit=self.fit)
        def check(params: Parameters) -> None:
            """Raise a ValueError that names the parameter and the first bad position, in eager code only."""
            own, moving = self.split(params)
            for part, given in ((family, own), (self.bijector, moving)):
                if hasattr(part, "check"):
                    part.check(*given)

        @verb(fit=self.fit, confine=confine)
        def sample(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> Tensor:
            """Draw a value, detached from the graph."""
            own, moving = self.split(params)
            return self.forward(moving, family.sample(key, *own, sample_shape=sample_shape)).detach()

        @verb(fit=self.pre_fit)
        def sample_pre(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> Tensor:
            """Draw the value that `sample` moves, detached from the graph; store it if you need the density later."""
            own, moving = self.split(params)
            drawn = family.sample(key, *own, sample_shape=sample_shape)
            return self.with_nans(drawn, moving)

        @verb(fit=self.fit, confine=confine)
        def sample_and_log_prob(
            key: Source, params: Parameters, *, sample_shape: Shape = (), event_dims: int = default
        ) -> tuple[Tensor, Tensor]:
            """Draw what `sample` draws, with its log-density, which has the score-function gradient."""
            value, score = self.pair("sample_and_log_prob", key, params, sample_shape, event_dims)
            value = value.detach()
            if self.bijector.Params._fields:  # they move the value before the bijector
                through = self.log_prob(params, value, event_dims)
                growth = torch.where(through.isfinite(), through - through.detach(), 0.0)
                score = score.detach() + growth
            return value, score

        if not hasattr(family, "rsample"):
            return

        @verb(fit=self.fit, confine=confine)
        def rsample(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> Tensor:
            """Draw what `sample` draws, differentiable by every parameter."""
            own, moving = self.split(params)
            return self.forward(moving, family.rsample(key, *own, sample_shape=sample_shape))

        @verb(fit=self.fit, confine=confine)
        def rsample_and_log_prob(
            key: Source, params: Parameters, *, sample_shape: Shape = (), event_dims: int = default
        ) -> tuple[Tensor, Tensor]:
            """Draw what `rsample` draws, with its log-density from the same noise."""
            return self.pair("rsample_and_log_prob", key, params, sample_shape, event_dims)

    def with_nans(self, drawn: Tensor, moving: Sequence[Tensor]) -> Tensor:
        """Return a draw before the bijector, NaN where the bijector makes NaN of it."""
        is_nan = self.forward(moving, drawn).isnan()
        return torch.where(is_nan.any(-1, keepdim=True) if self.event_dims else is_nan, torch.nan, drawn).detach()

    def define_scores(self, verb: Definition) -> None:
        family, bijector, default = self.family, self.bijector, self.default

        @verb(fit=self.fit)
        def log_prob(params: Parameters, value: Value, *, event_dims: int = default) -> Tensor:
            """Return the log-density at a value; -inf, with no gradient, outside of the bijector's image."""
            return self.log_prob(params, value, event_dims)

        def log_prob_pre(params: Any, pre: Any, *, event_dims: int = default) -> Tensor:
            """Return the log-density of f(pre), exact even where that value rounds to a bound."""
            return self.log_prob_before(params, pre, event_dims)

        pre_kind: Any = _VECTOR if self.event_dims else Real
        log_prob_pre.__annotations__.update(params=Parameters, pre=pre_kind)
        verb(fit=self.pre_fit)(log_prob_pre)

        @verb(fit=self.fit)
        def support(params: Parameters, *, event_dims: int = default) -> Constraint:
            """Return the support as a constraint: what the bijector makes of the support of the family."""
            own, moving = self.split(params)
            before = family.support(*own, event_dims=0) if self.values.can_split else family.support(*own)
            image: Constraint = bijector.image(*moving)
            if before is constraints.real:
                return supports.of_events(image, event_dims - image.event_dim)
            return supports.scored_events(lambda value: self.log_prob(params, value, event_dims), event_dims)

        if hasattr(family, "kl") and (self.is_elementwise or not bijector.Params._fields):
            self.define_kl(verb)

    def define_kl(self, verb: Definition) -> None:
        family, bijector, default = self.family, self.bijector, self.default
        options = {"event_dims": self.event_dims} if self.values.can_split else {}

        @verb(fit=self.fit)
        def kl(p: Parameters, q: Parameters, *, event_dims: int = default) -> Tensor:
            """Return the Kullback-Leibler divergence in nats, that of the family; NaN where the bijectors differ."""
            (own_p, moving_p), (own_q, moving_q) = self.split(p), self.split(q)
            make = family.Params
            divergence = family.kl(make(*own_p), make(*own_q), **options)
            if moving_p:
                divergence = torch.where(are_equal(bijector, moving_p, moving_q), divergence, torch.nan)
            return self.total(divergence, event_dims)

    def define_cdf(self, verb: Definition, confine: Any) -> None:
        family, bijector = self.family, self.bijector
        mirrored = {"cdf": "survival", "log_cdf": "log_survival", "survival": "cdf", "log_survival": "log_cdf"}
        sentences = {
            "cdf": "Return P(Y <= value), elementwise.",
            "log_cdf": "Return log P(Y <= value), elementwise; finite where the cdf underflows.",
            "survival": "Return P(Y > value), elementwise; other libraries call it `sf`.",
            "log_survival": "Return log P(Y > value), elementwise; finite where the survival underflows.",
        }

        def define_tail(name: str) -> None:
            everything, nothing = (0.0, -torch.inf) if name.startswith("log") else (1.0, 0.0)
            below, above = (nothing, everything) if name.endswith("cdf") else (everything, nothing)

            def function(params: Parameters, value: Real) -> Tensor:
                own, moving = self.split(in_float64(params))
                y = value.double()
                anchor = bijector.forward(*moving, point_inside(family, own)).detach()
                is_inside = bijector.image(*moving).check(y)
                x = bijector.inverse(*moving, torch.where(is_inside, y, anchor))
                inside = torch.where(
                    bijector.is_increasing(*moving),
                    getattr(family, name)(*own, x),
                    getattr(family, mirrored[name])(*own, x),
                )
                outside = torch.where(y < anchor, below, above)
                return nan_of(torch.where(is_inside, inside, outside), y, inside).to(params[0].dtype)

            function.__name__, function.__doc__ = name, sentences[name]
            verb(fit=self.fit)(function)

        for name, other in mirrored.items():
            if hasattr(family, name) and hasattr(family, other):
                define_tail(name)
        if not hasattr(family, "icdf"):
            return

        @verb(fit=self.fit, confine=confine)
        def icdf(params: Parameters, value: Real) -> Tensor:
            """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1]."""
            own, moving = self.split(params)
            x = family.icdf(*own, torch.where(bijector.is_increasing(*moving), value, 1.0 - value))
            return self.forward(moving, torch.where(x.isinf(), x.detach(), x))
