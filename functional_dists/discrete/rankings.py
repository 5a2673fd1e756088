"""Plackett-Luce distribution: outcomes are drawn one after the other without replacement, in proportion to exp(score).

A value lists the first k of 0, ..., N - 1, in the order of the draws; for k = N it is a permutation. Its log-prob is
the sum over the draws of score - log sum exp of the scores of what is left; see Plackett, "The analysis of
permutations" (1975). The k largest sums of a score and a Gumbel variable are such a draw (Kool, van Hoof, Welling,
"Stochastic beams and where to find them", 2019). A score of -inf excludes its outcome.
"""

import operator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists.discrete.logits import sample_without_replacement
from functional_dists.family import Definition, Real, Value, combinator, define, require
from functional_dists.family.kinds import outcomes
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of, row_is_nan, softplus
from functional_dists.special import support as supports

__all__ = ["Params", "plackett_luce"]


class Params(NamedTuple):
    """The parameter of a Plackett-Luce distribution.

    scores: Log-probabilities of the first draw up to a constant, of shape (*batch, N).
    value: Lists of distinct outcomes, integers of shape (*sample, *batch, K): they may add leading axes to the batch.
    sample: Lists of distinct outcomes, int64, of shape (*sample_shape, *batch, K).
    """

    scores: Real


@combinator
def plackett_luce(k: int | None = None) -> Definition:
    """Return the family of rankings, or of slates of the first `k` outcomes of a ranking.

    Args:
        k: How many outcomes a value lists. Default: all, so that values are permutations.

    Returns:
        A family with the parameter `scores`, of shape (*batch, N). If a row has fewer than `k` outcomes of finite
        score, draws have -1 in the last places; `check` raises an error.

    Raises:
        TypeError: `k` is not an integer.
        ValueError: `k` is not positive.

    >>> from functional_dists import random
    >>> plackett_luce().sample(random.key(42), torch.zeros(4))
    tensor([2, 3, 1, 0])
    >>> plackett_luce(2).log_prob(torch.zeros(4), torch.tensor([3, 1]))
    tensor(-2.4849)
    """
    if k is not None:
        try:
            k = operator.index(k)
        except TypeError:
            raise TypeError(f"plackett_luce: k must be an integer, got {k!r}") from None
        if k < 1:
            raise ValueError(f"plackett_luce: k must be positive, got {k}")
    verb = define(Params, f"plackett_luce({'' if k is None else k})", values_of=outcomes(k))

    def length(scores: Tensor) -> int:
        if not scores.ndim or (k is not None and k > scores.shape[-1]):
            raise ValueError(f"{verb.name}: scores must have at least {k or 1} outcomes, got {tuple(scores.shape)}")
        return scores.shape[-1] if k is None else k

    @verb
    def check(scores: Real) -> None:
        """Raise a ValueError that names the parameter and the first bad position, in eager code only."""
        count = length(scores)
        require(scores < torch.inf, "scores", "must be numbers below infinity")
        require((scores > -torch.inf).sum(-1) >= count, "scores", f"must leave {count} outcomes in every row")

    @verb
    def sample(key: Source, scores: Real, *, sample_shape: Shape = ()) -> Tensor:
        """Draw lists of outcomes, by the largest sums of a score and a Gumbel variable."""
        return sample_without_replacement(key, scores, length(scores), sample_shape=sample_shape)

    @verb
    def sample_and_log_prob(key: Source, scores: Real, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
        """Draw what `sample` draws, with its log-probability, which has the score-function gradient."""
        value = sample_without_replacement(key, scores, length(scores), sample_shape=sample_shape)
        return value, _log_prob(scores, value)

    @verb
    def log_prob(scores: Real, value: Value) -> Tensor:
        """Return the log-probability of lists; -inf if an outcome is repeated, excluded, or does not exist."""
        length(scores)
        return _log_prob(scores, value.long())

    @verb
    def support(scores: Real) -> Constraint:
        """Return the support as a constraint: the lists of distinct outcomes with finite scores."""
        length(scores)
        return supports.scored_vectors(lambda value: _log_prob(scores.detach(), value))

    @verb
    def mode(scores: Real) -> Tensor:
        """Return the most probable list: the outcomes of the largest scores, the first among equals."""
        values, outcomes = torch.sort(scores, dim=-1, descending=True, stable=True)
        count = length(scores)
        return torch.where(values == -torch.inf, -1, outcomes)[..., :count]

    verb.deterministic(mode)
    return verb


def _log_prob(scores: Tensor, value: Tensor) -> Tensor:
    """Return the log-probabilities ``(*S, *B)`` of lists ``(*S, *B, K)``.

    With R the log of the summed weights of what is left after a draw, its log-prob is -log(1 + exp(R - score)). So a
    draw that is nearly certain keeps its digits, and the last of a permutation has the log-prob 0.
    """
    count = scores.shape[-1]
    place = value.clamp(0, count - 1)
    wide = scores.double().expand(*value.shape[:-1], count)
    times = torch.zeros_like(wide, dtype=torch.int64).scatter_add(-1, place, torch.ones_like(place))
    drawn = wide.gather(-1, place)
    is_bad = (place != value) | (drawn == -torch.inf) | (times.gather(-1, place) > 1)
    is_outside = is_bad.any(-1)
    # Where the list is no ranking, all is computed from equal scores, so that nothing has a gradient.
    drawn = torch.where(is_outside[..., None], 0.0, drawn)
    rest = _log_sum(torch.where((times > 0) | is_outside[..., None], -torch.inf, wide))
    left = _cumulative_log_sum(torch.cat([rest, drawn.flip(-1)[..., :-1]], -1)).flip(-1)
    log_prob = -softplus(left - drawn).sum(-1)
    found = torch.where(is_outside, -torch.inf, log_prob).to(scores.dtype)
    return nan_of(found, row_is_nan(scores))


def _log_sum(table: Tensor) -> Tensor:
    """Return the log of the sum ``(*B, 1)`` of exponentials, -inf without gradient if there is none."""
    top = table.detach().amax(-1, keepdim=True)
    is_none = top == -torch.inf
    top = torch.where(is_none, 0.0, top)
    total = torch.exp(table - top).sum(-1, keepdim=True)
    return torch.where(is_none, -torch.inf, torch.where(is_none, 1.0, total).log() + top)


def _cumulative_log_sum(table: Tensor) -> Tensor:
    """Return the logs of the cumulative sums of exponentials, in log2(K) steps; each entry is relative to its own size.

    The derivatives of `torch.logcumsumexp` are NaN beside -inf.
    """
    shift, count = 1, table.shape[-1]
    while shift < count:
        before = torch.cat([torch.full_like(table[..., :shift], -torch.inf), table[..., :-shift]], -1)
        table = _log_sum(torch.stack([table, before], -1)).squeeze(-1)
        shift *= 2
    return table
