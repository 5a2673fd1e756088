"""Discrete families made of the table of another one: mixed with the uniform distribution, greedy, at a temperature.

The table of logits is changed, and a masked categorical is made of it.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from functional_dists.combinators.values import require_outcomes
from functional_dists.discrete import masked_categorical
from functional_dists.family import Definition, Index, combinator, define, fit_of, name_of, verbs
from functional_dists.special import search, softmax

__all__ = ["greedy", "softened", "with_uniform"]

Table = tuple[Tensor, Tensor]
_VALUE = "Outcomes, integers of shape (*sample, *batch): they may add leading axes to the batch."
_SAMPLE = "Outcomes, int64, of shape (*sample_shape, *batch)."


@combinator
def with_uniform(family: Any, epsilon: float) -> Definition:
    """Return the mixture of a discrete family with the uniform distribution over its possible outcomes.

    `with_uniform(categorical, 0.01)` is the "unimix" of DreamerV3 (Hafner et al., 2023), and
    `with_uniform(greedy(categorical), 0.1)` an epsilon-greedy policy over action values.

    Args:
        family: A discrete family with outcomes 0, ..., N - 1. All outcomes are possible that no mask and no indices
            exclude.
        epsilon: The weight of the uniform distribution, between 0 and 1.

    Returns:
        A family with the parameters of `family`.

    Raises:
        TypeError: `family` has no table of logits, or its values are not outcomes of a row.
        ValueError: `epsilon` is not between 0 and 1.

    >>> from functional_dists import categorical
    >>> with_uniform(categorical, 0.1).probs(torch.tensor([0.0, -torch.inf]))
    tensor([0.9500, 0.0500])
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"with_uniform: epsilon must lie between 0 and 1, got {epsilon}")
    log_rest = math.log1p(-epsilon) if epsilon < 1 else -math.inf
    log_epsilon = math.log(epsilon) if epsilon > 0 else -math.inf

    def change(logits: Tensor, mask: Tensor) -> Table:
        own = softmax.log_probs(softmax.terms(logits, mask)) + log_rest
        even = (log_epsilon - mask.sum(-1, keepdim=True).clamp(min=1).to(logits.dtype).log()).expand(own.shape)
        return search.log_sum_of_exps(torch.stack([own, even]), 0), mask

    return _with_table(f"with_uniform({name_of(family)}, {epsilon})", family, change)


@combinator
def greedy(family: Any) -> Definition:
    """Return the family that plays the most probable outcomes of another one, each of equal ones as often.

    Args:
        family: A discrete family with outcomes 0, ..., N - 1.

    Returns:
        A family with the parameters of `family`, by which it has no derivatives.

    Raises:
        TypeError: `family` has no table of logits, or its values are not outcomes of a row.

    >>> from functional_dists import categorical
    >>> greedy(categorical).probs(torch.tensor([1.0, 3.0, 3.0]))
    tensor([0.0000, 0.5000, 0.5000])
    """

    def change(logits: Tensor, mask: Tensor) -> Table:
        possible = softmax.masked(logits, mask).detach()
        is_best = (possible == possible.amax(-1, keepdim=True)) | possible.isnan()
        return torch.where(is_best, torch.where(possible.isnan(), possible, 0.0), -torch.inf), mask

    return _with_table(f"greedy({name_of(family)})", family, change)


@combinator
def softened(family: Any, temperature: float) -> Definition:
    """Return a discrete family at a temperature: probabilities are proportional to p^(1 / temperature).

    Args:
        family: A discrete family with outcomes 0, ..., N - 1.
        temperature: A positive number: above 1 outcomes become more alike, below 1 the probable ones more probable.

    Returns:
        A family with the parameters of `family`.

    Raises:
        TypeError: `family` has no table of logits, or its values are not outcomes of a row.
        ValueError: `temperature` is not positive and finite.

    >>> from functional_dists import categorical
    >>> softened(categorical, 2.0).normalized_logits(torch.tensor([0.0, 2.0]))
    tensor([-1.3133, -0.3133])
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"softened: temperature must be positive and finite, got {temperature}")

    def change(logits: Tensor, mask: Tensor) -> Table:
        return logits / temperature, mask

    return _with_table(f"softened({name_of(family)}, {temperature})", family, change)


def _with_table(name: str, family: Any, change: Callable[[Tensor, Tensor], Table]) -> Definition:
    """Return the family of the masked categorical with the changed table of logits."""
    require_outcomes(name.partition("(")[0], family, ("table", "normalized_logits"))

    def table(*params: Tensor) -> Table:
        if hasattr(family, "table"):
            logits, mask = family.table(*params)
        else:
            logits, mask = family.normalized_logits(*params), None
        mask = torch.ones_like(logits, dtype=torch.bool) if mask is None else mask
        shape = torch.broadcast_shapes(logits.shape, mask.shape)
        return change(logits.expand(shape), mask.expand(shape))

    verb = define(
        family.Params, name, takes_dtype=True, values_of=Index, fit=fit_of(family), value=_VALUE, sample=_SAMPLE
    )
    verb.inherit(family, "check")
    of_table = verb.through(lambda *params: masked_categorical.Params(*table(*params)), examples=False)
    for function_name, function in verbs(masked_categorical).items():
        if function_name != "check":
            of_table(function)
    verb.functions["table"] = table
    return verb
