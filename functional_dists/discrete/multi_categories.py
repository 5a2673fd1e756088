"""Several categorical distributions in one vector of logits, for actions that are several choices at once.

The first nvec[0] logits are those of the first choice, the next nvec[1] those of the second, and so on, as in a
MultiDiscrete space of gymnasium. The choices are independent: log-probs, entropies and divergences are their sums.

A function of a constant index pads the vector to a table with a row for each choice, so no verb loops over choices.
"""

import operator
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists.discrete import masked_categorical
from functional_dists.discrete.categorical import check_logits
from functional_dists.family import Definition, Mask, Real, Value, combinator, define, require, sum_event
from functional_dists.family.kinds import outcomes
from functional_dists.random import Shape, Source
from functional_dists.special import support as supports
from functional_dists.special.constant import table_of

__all__ = ["Params", "multi_categorical"]


class Params(NamedTuple):
    """Parameters of several categorical distributions, which broadcast against each other.

    logits: Log-probabilities of the outcomes of all choices, up to a constant each, of shape (*batch, N).
    mask: Bool, of shape (*batch, N), True where an outcome is allowed.
    value: An outcome for each choice, integers of shape (*sample, *batch, K): it may add leading axes to the batch.
    sample: An outcome for each choice, int64, of shape (*sample_shape, *batch, K).
    """

    logits: Real
    mask: Mask = True


class _Places(NamedTuple):
    """Where the entries of the vector are in the table, and the other way round."""

    of_table: Tensor  # (K * largest): the place in the vector of each entry of the table, 0 for padding
    is_used: Tensor  # (K, largest): False for padding
    of_vector: Tensor  # (N): the place in the flat table of each entry of the vector


def _fit(logits: torch.Size, mask: torch.Size) -> torch.Size:
    # Named here, and not left to the wrapper, since the choices of a row are no axis that devices could share.
    if len(logits) == 0:
        raise ValueError("logits must have a last axis, that of the outcomes of all choices")
    try:
        return torch.broadcast_shapes(logits, mask)
    except RuntimeError:
        raise ValueError("the shapes of the parameters do not broadcast") from None


@combinator
def multi_categorical(nvec: Sequence[int]) -> Definition:
    """Return the family of several independent categorical distributions, whose logits are one vector.

    Args:
        nvec: The number of outcomes of each choice, a tuple or a list of integers, such as `space.nvec.tolist()`.

    Returns:
        A family with the parameters `logits` and `mask`, of shape (*batch, sum(nvec)). Its values are vectors of
        integers, of shape (*batch, len(nvec)).

    Raises:
        TypeError: `nvec` does not hold integers.
        ValueError: `nvec` is empty, or a number is not positive.

    >>> from functional_dists import random
    >>> arm_and_leg = multi_categorical((2, 3))
    >>> arm_and_leg.sample(random.key(42), torch.zeros(5), sample_shape=2)
    tensor([[0, 2],
            [1, 1]])
    >>> arm_and_leg.log_prob(torch.zeros(5), value=torch.tensor([0, 2]))
    tensor(-1.7918)
    """
    sizes = _checked(nvec)
    count, places_of = sum(sizes), _rule(sizes)
    verb = define(Params, f"multi_categorical({sizes})", takes_dtype=True, fit=_fit, values_of=outcomes(len(sizes)))

    def tables(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits ``(*B, K, largest)`` of each choice, and the mask of the possible outcomes."""
        logits, mask = torch.broadcast_tensors(logits, mask)
        if logits.ndim == 0 or logits.shape[-1] != count:
            raise ValueError(
                f"{verb.name}: logits and mask must have {count} entries on the last axis, the sum of {sizes}, "
                f"got shape {tuple(logits.shape)}"
            )
        places = table_of(places_of, logits)
        shape = (*logits.shape[:-1], *places.is_used.shape)
        logits, mask = (t.index_select(-1, places.of_table).reshape(shape) for t in (logits, mask))
        return logits, mask & places.is_used

    def in_one_vector(table: Tensor) -> Tensor:
        return table.flatten(-2).index_select(-1, table_of(places_of, table).of_vector)

    @verb
    def check(logits: Real, mask: Mask) -> None:
        """Raise a ValueError that names the parameter and the first bad position, in eager code only.

        The last index of the position is that of an outcome of all, or that of a choice.
        """
        tables(logits, mask)
        require(~mask | (logits < torch.inf), "logits", "must be numbers below infinity where they count")
        table, allowed = tables(logits, mask)
        require(allowed.any(-1), "mask", "must allow an outcome of every choice")
        check_logits(table, allowed)

    @verb
    def sample(key: Source, logits: Real, mask: Mask, *, sample_shape: Shape = ()) -> Tensor:
        """Draw an outcome for each choice by the inverse cdf, each from a random number of its own."""
        return masked_categorical.sample(key, *tables(logits, mask), sample_shape=sample_shape)

    @verb
    def sample_and_log_prob(
        key: Source, logits: Real, mask: Mask, *, sample_shape: Shape = ()
    ) -> tuple[Tensor, Tensor]:
        """Draw what `sample` draws, with its log-probability, which has the score-function gradient."""
        outcome, log_prob = masked_categorical.sample_and_log_prob(
            key, *tables(logits, mask), sample_shape=sample_shape
        )
        return outcome, _sum_of_scores(log_prob)

    @verb
    def log_prob(logits: Real, mask: Mask, value: Value) -> Tensor:
        """Return the log-probability of an outcome for each choice; -inf if one is masked or does not exist."""
        return _sum_of_scores(masked_categorical.log_prob(*tables(logits, mask), value))

    @verb
    def log_prob_and_entropy(logits: Real, mask: Mask, value: Value) -> tuple[Tensor, Tensor]:
        """Return the log-probability of an outcome for each choice, as `log_prob` does, and the entropy."""
        log_prob, entropy = masked_categorical.log_prob_and_entropy(*tables(logits, mask), value)
        return _sum_of_scores(log_prob), sum_event(entropy, 1)

    @verb
    def entropy(logits: Real, mask: Mask) -> Tensor:
        """Return the entropy in nats, the sum of those of the choices."""
        return sum_event(masked_categorical.entropy(*tables(logits, mask)), 1)

    @verb
    def kl(p: Params, q: Params) -> Tensor:
        """Return the Kullback-Leibler divergence KL(p || q) in nats; +inf where p has an outcome that q lacks."""
        return sum_event(masked_categorical.kl(tables(*p), tables(*q)), 1)

    @verb
    def probs(logits: Real, mask: Mask) -> Tensor:
        """Return the probabilities of all outcomes, those of each choice in its place of the vector."""
        return in_one_vector(masked_categorical.probs(*tables(logits, mask)))

    @verb
    def normalized_logits(logits: Real, mask: Mask) -> Tensor:
        """Return the log-probabilities of all outcomes, -inf for the masked ones."""
        return in_one_vector(masked_categorical.normalized_logits(*tables(logits, mask)))

    @verb
    def support(logits: Real, mask: Mask) -> Constraint:
        """Return the support as a constraint: the vectors of outcomes that are all possible."""
        return supports.of_events(masked_categorical.support(*tables(logits, mask)), 1)

    @verb
    def mode(logits: Real, mask: Mask) -> Tensor:
        """Return the most probable outcome of each choice, the first among equals."""
        return masked_categorical.mode(*tables(logits, mask))

    verb.deterministic(mode)
    return verb


def _checked(nvec: Sequence[int]) -> tuple[int, ...]:
    try:
        sizes = tuple(map(operator.index, nvec))
    except TypeError:
        raise TypeError(f"multi_categorical: nvec must be a tuple or a list of integers, got {nvec!r}") from None
    if not sizes or min(sizes) < 1:
        raise ValueError(f"multi_categorical: nvec must hold positive numbers, got {nvec!r}")
    return sizes


def _rule(sizes: tuple[int, ...]) -> Callable[[Tensor], _Places]:
    """Return the rule of the places: one function for each family, since `table_of` remembers by function."""
    largest, starts = max(sizes), (0, *accumulate(sizes))
    of_table = [
        start + i if i < size else 0 for start, size in zip(starts, sizes, strict=False) for i in range(largest)
    ]
    is_used = [[i < size for i in range(largest)] for size in sizes]
    of_vector = [row * largest + i for row, size in enumerate(sizes) for i in range(size)]

    def places(like: Tensor) -> _Places:
        return _Places(*(torch.tensor(numbers, device=like.device) for numbers in (of_table, is_used, of_vector)))

    return places


def _sum_of_scores(log_prob: Tensor) -> Tensor:
    """Return the sum over choices; if it is -inf, without gradient by the choices that are possible."""
    total = sum_event(log_prob.detach(), 1)
    is_outside = total == -torch.inf
    return torch.where(is_outside, total, sum_event(torch.where(is_outside[..., None], 0.0, log_prob), 1))
