"""Independent repetitions of a value, as one event."""

from typing import Any

import torch
from torch import Tensor

from functional_dists.combinators.values import require_family, values_of
from functional_dists.family import (
    Definition,
    Parameters,
    Value,
    combinator,
    define,
    name_of,
    specification_of,
)
from functional_dists.family.reprs import shown
from functional_dists.random import Shape, Source
from functional_dists.random.entries import size_of

__all__ = ["repeated"]

_DRAWS = ("rsample", "rsample_and_log_prob", "sample", "sample_and_log_prob")
_POINTS = ("deterministic", "mean", "median", "mode", "stddev", "variance")


@combinator
def repeated(family: Any, n: int) -> Definition:
    """Return the family of n independent values with the same parameters.

    Args:
        family: A family. An event of the new family has the shape (n, *event).
        n: The number of values, at least 1.

    Returns:
        A family with the parameters of `family`. Values have shape (*batch, n, *event); scores are summed over the n.

    Raises:
        TypeError: `family` is not a family, or `n` no int.
        ValueError: `n` is below 1.

    >>> from functional_dists import normal, random
    >>> repeated(normal, 3).sample(random.key(0), torch.zeros(2), 1.0).shape
    torch.Size([2, 3])
    """
    require_family("repeated", family)
    if not isinstance(n, int):
        raise TypeError(f"repeated: n must be an int, got {shown(n)}")
    if n < 1:
        raise ValueError(f"repeated: n must be at least 1, got {n}")
    values, spec = values_of(family), specification_of(family.log_prob)
    param_dims = 1 if values.are_indices else values.event_dims
    axis = -1 - values.event_dims
    family_fit = None if spec is None else spec.fit

    def fit(*shapes: torch.Size) -> torch.Size:
        whole = torch.broadcast_shapes(*shapes) if family_fit is None else family_fit(*shapes)
        last = max(0, len(whole) - param_dims)
        return torch.Size((*whole[:last], n, *whole[last:]))

    verb = define(family.Params, f"repeated({name_of(family)}, {n})", values_of=family)
    if hasattr(family, "check"):
        verb.inherit(family, "check")

    def define_draw(name: str) -> None:
        def function(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> Any:
            samples = size_of(sample_shape)
            drawn = getattr(family, name)(key, *params, sample_shape=(*samples, n))
            value, *scores = drawn if isinstance(drawn, tuple) else (drawn,)
            value = value.movedim(len(samples), value.ndim + axis)  # from the axes of samples to those of the event
            return (value, scores[0].sum(len(samples))) if scores else value

        function.__name__ = name
        function.__doc__ = f"Draw n values, as `{name}` of {name_of(family)} does."
        verb(fit=fit)(function)

    for name in _DRAWS:
        if hasattr(family, name):
            define_draw(name)

    @verb(fit=fit)
    def log_prob(params: Parameters, value: Value) -> Tensor:
        """Return the log-prob of n values."""
        front = value.movedim(axis, 0)  # the axis of repetitions becomes one of samples
        score: Tensor = family.log_prob(*params, front, **values.options)
        return score.sum(0)

    def define_multiple(name: str) -> None:
        doc = f"Return n times the {name} of {name_of(family)}."
        verb.mapped(getattr(family, name), lambda result: n * result, doc)

    for name in ("entropy", "kl"):
        if hasattr(family, name):
            define_multiple(name)

    def define_repeat(name: str) -> None:
        def repeat(result: Tensor) -> Tensor:
            wide = result.unsqueeze(axis)
            shape = list(wide.shape)
            shape[axis] = n
            return wide.expand(shape)

        verb.mapped(getattr(family, name), repeat, f"Return the {name} of {name_of(family)}, n times.")

    for name in _POINTS:
        if hasattr(family, name):
            define_repeat(name)
    return verb
