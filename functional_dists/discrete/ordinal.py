"""Distribution over the ordered outcomes 0, ..., N - 1, for actions that are steps of a scale.

Source: Tang & Agrawal, "Discretizing continuous action space for on-policy optimization" (2020), equation 4. The logit
of k is sum_{i <= k} log sigmoid(s_i) + sum_{i > k} log(1 - sigmoid(s_i)) for scores s. It exceeds that of k - 1 by s_k,
so up to a constant the logits are the cumulative sum of the scores; the first score has no effect. A score of +inf at k
excludes the outcomes below k, a score of -inf those from k on.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.discrete import categorical
from functional_dists.family import Index, Real, RowReal, define, require
from functional_dists.random import Shape, Source
from functional_dists.special import softmax
from functional_dists.special import support as supports


class Params(NamedTuple):
    """The parameter of an ordinal distribution.

    scores: What the logit of every outcome adds to that of the one below, of shape (*batch, N).
    value: Outcomes, integers of shape (*sample, *batch): they may add leading axes to the batch.
    sample: Outcomes, int64, of shape (*sample_shape, *batch).
    """

    scores: Real


verb = define(Params)


@verb
def check(scores: Real) -> None:
    """Raise a ValueError that names the first bad position, in eager code only.

    >>> check(torch.tensor([0.0, math.nan]))
    Traceback (most recent call last):
    ...
    ValueError: scores must be numbers; it is not at position (1,)
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


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def sample(key: Source, scores: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw outcomes by the inverse cdf.

    >>> sample(random.key(42), torch.zeros(3), sample_shape=(6,))
    tensor([1, 2, 2, 1, 1, 1])
    """
    return categorical.sample(key, logits_of(scores), sample_shape=sample_shape)


@verb
def sample_and_log_prob(key: Source, scores: Real, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which has the score-function gradient.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(3))
    >>> log_prob
    tensor(-1.0986)
    """
    return categorical.sample_and_log_prob(key, logits_of(scores), sample_shape=sample_shape)


# -------------------------------------------------------------------------------------------------------- probability
@verb
def log_prob(scores: Real, value: Index) -> Tensor:
    """Return the log-probability of an outcome; -inf for one that does not exist.

    >>> log_prob(torch.zeros(4), torch.tensor([0, 3, 4]))
    tensor([-1.3863, -1.3863,    -inf])
    """
    return categorical.log_prob(logits_of(scores), value)


@verb
def probs(scores: Real) -> Tensor:
    """Return the probabilities of all outcomes.

    >>> probs(torch.tensor([9.0, 0.0, -math.inf]))
    tensor([0.5000, 0.5000, 0.0000])
    """
    return softmax.probs(softmax_terms(scores))


@verb
def normalized_logits(scores: Real) -> Tensor:
    """Return the log-probabilities of all outcomes.

    >>> normalized_logits(torch.zeros(4))
    tensor([-1.3863, -1.3863, -1.3863, -1.3863])
    """
    return softmax.log_probs(softmax_terms(scores))


@verb
def entropy(scores: Real) -> Tensor:
    """Return the entropy in nats.

    >>> entropy(torch.zeros(4))
    tensor(1.3863)
    """
    return categorical.entropy(logits_of(scores))


@verb
def support(scores: Real) -> Constraint:
    """Return the support as a constraint: the outcomes of finite log-probability.

    >>> support(torch.zeros(3)).check(torch.tensor([0, 2, 3]))
    tensor([ True,  True, False])
    """
    return supports.outcomes(supports.allowed(logits_of(scores), None))


@verb
def kl(p: Params, q: Params) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats.

    >>> kl(Params(torch.zeros(2)), Params(torch.tensor([0.0, 1.0])))
    tensor(0.1201)
    """
    return categorical.kl(categorical.Params(logits_of(p.scores)), categorical.Params(logits_of(q.scores)))


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


@verb
def mode(scores: Real) -> Tensor:
    """Return the most probable outcome, the first among equals.

    >>> mode(torch.zeros(4))
    tensor(0)
    """
    return softmax.mode(logits_of(scores), None)


deterministic = verb.deterministic(mode)
