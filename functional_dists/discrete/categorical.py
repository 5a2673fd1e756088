"""Categorical distribution over 0, ..., N - 1, with probabilities proportional to exp(logits).

A logit of -inf excludes its category. A row of only such logits is invalid (`check` raises), but does not affect other
rows: its probabilities, entropy and draws are 0, its log-probs -inf, its gradients 0.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.family import Index, Real, broadcast_shape, define, require
from functional_dists.random import Shape, Source
from functional_dists.special import choose_and_score, choose_by_logits, softmax, softmax_kl
from functional_dists.special import support as supports


class Params(NamedTuple):
    """Parameters of a categorical distribution.

    logits: Log-probabilities up to a constant, of shape (*batch, N).
    value: Categories, integers of shape (*sample, *batch): they may add leading axes to the batch.
    sample: Categories, int64, of shape (*sample_shape, *batch).
    """

    logits: Real


verb = define(Params, takes_dtype=True, values_of=Index, knows_cut_rows=True)


@verb
def check(logits: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.tensor([[0.0, 0.0], [-math.inf, -math.inf]]))
    Traceback (most recent call last):
    ...
    ValueError: logits must leave a category in every row; this fails at position (1,)
    """
    check_logits(logits, torch.ones_like(logits, dtype=torch.bool))


def check_logits(logits: Tensor, mask: Tensor) -> None:
    """Raise a ValueError if a row has no category, or if the logit of a category is NaN or +inf."""
    logits, mask = torch.broadcast_tensors(logits, mask)
    require(~mask | (logits < math.inf), "logits", "must be numbers below infinity where they count")
    require((mask & (logits != -math.inf)).any(-1), "logits", "must leave a category in every row")


def table(logits: Tensor) -> tuple[Tensor, None]:
    """Return the logits of all outcomes, and None as the mask."""
    return logits, None


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def sample(key: Source, logits: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw categories by the inverse cdf.

    >>> sample(random.key(42), torch.zeros(3), sample_shape=(6,))
    tensor([1, 2, 2, 1, 1, 1])
    """
    return draw(key, logits, None, sample_shape)


@verb
def sample_and_log_prob(key: Source, logits: Real, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which has the score-function gradient.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(3))
    >>> log_prob
    tensor(-1.0986)
    """
    return draw_and_log_prob(key, logits, None, sample_shape)


def draw(key: Source, logits: Tensor, mask: Tensor | None, sample_shape: Shape) -> Tensor:
    """Draw one outcome for each row of logits."""
    return choose_by_logits(logits, mask, _uniforms(key, logits, mask, sample_shape))


def draw_and_log_prob(key: Source, logits: Tensor, mask: Tensor | None, sample_shape: Shape) -> tuple[Tensor, Tensor]:
    """Draw one outcome for each row of logits, with its log-probability."""
    return choose_and_score(logits, mask, _uniforms(key, logits, mask, sample_shape))


def _uniforms(key: Source, logits: Tensor, mask: Tensor | None, sample_shape: Shape) -> Tensor:
    """Return the uniform draw that selects the outcome of each row, made from one 64-bit word."""
    batch = table_shape(logits, mask)[:-1]
    return random.draw_entries(random.uniform, key, sample_shape, batch, dtype=torch.float64, device=logits.device)


def table_shape(logits: Tensor, mask: Tensor | None) -> torch.Size:
    """Return the shape ``(*B, N)`` to which the logits and the mask broadcast."""
    return logits.shape if mask is None else broadcast_shape(logits, mask)


# -------------------------------------------------------------------------------------------------------- probability
@verb
def log_prob(logits: Real, value: Index) -> Tensor:
    """Return the log-probability of a category; -inf for one that does not exist.

    >>> log_prob(torch.zeros(4), torch.tensor([0, 3, 4]))
    tensor([-1.3863, -1.3863,    -inf])
    """
    return softmax.log_prob(logits, None, value)


@verb
def probs(logits: Real) -> Tensor:
    """Return the probabilities of all categories.

    >>> probs(torch.zeros(4))
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return softmax.probs(softmax.terms(logits, None))


@verb
def normalized_logits(logits: Real) -> Tensor:
    """Return the log-probabilities of all categories.

    >>> normalized_logits(torch.zeros(4))
    tensor([-1.3863, -1.3863, -1.3863, -1.3863])
    """
    return softmax.log_probs(softmax.terms(logits, None))


@verb
def entropy(logits: Real) -> Tensor:
    """Return the entropy in nats.

    >>> entropy(torch.zeros(4))
    tensor(1.3863)
    """
    return softmax.entropy(logits, None)


@verb
def log_prob_and_entropy(logits: Real, value: Index) -> tuple[Tensor, Tensor]:
    """Return the log-probability of a category, -inf for one that does not exist, and the entropy.

    >>> log_prob_and_entropy(torch.zeros(4), torch.tensor([0, 4]))
    (tensor([-1.3863,    -inf]), tensor(1.3863))
    """
    return softmax.log_prob_and_entropy(logits, None, value)


@verb
def support(logits: Real) -> Constraint:
    """Return the support as a constraint: the categories of finite log-probability.

    >>> support(torch.zeros(3)).check(torch.tensor([0, 2, 3]))
    tensor([ True,  True, False])
    """
    return supports.outcomes(supports.allowed(logits, None))


@verb
def kl(p: Params, q: Params) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; +inf where p has a category that q lacks.

    >>> kl(Params(torch.zeros(2)), Params(torch.tensor([0.0, 1.0])))
    tensor(0.1201)
    """
    return softmax_kl(p.logits, None, q.logits, None)


@verb
def mode(logits: Real) -> Tensor:
    """Return the most probable category, the first among equals.

    >>> mode(torch.tensor([1.0, 3.0, 3.0]))
    tensor(1)
    """
    return softmax.mode(logits, None)


deterministic = verb.deterministic(mode)
