"""What families restricted to an interval share."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from functional_dists.combinators.intervals import Bounds
from functional_dists.combinators.values import in_float64, require_cdf
from functional_dists.family import (
    Definition,
    Parameters,
    Real,
    define,
    joined_params,
    name_of,
    require,
)
from functional_dists.special import nan_of, search

__all__ = ["Split", "check_bounds", "define_limited", "define_tails", "elements", "minus_p_log_p", "points_of"]

Split = tuple[list[Tensor], Tensor, Tensor]


class Limited(NamedTuple):
    """What a family restricted to an interval is made with."""

    verb: Definition
    split: Callable[[Any], Split]  # the family's own parameters, and the bounds, with all axes of the batch
    wide: Callable[[Any], Split]  # the same in float64


def define_limited(made_by: str, family: Any, **described: Any) -> Limited:
    """Return what a restricted family is made with, whose parameters may be rows, as those of a spline."""
    require_cdf(made_by, family)
    joined = joined_params(family.Params, Bounds)
    of_rows = [joined.__annotations__[name].layout == "matrix" for name in joined._fields]

    def shape_of(*shapes: Sequence[int]) -> torch.Size:
        elements = [shape[:-1] if is_row else shape for shape, is_row in zip(shapes, of_rows, strict=True)]
        return torch.broadcast_shapes(*elements)

    def split(params: Any) -> Split:
        shape = shape_of(*(tensor.shape for tensor in params))
        *own, low, high = (
            tensor.expand((*shape, tensor.shape[-1]) if is_row else shape)
            for tensor, is_row in zip(params, of_rows, strict=True)
        )
        return own, low, high

    verb = define(joined, f"{made_by}({name_of(family)})", **described)
    verb.fit = shape_of if any(of_rows) else None
    return Limited(verb, split, lambda params: split(in_float64(params)))


def elements(own: Sequence[Tensor], like: Tensor) -> list[Tensor]:
    """Return tensors with the axes of the batch alone that are NaN where a parameter is."""
    return [tensor if tensor.ndim <= like.ndim else tensor.sum(-1) for tensor in own]


def check_bounds(family: Any, params: Any, is_ordered: Tensor) -> None:
    """Raise a ValueError that names the parameter of the family, or the bound, and the first bad position."""
    *own, low, high = params
    if hasattr(family, "check"):
        family.check(*own)
    require(~low.isnan(), "low", "must not be NaN")
    require(~high.isnan(), "high", "must not be NaN")
    require(is_ordered, "low", "must be below high")


def points_of(quantile: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """Return quantiles ``(P, *B)`` that split the mass into panels."""
    grid = search.score_grid(like)
    return quantile(grid.reshape(-1, *[1] * like.ndim).expand(-1, *like.shape))


def minus_p_log_p(log_density: Tensor) -> Tensor:
    """Return -p log p of a log-density or log-probability; 0, with no gradient, where it is -inf."""
    is_outside = log_density == -torch.inf
    safe = torch.where(is_outside, 0.0, log_density)
    return torch.where(is_outside, 0.0, -safe.exp() * safe)


def define_tails(limited: Limited, family: Any, moved: Callable[[Tensor], Tensor] = lambda x: x) -> None:
    """Define the cdf and its kin of values that the family has between the bounds, at points that may be moved."""

    def of(name: str, sentence: str) -> None:
        is_cdf = name.endswith("cdf")
        everything, nothing = (0.0, -torch.inf) if name.startswith("log") else (1.0, 0.0)
        below, above = (nothing, everything) if is_cdf else (everything, nothing)

        def function(params: Parameters, value: Real) -> Tensor:
            own, low, high = limited.wide(params)
            x = value.double()
            is_below, is_above = x < low, x >= high
            safe = torch.where(is_below | is_above, family.median(*own).detach(), moved(x))
            inside = getattr(family, name)(*own, safe)
            result = torch.where(is_below, below, torch.where(is_above, above, inside))
            return nan_of(result, *elements(own, low), x, low, high).to(params[0].dtype)

        function.__name__, function.__doc__ = name, sentence
        limited.verb(function)

    of("cdf", "Return P(X <= value), elementwise.")
    of("log_cdf", "Return log P(X <= value), elementwise.")
    of("survival", "Return P(X > value), elementwise; other libraries call it `sf`.")
    of("log_survival", "Return log P(X > value), elementwise.")
