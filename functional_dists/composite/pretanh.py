"""Pre-tanh values: the values of a draw before the squashing. They keep digits that an action near a bound loses.

A family has them if it has the verbs `sample_pretanh`, `log_prob_pretanh`, `squash` and `unsquash`.
"""

from typing import Any

import torch  # noqa: F401 (for the examples)
from torch import Tensor

from functional_dists.composite.arguments import documented
from functional_dists.composite.draws import draw_heads, draw_twice
from functional_dists.composite.sums import aggregated
from functional_dists.composite.verbs import log_prob_verb
from functional_dists.composite.visit import HeadCall, Visit
from functional_dists.continuous.tanh_normal import Params
from functional_dists.family import BoundFamily, Real, define
from functional_dists.random.entries import Shape
from functional_dists.random.keys import Source

_VERBS = ("sample_pretanh", "log_prob_pretanh", "squash", "unsquash")


def has_pretanh(family: Any) -> bool:
    """Say whether a family has pre-tanh values.

    >>> from functional_dists import normal, tanh_normal
    >>> has_pretanh(tanh_normal), has_pretanh(normal)
    (True, False)
    """
    return all(hasattr(family, name) for name in _VERBS)


def rsample_with_pretanh(key: Source, family: Any, params: Any, *, sample_shape: Shape = ()) -> tuple[Any, Any]:
    """Draw what the family's `rsample` draws, and its pre-tanh value, both with the pathwise gradient.

    >>> from functional_dists import random, tanh_normal
    >>> rsample_with_pretanh(random.key(42), tanh_normal, tanh_normal.Params(torch.zeros(2), 1.0))
    (tensor([-0.7488,  0.1916]), tensor([-0.9702,  0.1940]))
    """
    pre = family.sample_pretanh(key, *params, sample_shape=sample_shape)
    named = _all_params(family, params)
    if all(name in named for name in Params._fields):
        pre = _with_gradient(named["loc"], named["scale"], named["low"], named["high"], pre)
    return family.squash(pre, *_bounds(family, params)), pre


def pretanh_of(family: Any, params: Any, value: Any, name: str) -> Any:
    """Return the pre-tanh value of a point; `name` is the verb that returned the point."""
    loc = _all_params(family, params).get("loc")
    if name in ("deterministic", "median") and isinstance(loc, Tensor) and isinstance(value, Tensor):
        return loc.expand(value.shape)
    return family.unsquash(value, *_bounds(family, params))


def _all_params(family: Any, params: Any) -> dict[str, Any]:
    """Return all parameters by name, including those that `bind` fixed."""
    return {**(family.fixed if isinstance(family, BoundFamily) else {}), **params._asdict()}


def _bounds(family: Any, params: Any) -> list[Any]:
    """Return the bounds that `squash` takes: those that `bind` has not fixed."""
    return [getattr(params, name) for name in ("low", "high") if name in params._fields]


@define(Params)
def _with_gradient(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return a detached draw of Normal(loc, scale) with its pathwise gradient."""
    noise = ((value - loc) / scale).detach()
    return value + ((loc - loc.detach()) + (scale - scale.detach()) * noise)


def check_score_options(log_prob_of: str, keep_pretanh: bool) -> None:
    """Raise a ValueError if an option of a step is unknown, or two options contradict each other.

    >>> check_score_options("noise", True)
    Traceback (most recent call last):
    ...
    ValueError: keep_pretanh=True scores the value that it stores: leave out log_prob_of="noise"
    """
    if log_prob_of not in ("value", "noise"):
        raise ValueError(f'log_prob_of must be "value" or "noise", got {log_prob_of!r}')
    if keep_pretanh and log_prob_of == "noise":
        raise ValueError('keep_pretanh=True scores the value that it stores: leave out log_prob_of="noise"')


# --------------------------------------------------------------------------------------------- composites of families
@documented
def rsample_pretanh(key: Source, families: Any, params: Any, *, sample_shape: Shape = ()) -> tuple[Any, Any]:
    """Draw what `rsample` draws, with the values before the squashing, which `log_prob_pretanh` scores exactly.

    Returns:
        The values, and the values before the squashing. Heads that do not squash have the same value in both.

    >>> from functional_dists import categorical, random, tanh_normal
    >>> params = {"steer": (torch.zeros(2), 1.0), "gear": (torch.zeros(6),)}
    >>> value, pre = rsample_pretanh(random.key(42), {"steer": tanh_normal, "gear": categorical}, params)
    >>> torch.equal(value["steer"], tanh_normal.squash(pre["steer"], -1.0, 1.0)), pre["gear"] is value["gear"]
    (True, True)
    """
    return draw_heads(_draw, key, families, params, sample_shape)


@documented
def log_prob_pretanh(families: Any, params: Any, value: Any, pre: Any, *, aggregate: bool = True) -> Any:
    """Return the log-probability of what `rsample_pretanh` draws; heads that squash score the pre-tanh value.

    A head that `bind` fixed to relaxed draws scores a relaxed vector, as its `rsample` draws one.

    Returns:
        What `log_prob` returns.

    >>> from functional_dists import random, tanh_normal
    >>> value, pre = rsample_pretanh(random.key(42), [tanh_normal], [(torch.full((1,), 20.0), 1.0)])
    >>> log_prob_pretanh([tanh_normal], [(torch.full((1,), 20.0), 1.0)], value, pre)
    tensor(37.5167)
    """

    def at_head(call: HeadCall, family: Any, params: Any, value: Any, pre: Any) -> tuple[Any, Any]:
        if pre is None or not has_pretanh(family):
            return value, log_prob_verb(family, call.path)(*params, value)
        return value, family.log_prob_pretanh(*params, pre)

    return aggregated(Visit(at_head)(families, (params,), (value, pre))[1], aggregate)


@documented
def pretanh_of_point(families: Any, params: Any, value: Any, name: str) -> Any:
    """Return the values before the squashing of what `mode`, `deterministic`, `mean` or `median` returned.

    Returns:
        The values before the squashing, in the containers of `families`; None for heads that do not squash.

    >>> from functional_dists import tanh_normal
    >>> from functional_dists.composite import deterministic
    >>> params = [(torch.full((1,), 20.0), 1.0)]
    >>> pretanh_of_point([tanh_normal], params, deterministic([tanh_normal], params), "deterministic")
    [tensor([20.])]
    """

    def at_head(call: HeadCall, family: Any, params: Any, value: Any) -> tuple[Any, Any]:
        return value, pretanh_of(family, params, value, name) if has_pretanh(family) else None

    return Visit(at_head)(families, (params,), (value,))[1]


def _draw(family: Any, key: Source, *params: Any, sample_shape: tuple[int, ...]) -> tuple[Any, Any]:
    if has_pretanh(family):
        return rsample_with_pretanh(key, family, family.Params(*params), sample_shape=sample_shape)
    return draw_twice("rsample", family, key, *params, sample_shape=sample_shape)
