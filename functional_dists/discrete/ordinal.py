"""Distribution over the ordered outcomes 0, ..., N - 1, for actions that are steps of a scale.

Source: Tang & Agrawal, "Discretizing continuous action space for on-policy optimization" (2020), equation 4. The logit
of k is sum_{i <= k} log sigmoid(s_i) + sum_{i > k} log(1 - sigmoid(s_i)) for scores s. It exceeds that of k - 1 by s_k,
so up to a constant the logits are the cumulative sum of the scores; the first score has no effect. A score of +inf at k
excludes the outcomes below k, a score of -inf those from k on.

The rows of a DTensor that is cut along the outcomes are gathered, since a cumulative sum needs all scores before.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.discrete import categorical
from functional_dists.family import Index, Real, RowReal, define, require
from functional_dists.special import softmax


class Params(NamedTuple):
    """The parameter of an ordinal distribution.

    scores: What the logit of every outcome adds to that of the one below, of shape (*batch, N).
    value: Outcomes, integers of shape (*sample, *batch): they may add leading axes to the batch.
    sample: Outcomes, int64, of shape (*sample_shape, *batch).
    """

    scores: Real


verb = define(Params, takes_dtype=True, values_of=Index)


@verb
def check(scores: Real) -> None:
    """Raise a ValueError that names the first bad position, in eager code only.

    >>> check(torch.tensor([0.0, math.nan]))
    Traceback (most recent call last):
    ...
    ValueError: scores must be numbers; this fails at position (1,)
    """
    require(~scores.isnan(), "scores", "must be numbers")


def logits_of(scores: Tensor) -> Tensor:
    """Return the logits, 0 for the most probable outcome.

    The sums run outwards from that outcome, so the logits of probable outcomes have no large common term.
    """
    largest = torch.finfo(scores.dtype).max / (4 * scores.shape[-1])  # so that sums are finite
    finite = torch.where(scores.abs() >= largest, scores.detach().clamp(-largest, largest), scores)
    outcome = torch.arange(scores.shape[-1], device=scores.device)
    steps = torch.where(outcome > 0, finite, 0.0)
    centre = steps.detach().cumsum(-1).argmax(-1, keepdim=True)
    above = torch.where(outcome > centre, steps, 0.0).cumsum(-1)
    up_to_centre = torch.where(outcome <= centre, steps, 0.0)
    from_next = torch.cat([up_to_centre[..., 1:], torch.zeros_like(up_to_centre[..., :1])], -1)
    return (above - from_next.flip(-1).cumsum(-1).flip(-1)) + 0.0 * finite[..., :1]  # adds 0; NaN for a first NaN


def softmax_terms(scores: Tensor) -> softmax.Terms:
    """Return the terms of the softmax of the logits."""
    return softmax.terms(logits_of(scores), None)


def table(scores: Tensor) -> tuple[Tensor, None]:
    """Return the logits of all outcomes, and None as the mask."""
    return logits_of(scores), None


# ----------------------------------------------------------------------------------------------------- of the logits
_of_logits = verb.through(
    lambda scores: categorical.Params(logits_of(scores)),
    {
        "a category": "an outcome",
        "category": "outcome",
        "categories": "outcomes",
        "[1.0, 3.0, 3.0]": "[1.0, 2.0, 0.0]",  # the scores of these logits
    },
)

sample = _of_logits(categorical.sample)
sample_and_log_prob = _of_logits(categorical.sample_and_log_prob)
log_prob = _of_logits(categorical.log_prob)
probs = _of_logits(categorical.probs)
normalized_logits = _of_logits(categorical.normalized_logits)
entropy = _of_logits(categorical.entropy)
log_prob_and_entropy = _of_logits(categorical.log_prob_and_entropy)
support = _of_logits(categorical.support)
kl = _of_logits(categorical.kl)
mode = _of_logits(categorical.mode)
deterministic = verb.deterministic(mode)


# ------------------------------------------------------------------------------------------------------ distribution
@verb
def cdf(scores: Real, value: Index) -> Tensor:
    """Return P(X <= value).

    >>> cdf(torch.zeros(4), torch.tensor([-1, 0, 3]))
    tensor([0.0000, 0.2500, 1.0000])
    """
    return (softmax.probs(softmax_terms(scores)) * _up_to(scores, value)).sum(-1)


@verb
def survival(scores: Real, value: Index) -> Tensor:
    """Return P(X > value).

    >>> survival(torch.zeros(4), torch.tensor([-1, 0, 3]))
    tensor([1.0000, 0.7500, 0.0000])
    """
    return (softmax.probs(softmax_terms(scores)) * ~_up_to(scores, value)).sum(-1)


@verb
def log_cdf(scores: Real, value: Index) -> Tensor:
    """Return log P(X <= value).

    >>> log_cdf(torch.zeros(4), torch.tensor([-1, 0, 3]))
    tensor([   -inf, -1.3863, -0.0000])
    """
    below = _up_to(scores, value)
    return _log_mass(softmax_terms(scores), below, ~below)


@verb
def log_survival(scores: Real, value: Index) -> Tensor:
    """Return log P(X > value).

    >>> log_survival(torch.zeros(4), torch.tensor([-1, 2, 3]))
    tensor([-0.0000, -1.3863,    -inf])
    """
    below = _up_to(scores, value)
    return _log_mass(softmax_terms(scores), ~below, below)


def _up_to(scores: Tensor, value: Tensor) -> Tensor:
    return torch.arange(scores.shape[-1], device=scores.device) <= value[..., None]


def _log_mass(terms: softmax.Terms, is_inside: Tensor, is_outside: Tensor) -> Tensor:
    """Return the log-probability of the outcomes inside, from those outside if these have less mass."""
    outside_mass = (softmax.probs(terms) * is_outside).sum(-1)
    is_most = ~(outside_mass >= 0.5)  # or NaN
    chosen = is_inside & terms.support
    log_probs = torch.where(chosen, torch.where(terms.support, softmax.log_probs(terms), 0.0), 0.0)
    largest = torch.where(chosen, log_probs.detach(), -math.inf).amax(-1, keepdim=True)
    largest = torch.where(largest == -math.inf, 0.0, largest)
    total = torch.where(chosen, torch.exp(log_probs - largest), 0.0).sum(-1)
    exists = total > 0
    log_mass = torch.where(exists, torch.where(exists, total, 1.0).log() + largest.squeeze(-1), -math.inf)
    return torch.where(is_most, torch.log1p(-torch.where(is_most, outside_mass, 0.0)), log_mass)


@verb
def icdf(scores: Real, value: RowReal) -> Tensor:
    """Return the quantile of a probability: the lowest outcome whose cumulative probability reaches it.

    >>> icdf(torch.zeros(4), torch.tensor([0.0, 0.3, 1.0]))
    tensor([0, 1, 3])
    """
    return _quantile(scores, value)


def _quantile(scores: Tensor, probability: Tensor) -> Tensor:
    table = softmax.probs(softmax_terms(scores))
    highest = torch.where(table > 0, torch.arange(table.shape[-1], device=table.device), 0).amax(-1)
    return torch.minimum((table.cumsum(-1) < probability[..., None]).sum(-1), highest)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(scores: Real) -> Tensor:
    """Return the mean of the outcomes as numbers.

    >>> mean(torch.zeros(4))
    tensor(1.5000)
    """
    return _mean(softmax.probs(softmax_terms(scores)))


@verb
def variance(scores: Real) -> Tensor:
    """Return the variance of the outcomes as numbers.

    >>> variance(torch.zeros(4))
    tensor(1.2500)
    """
    return _variance(softmax.probs(softmax_terms(scores)))


stddev = verb.stddev(variance)


def _mean(table: Tensor) -> Tensor:
    return (table * torch.arange(table.shape[-1], dtype=table.dtype, device=table.device)).sum(-1)


def _variance(table: Tensor) -> Tensor:
    outcome = torch.arange(table.shape[-1], dtype=table.dtype, device=table.device)
    return (table * (outcome - _mean(table)[..., None]).square()).sum(-1)


@verb
def median(scores: Real) -> Tensor:
    """Return the median outcome, the lower of two.

    >>> median(torch.zeros(4))
    tensor(1)
    """
    return _quantile(scores, torch.full_like(scores[..., 0], 0.5))
