"""The sets on which log-probabilities are finite, as constraints like those of `torch.distributions.constraints`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to

from functional_dists.special import one_hot, softmax
from functional_dists.special.interval import off_bounds

__all__ = [
    "allowed",
    "of_events",
]
__dir__ = __all__.copy  # what tab completion shows

Constraint = constraints.Constraint


def of_events(constraint: Constraint, event_dims: int) -> Constraint:
    """Return the constraint on events all of whose elements satisfy the given constraint.

    >>> of_events(constraints.real, 1).check(torch.tensor([[0.0, 1.0], [0.0, torch.nan]]))
    tensor([ True, False])
    """
    return constraints.independent(constraint, event_dims) if event_dims else constraint


# ------------------------------------------------------------------------------------------------------ real numbers
class _OpenInterval(constraints.interval):
    """The open interval between two bounds.

    >>> open_interval(-1.0, 1.0).check(torch.tensor([-1.0, 0.0]))
    tensor([False,  True])
    """

    def __init__(self, low: Any, high: Any) -> None:
        self.lower_bound, self.upper_bound = low, high

    def check(self, value: Tensor) -> Tensor:
        return (self.lower_bound < value) & (value < self.upper_bound)


class _RoundedInterval(_OpenInterval):
    """The open interval between two bounds, and the floats that its elements may round to.

    >>> rounded_interval(torch.tensor(-1.0), torch.tensor(1.0)).check(torch.tensor([-1.0, 1.1]))
    tensor([ True, False])
    """

    def check(self, value: Tensor) -> Tensor:
        return super().check(off_bounds(value, self.lower_bound, self.upper_bound))


class _FiniteInterval(_OpenInterval):
    """The finite numbers in the closed interval between two bounds, which may be infinite.

    >>> finite_interval(-1.0, torch.inf).check(torch.tensor([-1.0, torch.inf]))
    tensor([ True, False])
    """

    def check(self, value: Tensor) -> Tensor:
        return (self.lower_bound <= value) & (value <= self.upper_bound) & (value.abs() < torch.inf)


class _Point(Constraint):
    """The numbers within `atol + rtol |point|` of a point.

    >>> point(torch.tensor(2.0), 1e-6, 1e-6).check(torch.tensor([2.0, 2.1]))
    tensor([ True, False])
    """

    def __init__(self, point: Tensor, atol: float | Tensor, rtol: float | Tensor) -> None:
        self.point, self.atol, self.rtol = point, atol, rtol

    def check(self, value: Tensor) -> Tensor:
        return (value - self.point).abs() <= self.atol + self.rtol * self.point.abs()

    def __repr__(self) -> str:
        return f"Point(point={self.point}, atol={self.atol}, rtol={self.rtol})"


class _Increasing(Constraint):
    """The vectors whose entries are finite and increase.

    >>> increasing.check(torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    tensor([ True, False])
    """

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value[..., 1:] > value[..., :-1]).all(-1) & value.isfinite().all(-1)

    def __repr__(self) -> str:
        return "increasing"


# ---------------------------------------------------------------------------------------------------------- outcomes
class _Outcomes(constraints.integer_interval):
    """The integers among 0, ..., N - 1 that a table ``(*B, N)`` of booleans allows, in any dtype.

    Values have shape ``(*S, *B)``. If their shape does not broadcast with B, each value must be allowed in all rows.

    >>> outcomes(torch.tensor([True, False, True])).check(torch.tensor([0, 1, 2, 3]))
    tensor([ True, False,  True, False])
    """

    def __init__(self, allowed: Tensor) -> None:
        self.lower_bound, self.upper_bound = 0, allowed.shape[-1] - 1
        self.allowed = allowed

    def check(self, value: Tensor) -> Tensor:
        exists = (value % 1 == 0) & (value >= 0) & (value <= self.upper_bound)
        index = torch.where(exists, value, 0).long()
        allowed = self.allowed
        batch = allowed.shape[:-1]
        if any(a != b and a != 1 and b != 1 for a, b in zip(reversed(value.shape), reversed(batch), strict=False)):
            allowed, batch = allowed.reshape(-1, allowed.shape[-1]).all(0), torch.Size()
        shape = torch.broadcast_shapes(index.shape, batch)
        is_allowed = allowed.expand(*shape, allowed.shape[-1]).gather(-1, index.expand(shape)[..., None])
        return exists & is_allowed.squeeze(-1)


class _Scored(constraints.integer_interval):
    """The integers among 0, ..., N - 1 whose log-probability is finite, by a function that scores int64 values.

    >>> scored(lambda value: torch.where(value < 2, 0.0, -torch.inf), 3).check(torch.tensor([0.0, 0.5, 2.0, 7.0]))
    tensor([ True, False, False, False])
    """

    def __init__(self, log_prob: Callable[[Tensor], Tensor], count: int) -> None:
        self.lower_bound, self.upper_bound, self.log_prob = 0, count - 1, log_prob

    def check(self, value: Tensor) -> Tensor:
        is_integer = value % 1 == 0
        return is_integer & self.log_prob(torch.where(is_integer, value, -1).long()).isfinite()


class _ScoredEvents(Constraint):
    """The values whose log-probability is finite, by a function that scores events of some axes.

    >>> scored_events(lambda value: torch.where(value < 2, 0.0, -torch.inf), 0).check(torch.tensor([0.0, 2.0]))
    tensor([ True, False])
    """

    def __init__(self, log_prob: Callable[[Tensor], Tensor], event_dims: int) -> None:
        self.log_prob, self._event_dims = log_prob, event_dims

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self._event_dims

    def check(self, value: Tensor) -> Tensor:
        return self.log_prob(value).isfinite()


class _ScoredVectors(Constraint):
    """The vectors of integers whose log-probability is finite, by a function that scores int64 vectors.

    >>> scored_vectors(lambda value: -value.sum(-1).double()).check(torch.tensor([[0.0, 2.0], [0.5, 1.0]]))
    tensor([ True, False])
    """

    is_discrete, event_dim = True, 1

    def __init__(self, log_prob: Callable[[Tensor], Tensor]) -> None:
        self.log_prob = log_prob

    def check(self, value: Tensor) -> Tensor:
        is_integer = value % 1 == 0
        return is_integer.all(-1) & self.log_prob(torch.where(is_integer, value, -1).long()).isfinite()


class _Tokens(_Outcomes):
    """The tokens that a table ``(*B, V)`` allows, `ignore_index`, and any token where `position` is false.

    >>> table, position = torch.ones(2, 5, dtype=torch.bool), torch.tensor([True, False])
    >>> tokens(table, position, -100).check(torch.tensor([[4, 5], [-100, 9], [5, 0]]))
    tensor([[ True,  True],
            [ True,  True],
            [False,  True]])
    """

    def __init__(self, allowed: Tensor, position: Tensor | None, ignore_index: int) -> None:
        super().__init__(allowed)
        self.position, self.ignore_index = position, ignore_index

    def check(self, value: Tensor) -> Tensor:
        scored = super().check(value) | (value == self.ignore_index)
        return scored if self.position is None else scored | ~self.position


class _OneHotOutcomes(type(constraints.one_hot)):  # type: ignore[misc]
    """The one-hot vectors of the outcomes that a table ``(*B, N)`` allows.

    >>> one_hot_outcomes(torch.tensor([True, False])).check(torch.tensor([[1, 0], [0, 1], [1, 1]]))
    tensor([ True, False, False])
    """

    def __init__(self, allowed: Tensor) -> None:
        self.allowed = allowed
        self.outcomes = _Outcomes(allowed)

    def check(self, value: Tensor) -> Tensor:
        outcome, is_nan = one_hot.decoded(value)
        is_allowed = self.outcomes.check(outcome)
        return is_allowed if is_nan is None else is_allowed & ~is_nan


increasing = _Increasing()
open_interval, rounded_interval, finite_interval, point = _OpenInterval, _RoundedInterval, _FiniteInterval, _Point
outcomes, one_hot_outcomes, scored, tokens = _Outcomes, _OneHotOutcomes, _Scored, _Tokens
scored_events, scored_vectors = _ScoredEvents, _ScoredVectors


def allowed(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return the table ``(*B, N)`` of the outcomes whose log-probability is finite.

    >>> allowed(torch.tensor([0.0, -torch.inf]), None)
    tensor([ True, False])
    """
    return softmax.log_probs(softmax.terms(logits.detach(), mask)).isfinite()


def _register(interval: Any) -> None:
    # PyTorch looks up a bijection by the exact class of the constraint. That of an interval excludes the bounds.
    for registry in (biject_to, transform_to):
        registry.register(interval, lambda c, onto=registry: onto(constraints.interval(c.lower_bound, c.upper_bound)))


for _interval in (_OpenInterval, _RoundedInterval, _FiniteInterval):
    _register(_interval)
