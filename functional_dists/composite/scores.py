"""Log-probabilities of values, their cumulative probabilities, and the inverse of these."""

from typing import Any

import torch  # noqa: F401 (for the examples)

from functional_dists.composite.arguments import documented
from functional_dists.composite.sums import aggregated
from functional_dists.composite.verbs import per_head, verb_of
from functional_dists.composite.visit import HeadCall, Visit


@documented
def log_prob(families: Any, params: Any, value: Any, *, aggregate: bool = True) -> Any:
    """Return the log-probability of a value.

    Returns:
        A tensor of the leading shape that the heads share; without `aggregate` a pytree with a tensor for every head.

    Raises:
        NotImplementedError: a family has no `log_prob`.

    >>> from functional_dists import categorical
    >>> families = {"unit": categorical, "orders": categorical}
    >>> params = {"unit": (torch.zeros(4, 2),), "orders": (torch.zeros(4, 3, 2),)}
    >>> value = {"unit": torch.zeros(4, dtype=torch.int64), "orders": torch.ones(4, 3, dtype=torch.int64)}
    >>> log_prob(families, params, value)
    tensor([-2.7726, -2.7726, -2.7726, -2.7726])
    """
    return aggregated(per_head("log_prob", families, params, value), aggregate)


@documented
def cdf(families: Any, params: Any, value: Any) -> Any:
    """Return the cumulative probability of every element; in a chain it is conditional on the earlier values.

    Returns:
        The probabilities, in the containers of `families`.

    Raises:
        NotImplementedError: a family has no `cdf`.

    >>> from functional_dists import normal
    >>> cdf({"x": normal}, {"x": (torch.zeros(2), 1.0)}, {"x": torch.zeros(2)})
    {'x': tensor([0.5000, 0.5000])}
    """
    return per_head("cdf", families, params, value)


@documented
def icdf(families: Any, params: Any, value: Any) -> Any:
    """Return the quantile of every element; in a chain it is conditional on the earlier quantiles, and inverts `cdf`.

    Returns:
        The values, in the containers of `families`.

    Raises:
        NotImplementedError: a family has no `icdf`.

    >>> from functional_dists import normal
    >>> icdf({"x": normal}, {"x": (torch.ones(2), 1.0)}, {"x": torch.full((2,), 0.5)})
    {'x': tensor([1., 1.])}
    """

    def at_head(call: HeadCall, family: Any, params: Any, probability: Any) -> tuple[Any, Any]:
        quantile = verb_of(family, "icdf", call.path)(*params, probability)
        return quantile, quantile

    return Visit(at_head)(families, (params,), (value,))[1]
