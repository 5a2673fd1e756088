"""Points of a joint distribution that need no draw: mode, mean, median and the deterministic action."""

from typing import Any

import torch  # noqa: F401 (for the examples)

from functional_dists.composite.arguments import documented
from functional_dists.composite.verbs import per_head


@documented
def mode(families: Any, params: Any) -> Any:
    """Return the value of the highest probability or density of every head.

    In a chain each head takes its mode given the modes of the earlier heads. That need not be the mode of the joint
    distribution.

    Returns:
        The values, in the containers of `families`.

    Raises:
        NotImplementedError: a family has no `mode`.

    >>> from functional_dists import categorical, normal
    >>> mode([categorical, normal], [(torch.tensor([0.0, 1.0]),), (torch.ones(()), 1.0)])
    [tensor(1), tensor(1.)]
    """
    return per_head("mode", families, params)


@documented
def deterministic(families: Any, params: Any) -> Any:
    """Return what a policy plays when it does not explore, in a chain head by head.

    Returns:
        The values, in the containers of `families`.

    Raises:
        NotImplementedError: a family has no `deterministic`.

    >>> from functional_dists import tanh_normal
    >>> deterministic({"steer": tanh_normal}, {"steer": (torch.tensor([0.0, 9.0]), 1.0)})
    {'steer': tensor([0.0000, 1.0000])}
    """
    return per_head("deterministic", families, params)


@documented
def mean(families: Any, params: Any) -> Any:
    """Return the mean of every head.

    Returns:
        The means, in the containers of `families`.

    Raises:
        NotImplementedError: a family has no `mean`, or a head is a chain.

    >>> from functional_dists import normal
    >>> mean({"x": normal}, {"x": (torch.ones(2), 1.0)})
    {'x': tensor([1., 1.])}
    """
    return per_head("mean", families, params)


@documented
def median(families: Any, params: Any) -> Any:
    """Return the median of every element of every head.

    Returns:
        The medians, in the containers of `families`.

    Raises:
        NotImplementedError: a family has no `median`, or a head is a chain.

    >>> from functional_dists import normal
    >>> median({"x": normal}, {"x": (torch.ones(2), 1.0)})
    {'x': tensor([1., 1.])}
    """
    return per_head("median", families, params)
