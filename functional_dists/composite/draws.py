"""Draws of all heads, alone or with their log-probabilities."""

import functools
from collections.abc import Callable
from typing import Any

import torch  # noqa: F401 (for the examples)

from functional_dists.composite.arguments import documented
from functional_dists.composite.sums import aggregated
from functional_dists.composite.visit import HeadCall, Visit
from functional_dists.random.entries import Shape, size_of
from functional_dists.random.keys import Source


@documented
def sample(key: Source, families: Any, params: Any, *, sample_shape: Shape = ()) -> Any:
    """Draw a value of every head, without gradients.

    Each head draws from `fold_in(key, hash of its path)`, so its draw does not depend on the other heads. A single
    family draws from `key` itself. In a chain with a `sample_shape` every sample has a key of its own.

    Returns:
        The values, in the containers of `families`.

    >>> from functional_dists import categorical, random, tanh_normal
    >>> families = {"steer": tanh_normal, "gear": categorical}
    >>> params = {"steer": (torch.zeros(4, 2), 1.0), "gear": (torch.zeros(4, 6),)}
    >>> {name: value.shape for name, value in sample(random.key(42), families, params).items()}
    {'steer': torch.Size([4, 2]), 'gear': torch.Size([4])}
    """
    return draw_heads(functools.partial(draw_twice, "sample"), key, families, params, sample_shape)[0]


@documented
def rsample(key: Source, families: Any, params: Any, *, sample_shape: Shape = ()) -> Any:
    """Draw what `sample` draws, with the pathwise gradient of every head that has one.

    Returns:
        The values, in the containers of `families`. Those of families without `rsample` have no gradient.

    >>> from functional_dists import categorical, normal, random
    >>> loc = torch.zeros((), requires_grad=True)
    >>> value = rsample(random.key(42), (normal, categorical), ((loc, 1.0), (loc * torch.ones(3),)))
    >>> [part.requires_grad for part in value]
    [True, False]
    """
    return draw_heads(functools.partial(draw_twice, "rsample"), key, families, params, sample_shape)[0]


@documented
def sample_and_log_prob(
    key: Source, families: Any, params: Any, *, sample_shape: Shape = (), aggregate: bool = True
) -> tuple[Any, Any]:
    """Draw what `sample` draws, with its log-probability, which has the gradient of the score function.

    Returns:
        The values, and their log-probability as `log_prob` returns it.

    >>> from functional_dists import categorical, random
    >>> sample_and_log_prob(random.key(42), {"gear": categorical}, {"gear": (torch.zeros(6),)})[1]
    tensor(-1.7918)
    """
    value, scores = draw_heads(functools.partial(_draw_and_score, "sample"), key, families, params, sample_shape)
    return value, aggregated(scores, aggregate)


@documented
def rsample_and_log_prob(
    key: Source, families: Any, params: Any, *, sample_shape: Shape = (), aggregate: bool = True
) -> tuple[Any, Any]:
    """Draw what `rsample` draws, with its log-probability.

    Returns:
        The values, and their log-probability as `log_prob` returns it.

    >>> from functional_dists import normal, random
    >>> rsample_and_log_prob(random.key(42), normal, (torch.zeros(()), 1.0))
    (tensor(-0.9702), tensor(-1.3896))
    """
    value, scores = draw_heads(functools.partial(_draw_and_score, "rsample"), key, families, params, sample_shape)
    return value, aggregated(scores, aggregate)


def draw_heads(draw: Callable[..., Any], key: Source, families: Any, params: Any, sample_shape: Shape) -> Any:
    """Return two pytrees of what `draw(family, key, *params, sample_shape=)` returns for every head: a pair."""

    def at_head(call: HeadCall, family: Any, params: Any) -> Any:
        return draw(family, call.key, *params, sample_shape=call.sample_shape)

    return Visit(at_head, source=key, sample_shape=size_of(sample_shape, "sample_shape"))(families, (params,))


def draw_twice(name: str, family: Any, *arguments: Any, sample_shape: Shape) -> tuple[Any, Any]:
    """Draw a value, without gradients if the family has no `rsample`, and return it as both of a pair."""
    value = getattr(family, _supported(name, family))(*arguments, sample_shape=sample_shape)
    return value, value


def _draw_and_score(
    name: str, family: Any, key: Source, *params: Any, sample_shape: tuple[int, ...]
) -> tuple[Any, Any]:
    pair = getattr(family, f"{_supported(name, family)}_and_log_prob", None)
    if pair is not None:
        return pair(key, *params, sample_shape=sample_shape)
    value, _ = draw_twice(name, family, key, *params, sample_shape=sample_shape)
    return value, family.log_prob(*params, value)


def _supported(name: str, family: Any) -> str:
    return name if hasattr(family, name) else "sample"
