"""Ordinal distribution over one-hot vectors: the probabilities of `ordinal`, the gradients of `one_hot_categorical`."""

from typing import NamedTuple

import torch  # noqa: F401 (for the examples)
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists import random  # noqa: F401 (for the examples)
from functional_dists.discrete.masked_one_hot_categorical import (
    Gradient,
    hard_draw,
    hard_draw_and_log_prob,
    most_probable,
    relaxed_score,
    soft_draw,
    soft_draw_and_log_prob,
)
from functional_dists.discrete.ordinal import logits_of, parts_of
from functional_dists.random import Shape, Source
from functional_dists.special import one_hot, root, softmax
from functional_dists.special import support as supports
from functional_dists.tree import OneHot, Real, require, verb

__all__ = [
    "Params",
    "check",
    "deterministic",
    "entropy",
    "kl",
    "log_prob",
    "log_prob_relaxed",
    "mean",
    "mode",
    "normalized_logits",
    "probs",
    "rsample",
    "rsample_and_log_prob",
    "sample",
    "sample_and_log_prob",
    "stddev",
    "support",
    "variance",
]


class Params(NamedTuple):
    """The parameter of a one-hot ordinal distribution.

    scores: What the logit of every outcome adds to that of the one below, of shape (*batch, N).
    value: Vectors, of shape (*sample, *batch, N): they may add leading axes to the batch.
    sample: One-hot vectors of shape (*sample_shape, *batch, N), int64.
    """

    scores: Real


@verb
def check(scores: Real) -> None:
    """Raise a ValueError that names the first bad position, in eager code only.

    >>> check(torch.tensor([0.0, torch.nan]))
    Traceback (most recent call last):
    ...
    ValueError: scores must be numbers; it is not at position (1,)
    """
    require(~scores.isnan(), "scores", "must be numbers")


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def sample(key: Source, scores: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw one-hot vectors.

    >>> sample(random.key(42), torch.zeros(3))
    tensor([0, 1, 0])
    """
    return hard_draw(key, logits_of(scores), None, sample_shape)


@verb
def rsample(
    key: Source,
    scores: Real,
    *,
    sample_shape: Shape = (),
    gradient: Gradient = "straight_through",
    temperature: float | Tensor = 1.0,
) -> Tensor:
    """Draw vectors in the scores' dtype, with a gradient: those of `sample`, or relaxed ones at a temperature.

    >>> rsample(random.key(42), torch.zeros(3))
    tensor([0., 1., 0.])
    """
    return soft_draw("one_hot_ordinal.rsample", key, logits_of(scores), None, sample_shape, gradient, temperature)


@verb
def sample_and_log_prob(key: Source, scores: Real, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which carries the gradient of the score function.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(3))
    >>> log_prob
    tensor(-1.0986)
    """
    return hard_draw_and_log_prob(key, logits_of(scores), None, sample_shape)


@verb
def rsample_and_log_prob(
    key: Source,
    scores: Real,
    *,
    sample_shape: Shape = (),
    gradient: Gradient = "straight_through",
    temperature: float | Tensor = 1.0,
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-probability; of relaxed vectors the log-density, from the same noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.zeros(3))
    >>> log_prob
    tensor(-1.0986)
    """
    return soft_draw_and_log_prob(
        "one_hot_ordinal.rsample_and_log_prob", key, logits_of(scores), None, sample_shape, gradient, temperature
    )


# -------------------------------------------------------------------------------------------------------- probability
@verb
def log_prob(scores: Real, value: OneHot) -> Tensor:
    """Return the log-probability of a one-hot vector; -inf for what is not one-hot.

    >>> log_prob(torch.zeros(2), torch.tensor([[1, 0], [1, 1]]))
    tensor([-0.6931,    -inf])
    """
    return one_hot.log_prob(logits_of(scores), None, value)


@verb
def log_prob_relaxed(scores: Real, value: OneHot, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Return the log-density of a relaxed vector on the simplex.

    A zero in the vector, which relaxed draws round to at low temperatures, counts as the smallest normal number.

    >>> log_prob_relaxed(torch.zeros(2), torch.tensor([0.3, 0.7]))
    tensor(0.)
    """
    return relaxed_score("one_hot_ordinal.log_prob_relaxed", logits_of(scores), None, value, temperature)


@verb
def probs(scores: Real) -> Tensor:
    """Return the probabilities of all outcomes.

    >>> probs(torch.zeros(3))
    tensor([0.3333, 0.3333, 0.3333])
    """
    return softmax.probs(parts_of(scores))


@verb
def normalized_logits(scores: Real) -> Tensor:
    """Return the log-probabilities of all outcomes.

    >>> normalized_logits(torch.zeros(3))
    tensor([-1.0986, -1.0986, -1.0986])
    """
    return softmax.log_probs(parts_of(scores))


@verb
def entropy(scores: Real) -> Tensor:
    """Return the entropy in nats.

    >>> entropy(torch.zeros(3))
    tensor(1.0986)
    """
    return softmax.entropy(logits_of(scores), None)


@verb
def support(scores: Real) -> Constraint:
    """Return the one-hot vectors of finite log-probability, as a constraint.

    >>> support(torch.zeros(2)).check(torch.tensor([[1, 0], [1, 1]]))
    tensor([ True, False])
    """
    return supports.one_hot_outcomes(supports.allowed(logits_of(scores), None))


@verb
def kl(p: Params, q: Params) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats.

    >>> kl(Params(torch.zeros(2)), Params(torch.tensor([0.0, 1.0])))
    tensor(0.1201)
    """
    return softmax.kl(logits_of(p.scores), None, logits_of(q.scores), None)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(scores: Real) -> Tensor:
    """Return the mean of the vectors, elementwise: the probabilities.

    >>> mean(torch.zeros(3))
    tensor([0.3333, 0.3333, 0.3333])
    """
    return softmax.probs(parts_of(scores))


@verb
def variance(scores: Real) -> Tensor:
    """Return the variance of the vectors, elementwise: p (1 - p).

    >>> variance(torch.zeros(3))
    tensor([0.2222, 0.2222, 0.2222])
    """
    return softmax.variance(parts_of(scores))


@verb
def stddev(scores: Real) -> Tensor:
    """Return the standard deviation of the vectors, elementwise.

    >>> stddev(torch.zeros(3))
    tensor([0.4714, 0.4714, 0.4714])
    """
    return root(softmax.variance(parts_of(scores)))


@verb
def mode(scores: Real) -> Tensor:
    """Return the most probable vector, the first of equals.

    >>> mode(torch.tensor([1.0, 3.0, -3.0]))
    tensor([0, 1, 0])
    """
    return most_probable(logits_of(scores), None)


@verb
def deterministic(scores: Real) -> Tensor:
    """Return what a policy plays when it does not explore: the mode.

    >>> deterministic(torch.tensor([1.0, 3.0, -3.0]))
    tensor([0, 1, 0])
    """
    return most_probable(logits_of(scores), None)
