"""Values before the squashing by tanh, for the heads that squash: their draws, scores and points."""

from typing import Any

import torch  # noqa: F401 (for the examples)

from functional_dists.composite.arguments import documented
from functional_dists.composite.draws import draw_heads, draw_twice
from functional_dists.composite.pretanh import has_pretanh, pretanh_of, rsample_with_pretanh
from functional_dists.composite.sums import aggregated
from functional_dists.composite.verbs import log_prob_verb
from functional_dists.composite.visit import HeadCall, Visit
from functional_dists.random.entries import Shape
from functional_dists.random.keys import Source


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
