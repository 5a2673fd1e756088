"""Categorical distribution over a list of K of the outcomes 0, ..., N - 1, such as the few valid actions among many.

Probabilities are proportional to exp(logits) of the listed outcomes, which must be distinct. Values and draws are
outcomes. Tables are over the K slots of the list, and `padding_value` marks unused slots. A row without a used slot is
invalid (`check` raises), but does not affect other rows: its probabilities and entropy are 0, its log-probs -inf, its
gradients 0, its draws `padding_value`.

The rows of a DTensor that is cut along the outcomes are gathered.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.discrete import masked_categorical
from functional_dists.discrete.categorical import check_logits
from functional_dists.discrete.indices import mask_from_indices, out_of_range, used_slots
from functional_dists.family import Index, Real, define, require
from functional_dists.random import Shape, Source
from functional_dists.special import softmax
from functional_dists.special import support as supports


class Params(NamedTuple):
    """Parameters of a sparse categorical distribution, whose batches broadcast against each other.

    logits: Log-probabilities up to a constant, of all outcomes, of shape (*batch, N).
    indices: The outcomes in the list, integers of shape (*batch, K).
    value: Outcomes, integers of shape (*sample, *batch): they may add leading axes to the batch.
    sample: Outcomes, int64, of shape (*sample_shape, *batch).
    """

    logits: Real
    indices: Index


verb = define(Params, takes_dtype=True, values_of=Index)


@verb
def check(logits: Real, indices: Index, *, padding_value: int | None = None) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(3), torch.tensor([0, 3]))
    Traceback (most recent call last):
    ...
    ValueError: indices must lie between 0 and N - 1; this fails at position (1,)
    """
    is_used = used_slots(indices, padding_value)
    exists = (indices >= 0) & (indices < logits.shape[-1])
    require(exists | ~is_used, "indices", "must lie between 0 and N - 1")
    require(is_used.any(-1), "indices", "must list an outcome in every row")
    distinct_negatives = -1 - torch.arange(indices.shape[-1], device=indices.device)  # so that unused slots differ too
    ordered = torch.where(is_used, indices, distinct_negatives).sort(-1).values
    require((ordered[..., 1:] != ordered[..., :-1]).all(-1), "indices", "must be distinct in every row")
    check_logits(logits, mask_from_indices(indices, logits.shape[-1], padding_value=padding_value))


def listed(logits: Tensor, indices: Tensor, padding_value: int | None) -> tuple[Tensor, Tensor]:
    """Return the logits of the slots, and the mask of the used slots."""
    is_used = used_slots(indices, padding_value)
    places = torch.where(is_used, indices, 0).long()
    batch = torch.broadcast_shapes(logits.shape[:-1], indices.shape[:-1])
    try:
        table = logits.expand(*batch, logits.shape[-1]).gather(-1, places.expand(*batch, places.shape[-1]))
    except (IndexError, RuntimeError) as error:
        raise out_of_range(places, logits.shape[-1], error) from None
    return table, is_used


def softmax_terms(logits: Tensor, indices: Tensor, padding_value: int | None) -> softmax.Terms:
    """Return the terms of the softmax over the slots."""
    return softmax.terms(*listed(logits, indices, padding_value))


def table(logits: Tensor, indices: Tensor, *, padding_value: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the logits of all outcomes, and the mask of the listed ones."""
    return logits, mask_from_indices(indices, logits.shape[-1], padding_value=padding_value)


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def sample(
    key: Source,
    logits: Real,
    indices: Index,
    *,
    sample_shape: Shape = (),
    padding_value: int | None = None,
) -> Tensor:
    """Draw listed outcomes by the inverse cdf.

    >>> sample(random.key(42), torch.zeros(9), torch.tensor([7, 4, 5]), sample_shape=(6,))
    tensor([4, 5, 5, 4, 4, 4])
    """
    return draw_listed(key, logits, indices, sample_shape, padding_value)


@verb
def sample_and_log_prob(
    key: Source,
    logits: Real,
    indices: Index,
    *,
    sample_shape: Shape = (),
    padding_value: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which has the score-function gradient.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(9), torch.tensor([7, 4, 5]))
    >>> log_prob
    tensor(-1.0986)
    """
    table, is_used = listed(logits, indices, padding_value)
    slot, log_prob = masked_categorical.sample_and_log_prob(key, table, is_used, sample_shape=sample_shape)
    return chosen(indices, slot, is_used, padding_value), log_prob


def draw_listed(key: Source, logits: Tensor, indices: Tensor, sample_shape: Shape, padding_value: int | None) -> Tensor:
    """Draw one outcome for each row."""
    table, is_used = listed(logits, indices, padding_value)
    slot = masked_categorical.sample(key, table, is_used, sample_shape=sample_shape)
    return chosen(indices, slot, is_used, padding_value)


def chosen(indices: Tensor, slot: Tensor, is_used: Tensor, padding_value: int | None) -> Tensor:
    """Return the outcomes in slots ``(*S, *B)``; the padding value in a row without used slots."""
    outcome = indices.expand(*slot.shape, indices.shape[-1]).gather(-1, slot[..., None]).squeeze(-1).long()
    return outcome if padding_value is None else torch.where(is_used.any(-1), outcome, padding_value)


# -------------------------------------------------------------------------------------------------------- probability
@verb
def log_prob(logits: Real, indices: Index, value: Index, *, padding_value: int | None = None) -> Tensor:
    """Return the log-probability of an outcome; -inf for one that is not in the list.

    >>> log_prob(torch.zeros(9), torch.tensor([7, 4]), torch.tensor([4, 5]))
    tensor([-0.6931,    -inf])
    """
    return log_prob_of(logits, indices, value, padding_value)


def log_prob_of(logits: Tensor, indices: Tensor, value: Tensor, padding_value: int | None) -> Tensor:
    """Return the log-probability of outcomes ``(*S, *B)``."""
    return masked_categorical.log_prob(*listed(logits, indices, padding_value), slot_of(indices, value, padding_value))


def slot_of(indices: Tensor, value: Tensor, padding_value: int | None) -> Tensor:
    """Return the slots that hold outcomes ``(*S, *B)``, -1 for an outcome that is not in the list."""
    is_match = (indices == value[..., None]) & used_slots(indices, padding_value)
    return torch.where(is_match.any(-1), is_match.long().argmax(-1), -1)


@verb
def probs(logits: Real, indices: Index, *, padding_value: int | None = None) -> Tensor:
    """Return the probabilities of the listed outcomes, 0 in unused slots.

    >>> probs(torch.zeros(9), torch.tensor([7, 4, -1]), padding_value=-1)
    tensor([0.5000, 0.5000, 0.0000])
    """
    return softmax.probs(softmax_terms(logits, indices, padding_value))


@verb
def normalized_logits(logits: Real, indices: Index, *, padding_value: int | None = None) -> Tensor:
    """Return the log-probabilities of the listed outcomes, -inf in unused slots.

    >>> normalized_logits(torch.zeros(9), torch.tensor([7, 4, -1]), padding_value=-1)
    tensor([-0.6931, -0.6931,    -inf])
    """
    return softmax.log_probs(softmax_terms(logits, indices, padding_value))


@verb
def entropy(logits: Real, indices: Index, *, padding_value: int | None = None) -> Tensor:
    """Return the entropy in nats.

    >>> entropy(torch.zeros(9), torch.tensor([7, 4, -1]), padding_value=-1)
    tensor(0.6931)
    """
    return masked_categorical.entropy(*listed(logits, indices, padding_value))


@verb
def log_prob_and_entropy(
    logits: Real, indices: Index, value: Index, *, padding_value: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the log-probability of an outcome, -inf for one that is not in the list, and the entropy.

    >>> log_prob_and_entropy(torch.zeros(9), torch.tensor([7, 4]), torch.tensor([4, 5]))
    (tensor([-0.6931,    -inf]), tensor(0.6931))
    """
    slot = slot_of(indices, value, padding_value)
    return masked_categorical.log_prob_and_entropy(*listed(logits, indices, padding_value), slot)


@verb
def support(logits: Real, indices: Index, *, padding_value: int | None = None) -> Constraint:
    """Return the support as a constraint: the outcomes of finite log-probability.

    >>> support(torch.zeros(9), torch.tensor([7, 4])).check(torch.tensor([4, 5]))
    tensor([ True, False])
    """
    return supports.outcomes(
        supports.allowed(logits, mask_from_indices(indices, logits.shape[-1], padding_value=padding_value))
    )


@verb
def kl(p: Params, q: Params, *, padding_value: int | None = None) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; +inf where p lists an outcome that q does not.

    >>> p, q = Params(torch.zeros(9), torch.tensor([7, 4])), Params(torch.zeros(9), torch.tensor([4, 7, 5]))
    >>> kl(p, q), kl(q, p)
    (tensor(0.4055), tensor(inf))
    """
    return divergence(p, q, padding_value)


def divergence(p: Any, q: Any, padding_value: int | None) -> Tensor:
    """Return KL(p || q) over all outcomes."""
    p_mask, q_mask = (mask_from_indices(s.indices, s.logits.shape[-1], padding_value=padding_value) for s in (p, q))
    masked_p, masked_q = masked_categorical.Params(p.logits, p_mask), masked_categorical.Params(q.logits, q_mask)
    return masked_categorical.kl(masked_p, masked_q)


@verb
def mode(logits: Real, indices: Index, *, padding_value: int | None = None) -> Tensor:
    """Return the most probable outcome, the first listed among equals.

    >>> mode(torch.arange(9.0), torch.tensor([7, 4]))
    tensor(7)
    """
    return most_probable(logits, indices, padding_value)


deterministic = verb.deterministic(mode)


def most_probable(logits: Tensor, indices: Tensor, padding_value: int | None) -> Tensor:
    """Return the most probable outcome of every row."""
    table, is_used = listed(logits, indices, padding_value)
    return chosen(indices, softmax.mode(table, is_used), is_used, padding_value)
