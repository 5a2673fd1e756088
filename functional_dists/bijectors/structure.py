"""What combinators ask about bijectors: their axes, their parts, and whether one is the inverse of another."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from functional_dists.family import made_by, specification_of
from functional_dists.family.reprs import shown

__all__ = [
    "added_entries",
    "are_equal",
    "event_dims_of",
    "has_block",
    "num_params",
    "require_bijector",
    "same",
    "split",
    "sum_vector",
]


def event_dims_of(bijector: Any) -> int:
    """Return how many axes one event of a bijector has: 0 if it maps every element, 1 if it maps vectors.

    >>> from functional_dists.bijectors import simplex, tanh
    >>> event_dims_of(tanh), event_dims_of(simplex)
    (0, 1)
    """
    spec = specification_of(bijector.forward)
    return int(spec is not None and spec.value_layout == "vector")


def require_bijector(function: str, bijector: Any) -> None:
    """Raise a TypeError if this is no bijector."""
    if not (hasattr(bijector, "Params") and hasattr(bijector, "inverse_log_det")):
        raise TypeError(f"{function}: takes bijectors, such as functional_dists.bijectors.tanh, got {shown(bijector)}")


def same(one: Any, other: Any) -> bool:
    """Return whether two bijectors are one, or are made of the same by the same combinator.

    >>> from functional_dists.bijectors import exp, invert, tanh
    >>> same(invert(tanh), invert(tanh)), same(tanh, exp)
    (True, False)
    """
    if one is other:
        return True
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    made = made_by(one)
    return bool(made[0]) and same(made[1], made_by(other)[1]) and made[0] == made_by(other)[0]


def added_entries(bijector: Any) -> int:
    """Return how many entries `forward` adds to the last axis.

    >>> from functional_dists.bijectors import chain, exp, invert, simplex
    >>> added_entries(chain(exp, simplex)), added_entries(invert(simplex))
    (1, -1)
    """
    function, arguments = made_by(bijector)
    if function == "invert":
        return -added_entries(arguments[0])
    parts = arguments[0] if function == "block" else arguments if function == "chain" else ()
    if parts:
        return sum(map(added_entries, parts))
    return int(getattr(getattr(bijector, "family", bijector), "ADDED_ENTRIES", 0))


def has_block(bijector: Any) -> bool:
    """Return whether the parameters belong to slices of the last axis, and so do not broadcast with the value."""
    function, arguments = made_by(bijector)
    return function == "block" or (function in ("chain", "invert") and any(map(has_block, arguments)))


def num_params(*bijectors: Any) -> int:
    """Return how many parameters bijectors have together."""
    return sum(len(bijector.Params._fields) for bijector in bijectors)


def split(params: Sequence[Any], counts: Sequence[int]) -> list[Sequence[Any]]:
    """Return consecutive parts of the parameters.

    >>> split((1, 2, 3), (2, 1))
    [(1, 2), (3,)]
    """
    found, start = [], 0
    for count in counts:
        found.append(params[start : start + count])
        start += count
    return found


def are_equal(bijector: Any, some: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Return where the parameters of two bijectors of one kind are equal: for each element, or (..., 1) for vectors."""
    spec: Any = specification_of(bijector.forward)
    is_of_vectors = event_dims_of(bijector) or has_block(bijector)
    equal = torch.tensor(True, device=some[0].device)
    for argument, one, other in zip(spec.arguments, some, others, strict=False):
        here = one == other
        for _ in range(min(here.ndim, argument.kind.layout == "matrix")):
            here = here.all(-1)
        if is_of_vectors and here.ndim:
            here = here.all(-1, keepdim=True)
        equal = equal & here
    return equal


def sum_vector(bijector: Any, event_dims: int, log_det: Tensor) -> Tensor:
    """Return the log-determinant of a bijector, summed over the last axis if that is an event of elements."""
    return log_det.sum(-1) if event_dims > event_dims_of(bijector) else log_det
