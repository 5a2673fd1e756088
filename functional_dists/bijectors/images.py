"""The sets onto which chains and blocks of bijectors map."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from functional_dists.bijectors.structure import event_dims_of, has_block
from functional_dists.special.support import of_events, open_interval

__all__ = ["image_through", "sliced"]


def image_through(parts: Sequence[tuple[Any, Sequence[Any]]], event_dims: int) -> Constraint:
    """Return the image of bijectors, given with their parameters, one after the other.

    >>> from functional_dists.bijectors import affine, exp
    >>> image_through([(exp, ()), (affine, (torch.tensor(2.0), torch.tensor(-1.0)))], 0).check(torch.tensor([0.0, 3.0]))
    tensor([ True, False])
    """
    found: Constraint = constraints.real
    for bijector, params in parts:
        found = _through(found, bijector, params)
    return of_events(found, event_dims - found.event_dim)


def _through(inner: Constraint, bijector: Any, params: Sequence[Any]) -> Constraint:
    """Return the image of a set."""
    outer: Constraint = bijector.image(*params)
    if _is_everything(inner):
        return outer
    ends, limits = _ends(inner), _ends(outer)
    if event_dims_of(bijector) or has_block(bijector) or ends is None or limits is None:
        return _Image(inner, bijector, params, outer)
    increases = bijector.is_increasing(*params)
    found = []
    for number in (0, 1):
        end = torch.where(increases, ends[number], ends[1 - number])
        is_infinite = end.isinf()
        inside = bijector.forward(*params, torch.where(is_infinite, 1.0, end))
        found.append(torch.where(is_infinite, limits[number].to(inside.dtype), inside))
    return open_interval(found[0], found[1])


def _is_everything(constraint: Constraint) -> bool:
    return constraint is constraints.real or getattr(constraint, "base_constraint", None) is constraints.real


def _ends(constraint: Constraint) -> tuple[Tensor, Tensor] | None:
    """Return the ends of an interval in float64; None for another set."""
    if constraint is constraints.real:
        ends = -math.inf, math.inf
    elif isinstance(constraint, type(constraints.positive)):
        ends = constraint.lower_bound, math.inf
    elif isinstance(constraint, constraints.interval):
        ends = constraint.lower_bound, constraint.upper_bound
    else:
        return None
    low, high = (torch.as_tensor(end, dtype=torch.float64) for end in ends)
    return low, high


class _Image(Constraint):
    """The values of a bijector on a set, found by its inverse."""

    def __init__(self, inner: Constraint, bijector: Any, params: Sequence[Any], outer: Constraint) -> None:
        self.inner, self.bijector, self.params, self.outer = inner, bijector, params, outer

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return max(self.inner.event_dim, self.outer.event_dim)

    def check(self, value: Tensor) -> Tensor:
        before = self.bijector.inverse(*self.params, value)
        more = self.event_dim
        is_inside = of_events(self.inner, more - self.inner.event_dim).check(before)
        return is_inside & of_events(self.outer, more - self.outer.event_dim).check(value)

    def __repr__(self) -> str:
        return f"Image({self.inner!r}, {self.bijector!r})"


def sliced(parts: Sequence[Constraint], sizes: Sequence[int], event_dims: int) -> Constraint:
    """Return the constraint on consecutive slices of the last axis.

    >>> sliced([constraints.positive, constraints.real], [1, 2], 0).check(torch.tensor([-1.0, -1.0, -1.0]))
    tensor([False,  True,  True])
    """
    return _Slices(parts, sizes, event_dims)


class _Slices(Constraint):
    """Vectors whose slices satisfy a constraint each."""

    def __init__(self, parts: Sequence[Constraint], sizes: Sequence[int], event_dims: int) -> None:
        self.parts, self.sizes, self.events = tuple(parts), tuple(sizes), event_dims

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.events

    def check(self, value: Tensor) -> Tensor:
        given = zip(self.parts, value.split(self.sizes, -1), strict=True)
        if not self.events:
            return torch.cat([part.check(own) for part, own in given], -1)
        return torch.stack([of_events(part, 1 - part.event_dim).check(own) for part, own in given]).all(0)

    def __repr__(self) -> str:
        return f"Slices({self.parts!r}, {self.sizes!r})"
