"""Independent repetitions of a value, as one event."""

from collections.abc import Callable
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
    fit_of,
    name_of,
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
    values, own_fit = values_of(family), fit_of(family)
    axis = -1 - values.event_dims

    def fit(*shapes: torch.Size) -> torch.Size:
        whole = torch.broadcast_shapes(*shapes) if own_fit is None else own_fit(*shapes)
        last = max(0, len(whole) - values.shape_dims)
        return torch.Size((*whole[:last], n, *whole[last:]))

    verb = define(family.Params, f"repeated({name_of(family)}, {n})", values_of=family)
    verb.event_axes = values.event_dims + 1
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

    def named(name: str, function: Callable[..., Any], text: str, passes_to: Any = None) -> None:
        function.__name__, function.__doc__ = name, f"Return {text} of {name_of(family)}."
        verb(passes_to=passes_to)(function)

    if hasattr(family, "entropy"):

        def entropy(params: Parameters, **options: Any) -> Tensor:
            result: Tensor = family.entropy(*params, **options)
            # Under `vmap`, compiled code cannot multiply by a number that is a symbol.
            return torch.full_like(result, n) * result

        named("entropy", entropy, "n times the entropy", family.entropy)
    if hasattr(family, "kl"):

        def kl(p: Parameters, q: Parameters, **options: Any) -> Tensor:
            make = family.Params
            result: Tensor = family.kl(make(*p), make(*q), **options)
            return torch.full_like(result, n) * result

        named("kl", kl, "n times the Kullback-Leibler divergence", family.kl)

    def define_repeat(name: str) -> None:
        def function(params: Parameters) -> Tensor:
            wide = getattr(family, name)(*params).unsqueeze(axis)
            shape = list(wide.shape)
            shape[axis] = n
            repeated_result: Tensor = wide.expand(shape)
            return repeated_result

        named(name, function, f"the {name}, n times,")

    for name in _POINTS:
        if hasattr(family, name):
            define_repeat(name)
    return verb
