"""Categorical distribution over the outcomes 0, ..., N - 1 that a mask allows, such as the valid actions of a state.

Probabilities are proportional to exp(logits) where the mask is True, and 0 elsewhere. Masked logits, even NaN and
infinity, affect neither values nor gradients. A row without any True is invalid (`check` raises), but does not affect
other rows: its probabilities, entropy and draws are 0, its log-probs -inf, its gradients 0.
"""

from typing import NamedTuple

import torch  # noqa: F401 (for the examples)
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.discrete.categorical import check_logits, draw, draw_and_log_prob
from functional_dists.family import Index, Mask, Real, define, require
from functional_dists.random import Shape, Source
from functional_dists.special import softmax, softmax_kl
from functional_dists.special import support as supports


class Params(NamedTuple):
    """Parameters of a masked categorical distribution, which broadcast against each other.

    logits: Log-probabilities up to a constant, of shape (*batch, N).
    mask: Bool, of shape (*batch, N), True where an outcome is allowed.
    value: Outcomes, integers of shape (*sample, *batch): they may add leading axes to the batch.
    sample: Outcomes, int64, of shape (*sample_shape, *batch).
    """

    logits: Real
    mask: Mask


verb = define(Params, takes_dtype=True, values_of=Index, knows_cut_rows=True)


@verb
def check(logits: Real, mask: Mask) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(2, 3), torch.tensor([[True, False, True], [False, False, False]]))
    Traceback (most recent call last):
    ...
    ValueError: mask must allow an outcome in every row; this fails at position (1,)
    """
    require(mask.any(-1), "mask", "must allow an outcome in every row")
    check_logits(logits, mask)


def table(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of all outcomes, and the mask of the possible ones."""
    return logits, mask


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def sample(key: Source, logits: Real, mask: Mask, *, sample_shape: Shape = ()) -> Tensor:
    """Draw allowed outcomes by the inverse cdf.

    >>> sample(random.key(42), torch.zeros(3), torch.tensor([True, False, True]), sample_shape=(6,))
    tensor([0, 2, 2, 0, 0, 0])
    """
    return draw(key, logits, mask, sample_shape)


@verb
def sample_and_log_prob(key: Source, logits: Real, mask: Mask, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which has the score-function gradient.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(3), torch.tensor([True, False, True]))
    >>> log_prob
    tensor(-0.6931)
    """
    return draw_and_log_prob(key, logits, mask, sample_shape)


# -------------------------------------------------------------------------------------------------------- probability
@verb
def log_prob(logits: Real, mask: Mask, value: Index) -> Tensor:
    """Return the log-probability of an outcome; -inf for one that is masked or does not exist.

    >>> log_prob(torch.zeros(3), torch.tensor([True, False, True]), torch.tensor([0, 1]))
    tensor([-0.6931,    -inf])
    """
    return softmax.log_prob(logits, mask, value)


@verb
def probs(logits: Real, mask: Mask) -> Tensor:
    """Return the probabilities of all outcomes, 0 for the masked ones.

    >>> probs(torch.zeros(3), torch.tensor([True, False, True]))
    tensor([0.5000, 0.0000, 0.5000])
    """
    return softmax.probs(softmax.terms(logits, mask))


@verb
def normalized_logits(logits: Real, mask: Mask) -> Tensor:
    """Return the log-probabilities of all outcomes, -inf for the masked ones.

    >>> normalized_logits(torch.zeros(3), torch.tensor([True, False, True]))
    tensor([-0.6931,    -inf, -0.6931])
    """
    return softmax.log_probs(softmax.terms(logits, mask))


@verb
def entropy(logits: Real, mask: Mask) -> Tensor:
    """Return the entropy in nats.

    >>> entropy(torch.zeros(3), torch.tensor([True, False, True]))
    tensor(0.6931)
    """
    return softmax.entropy(logits, mask)


@verb
def log_prob_and_entropy(logits: Real, mask: Mask, value: Index) -> tuple[Tensor, Tensor]:
    """Return the log-probability of an outcome, -inf for one that is masked or does not exist, and the entropy.

    >>> log_prob_and_entropy(torch.zeros(3), torch.tensor([True, False, True]), torch.tensor([0, 1]))
    (tensor([-0.6931,    -inf]), tensor(0.6931))
    """
    return softmax.log_prob_and_entropy(logits, mask, value)


@verb
def support(logits: Real, mask: Mask) -> Constraint:
    """Return the support as a constraint: the outcomes of finite log-probability.

    >>> support(torch.zeros(3), torch.tensor([True, False, True])).check(torch.tensor([0, 1, 3]))
    tensor([ True, False, False])
    """
    return supports.outcomes(supports.allowed(logits, mask))


@verb
def kl(p: Params, q: Params) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; +inf where p allows an outcome that q does not.

    >>> every, some = torch.ones(3, dtype=torch.bool), torch.tensor([True, False, True])
    >>> kl(Params(torch.zeros(3), some), Params(torch.zeros(3), every))
    tensor(0.4055)
    >>> kl(Params(torch.zeros(3), every), Params(torch.zeros(3), some))
    tensor(inf)
    """
    return softmax_kl(p.logits, p.mask, q.logits, q.mask)


@verb
def mode(logits: Real, mask: Mask) -> Tensor:
    """Return the most probable outcome, the first among equals.

    >>> mode(torch.tensor([1.0, 3.0, 3.0]), torch.tensor([True, False, True]))
    tensor(2)
    """
    return softmax.mode(logits, mask)


deterministic = verb.deterministic(mode)
