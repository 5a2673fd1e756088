"""Draws with their value before the squashing, which keeps the digits that a stored action loses next to a bound.

A family has such values if it has the verbs `sample_pretanh`, `log_prob_pretanh`, `squash` and `unsquash`.
"""

from typing import Any

import torch  # noqa: F401 (for the examples)
from torch import Tensor

from functional_dists.continuous.tanh_normal import Params
from functional_dists.family import BoundFamily, Real, define
from functional_dists.random import Shape, Source
from functional_dists.special import is_constant

__all__ = ["check_options", "has_pretanh", "of_value", "rsample"]

_VERBS = ("sample_pretanh", "log_prob_pretanh", "squash", "unsquash")


def has_pretanh(family: Any) -> bool:
    """Say whether the values of a family are squashed.

    >>> from functional_dists import normal, tanh_normal
    >>> has_pretanh(tanh_normal), has_pretanh(normal)
    (True, False)
    """
    return all(hasattr(family, name) for name in _VERBS)


def rsample(key: Source, family: Any, params: Any, *, sample_shape: Shape = ()) -> tuple[Any, Any]:
    """Draw what the family's `rsample` draws, and its value before the squashing, both with the pathwise gradient.

    >>> from functional_dists import random, tanh_normal
    >>> rsample(random.key(42), tanh_normal, tanh_normal.Params(torch.zeros(2), 1.0))
    (tensor([-0.7488,  0.1916]), tensor([-0.9702,  0.1940]))
    """
    pre = family.sample_pretanh(key, *params, sample_shape=sample_shape)
    given = _given(family, params)
    if all(name in given for name in Params._fields):
        pre = _with_gradient(given["loc"], given["scale"], given["low"], given["high"], pre)
    return family.squash(pre, *_bounds(family, params)), pre


def of_value(family: Any, params: Any, value: Any, name: str) -> Any:
    """Return the value before the squashing of the point that the verb `name` gives."""
    loc = _given(family, params).get("loc")
    if name in ("deterministic", "median") and isinstance(loc, Tensor) and isinstance(value, Tensor):
        return loc.expand(value.shape)
    return family.unsquash(value, *_bounds(family, params))


def _given(family: Any, params: Any) -> dict[str, Any]:
    """Return all parameters by name, those that are bound too."""
    return {**(family.fixed if isinstance(family, BoundFamily) else {}), **params._asdict()}


def _bounds(family: Any, params: Any) -> list[Any]:
    """Return the parameters that `squash` takes, those that a bound family has not fixed."""
    return [getattr(params, name) for name in ("low", "high") if name in params._fields]


@define(Params)
def _with_gradient(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return a draw of Normal(loc, scale) that is cut from the graph, with its pathwise gradient."""
    if is_constant(loc, scale):
        return value
    noise = ((value - loc) / scale).detach()
    return value + ((loc - loc.detach()) + (scale - scale.detach()) * noise)


def check_options(log_prob_of: str, keep_pretanh: bool) -> None:
    """Raise a ValueError where the options of a step say nothing, or two things.

    >>> check_options("noise", True)
    Traceback (most recent call last):
    ...
    ValueError: keep_pretanh=True scores the value that it stores, with all its digits: drop log_prob_of="noise"
    """
    if log_prob_of not in ("value", "noise"):
        raise ValueError(f'log_prob_of must be "value" or "noise", got {log_prob_of!r}')
    if keep_pretanh and log_prob_of == "noise":
        message = 'keep_pretanh=True scores the value that it stores, with all its digits: drop log_prob_of="noise"'
        raise ValueError(message)
