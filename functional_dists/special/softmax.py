"""Probabilities from logits, some of which may lie outside the support.

All terms are relative to the largest logit of the support. Its weight exp(0) = 1 is kept apart from `rest`, the sum of
the other weights. So log(1 + rest) and its derivatives keep all digits where one outcome is nearly certain.

A NaN logit in the support makes every probability of its row NaN, also outside the support. Derivatives are then NaN
too, except those by logits outside the support, which are always 0.
"""

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor

import functional_dists.special.softmax_parts as softmax_parts
from functional_dists.special.axis import cut_of_rows
from functional_dists.special.constant import is_constant
from functional_dists.special.vectorized import argmax, entry_at, fast_mask, largest, materialize, positions

__all__ = [
    "LogProbTerms",
    "Terms",
    "entropy",
    "log_prob",
    "log_prob_at",
    "log_prob_terms",
    "log_prob_terms_and_weights",
    "log_probs",
    "masked",
    "mode",
    "probs",
    "terms",
    "variance",
    "weights",
]
__dir__ = __all__.copy  # what tab completion shows


def masked(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return the logits, -inf where the mask is not True.

    >>> masked(torch.tensor([1.0, math.nan]), torch.tensor([True, False]))
    tensor([1., -inf])
    """
    if mask is None:
        return logits
    if torch.compiler.is_compiling():
        return torch.where(fast_mask(mask), logits, -math.inf)
    return logits.masked_fill(~mask, -math.inf)  # `where` takes up to twice as long for a mask that alternates often


class Terms(NamedTuple):
    """The terms of a softmax of logits ``(*B, N)``; all are 0 in a row without support."""

    support: Tensor  # (*B, N)
    is_max: Tensor  # (*B, N): True at the largest logit of the support
    maximum: Tensor  # (*B, 1): the largest logit of the support
    shifted: Tensor  # (*B, N): the other logits of the support minus the maximum
    weights: Tensor  # (*B, N): exp(shifted) of these
    rest: Tensor  # (*B, 1): the sum of the weights, NaN if the support has a NaN


def terms(logits: Tensor, mask: Tensor | None) -> Terms:
    """Return the terms of a softmax; the support is where the mask is True and the logit is not -inf.

    >>> terms(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False])).shifted
    tensor([-2.,  0.,  0.])
    """
    if cut := cut_of_rows():
        return softmax_parts.terms(logits, mask, cut)
    possible = logits != -math.inf
    support = possible if mask is None else fast_mask(mask) & possible
    logits = torch.where(support, logits, -math.inf)
    support = support.expand(logits.shape)
    maximum, max_index = largest(logits)
    is_max = (torch.arange(logits.shape[-1], device=logits.device) == max_index) & support
    others = support & ~is_max
    shifted = torch.where(others, logits - maximum, 0.0)
    weights = torch.exp(shifted) * others
    rest = weights.sum(-1, keepdim=True, dtype=torch.float64).to(weights.dtype) + _nan_or_zero(maximum)
    return Terms(support, is_max, maximum, shifted, weights, rest)


def _nan_or_zero(maximum: Tensor) -> Tensor:
    """Return the maximum where it is NaN, else 0: a NaN that is the only logit of a row enters no other term."""
    return torch.where(maximum.isnan(), maximum, 0.0)


class LogProbTerms(NamedTuple):
    """Logits ``(*B, N)``, and the sums that a log-probability needs.

    In compiled code an index takes a third pass over the logits. There `maximum` is a constant for derivatives, and all
    equal largest logits are kept apart from the others: the value of `ties`, the sum of their weights, is their number.
    """

    logits: Tensor  # (*B, N): -inf outside the support
    maximum: Tensor  # (*B): the largest logit, the lowest float in a row without support; +inf is NaN in eager code
    max_index: Tensor | None  # (*B): the index of the maximum, None in compiled code
    ties: Tensor | None  # (*B), None if there is an index, or if nothing is differentiable
    others: Tensor  # (*B): the sum of exp(logits - maximum) of the other logits, in float64 except in compiled code


def log_prob_terms(logits: Tensor, mask: Tensor | None) -> LogProbTerms:
    """Return the terms of log-probabilities; the support is where the mask is True and the logit is not -inf.

    >>> parts = log_prob_terms(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
    >>> parts.logits, parts.maximum, parts.max_index
    (tensor([1., 3., -inf]), tensor(3.), tensor(1))
    """
    logits, maximum, max_index = _largest(masked(logits, mask))
    if _is_constant_when_compiled(logits):
        return _terms_by_difference(logits, maximum, _clamped_exp(logits - maximum))
    shifted = _shifted(logits, maximum, max_index)
    return _terms_of_weights(logits, maximum, max_index, shifted, torch.exp(shifted))


def log_prob_terms_and_weights(logits: Tensor, mask: Tensor | None) -> tuple[LogProbTerms, Tensor]:
    """Return the terms of log-probabilities and the weights, of which both need only one table.

    >>> log_prob_terms_and_weights(torch.tensor([3.0, 3.0]), None)[1]
    tensor([1., 1.])
    """
    logits, maximum, max_index = _largest(masked(logits, mask))
    shifted = logits - _without_nan(logits.detach().amax(-1, keepdim=True) if max_index is None else maximum)
    if _is_constant_when_compiled(logits):
        weights = _clamped_exp(shifted)
        return _terms_by_difference(logits, maximum, weights), weights
    weights = torch.exp(shifted)
    if max_index is not None:
        others = weights.scatter(-1, max_index, 0.0 * maximum)  # NaN if the maximum is
        return _terms_of_weights(logits, maximum, max_index, shifted, others), weights.detach()
    parts = _terms_of_weights(logits, maximum, None, shifted, weights)
    return parts._replace(others=parts.others + 0.0 * parts.maximum), weights.detach()


def _largest(logits: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the logits, the largest of each row ``(*B, 1)``, and its index; a constant and None in compiled code."""
    if torch.compiler.is_compiling():
        maximum = logits.detach().amax(-1, keepdim=True)
        return logits, maximum.clamp(min=torch.finfo(maximum.dtype).min), None  # `nan_to_num` is not vectorised
    maximum, max_index = logits.max(-1, keepdim=True)
    return logits, _finite_or_nan(maximum), max_index


def _is_constant_when_compiled(logits: Tensor) -> bool:
    return torch.compiler.is_compiling() and logits.dtype == torch.float32 and is_constant(logits)


def _terms_by_difference(logits: Tensor, maximum: Tensor, weights: Tensor) -> LogProbTerms:
    total = weights.sum(-1, dtype=torch.float64)  # float64 has digits to spare for the difference
    return LogProbTerms(logits, maximum.squeeze(-1), None, None, (total - 1.0).clamp(min=0))


def _shifted(logits: Tensor, maximum: Tensor, max_index: Tensor | None) -> Tensor:
    """Return the logits minus the maximum; if there is an index, -inf there, so that exponentials are of the others."""
    return (logits if max_index is None else logits.scatter(-1, max_index, -math.inf)) - maximum


def _terms_of_weights(
    logits: Tensor, maximum: Tensor, max_index: Tensor | None, shifted: Tensor, weights: Tensor
) -> LogProbTerms:
    """Return the terms from what `_shifted` returns, and its exponentials."""
    if max_index is not None:
        others = weights.sum(-1, dtype=torch.float64)
        return LogProbTerms(logits, maximum.squeeze(-1), max_index.squeeze(-1), None, others)
    ties, others = _sums_of_largest_and_others(shifted, weights)
    return LogProbTerms(logits, maximum.squeeze(-1), None, ties, others)


def _sums_of_largest_and_others(shifted: Tensor, terms: Tensor) -> tuple[Tensor, ...]:
    """Return the sums of the terms of the largest logits, and of those of the other logits, in compiled code.

    The comparison is one with a number. Compiled code stores the result of one with a row for the backward pass, which
    takes longer to load than to compute.
    """
    return materialize((terms * (shifted == 0)).sum(-1), (terms * (shifted != 0)).sum(-1))


def _rest(parts: LogProbTerms, is_apart: Tensor | None) -> Tensor:
    """Return the sum of the weights minus 1, in float64; `is_apart` is where the caller leaves out the largest logit.

    With the weight t = 1 of the only largest logit, log(t + others) is log(t) + log1p(others / t). The first is 0, but
    its derivative would hide that of a small second. So callers leave it out where it cancels, and get others / t.
    """
    others = parts.others.double()
    if parts.ties is None:
        return others
    ties = _at_least_one(parts.ties)
    return torch.where(cast(Tensor, is_apart), others / ties, others + (ties - 1))


def _at_least_one(ties: Tensor) -> Tensor:
    """Return the sum of the weights of the largest logits, in float64; 1 in a row without support."""
    return ties.clamp(min=1.0).double()


def _finite_or_nan(maximum: Tensor) -> Tensor:
    """Return the maximum, finite in a row without support, so that -inf minus the maximum stays -inf; +inf is NaN."""
    return maximum.nan_to_num(math.nan, math.nan, torch.finfo(maximum.dtype).min)


def weights(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return the detached weights exp(logits - maximum), which are negligible outside the support.

    A NaN logit has a NaN weight, and the other weights of its row are negligible.

    >>> weights(torch.tensor([3.0, 3.0, 9.0]), torch.tensor([True, True, False])) > 1e-30
    tensor([ True,  True, False])
    """
    logits = masked(logits.detach(), mask)
    return relative_weights(logits, logits.amax(-1, keepdim=True))


def relative_weights(logits: Tensor, maximum: Tensor) -> Tensor:
    """Return the weights of some logits of rows whose largest one is known.

    >>> relative_weights(torch.tensor([3.0, 0.0]), torch.tensor([3.0])) > 0.5
    tensor([ True, False])
    """
    return _clamped_exp(logits - _without_nan(maximum))


def _clamped_exp(shifted: Tensor) -> Tensor:
    """Return exp(x) of x <= 0, but at least exp(-80): such a weight is lost beside 1, and is never drawn.

    `exp` takes several times as long where its result underflows.
    """
    return torch.exp(shifted.clamp(min=-80.0))


def _without_nan(maximum: Tensor) -> Tensor:
    """Return the maximum, finite in a row without support; a NaN becomes the largest float.

    So the other weights in a row with a NaN are negligible.
    """
    limits = torch.finfo(maximum.dtype)
    return maximum.nan_to_num(limits.max, math.inf, limits.min)


def probs(parts: Terms) -> Tensor:
    """Return the probabilities ``(*B, N)``, 0 outside the support.

    >>> probs(terms(torch.zeros(3), torch.tensor([True, True, False])))
    tensor([0.5000, 0.5000, 0.0000])
    """
    return torch.where(parts.is_max, 1.0, parts.weights) / (1 + parts.rest)


def log_probs(parts: Terms) -> Tensor:
    """Return the log-probabilities ``(*B, N)``, -inf outside the support.

    >>> log_probs(terms(torch.zeros(3), torch.tensor([True, True, False])))
    tensor([-0.6931, -0.6931,    -inf])
    """
    return torch.where(parts.support | parts.rest.isnan(), parts.shifted - torch.log1p(parts.rest), -math.inf)


def log_prob(logits: Tensor, mask: Tensor | None, index: Tensor) -> Tensor:
    """Return the log-probabilities of outcomes ``(*S, *B)``: -inf if they do not exist, NaN in a row with a NaN.

    >>> log_prob(torch.zeros(2), None, torch.tensor([0, 1, 2, -1]))
    tensor([-0.6931, -0.6931,    -inf,    -inf])
    """
    if cut := cut_of_rows():
        return softmax_parts.log_prob(logits, mask, index, cut)
    return _log_prob(log_prob_terms(logits, mask), index.long())


def log_prob_and_entropy(logits: Tensor, mask: Tensor | None, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `log_prob` and `entropy` return, of one pass over the logits.

    >>> log_prob_and_entropy(torch.zeros(2), None, torch.tensor([0, 2]))
    (tensor([-0.6931,    -inf]), tensor(0.6931))
    """
    if cut := cut_of_rows():
        return softmax_parts.log_prob_and_entropy(logits, mask, index, cut)
    logits, maximum, max_index = _largest(masked(logits, mask))
    shifted = _shifted(logits, maximum, max_index)
    weights = torch.exp(shifted)
    parts = _terms_of_weights(logits, maximum, max_index, shifted, weights)
    return _log_prob(parts, index.long()), _entropy(parts, shifted, weights)


def _log_prob(parts: LogProbTerms, index: Tensor) -> Tensor:
    place = index.clamp(0, parts.logits.shape[-1] - 1)
    # `threshold` changes no value here. It has no gradient at -inf.
    return torch.threshold(log_prob_at(parts, place, place != index), -math.inf, -math.inf)


def log_prob_at(parts: LogProbTerms, index: Tensor, is_missing: Tensor | None = None) -> Tensor:
    """Return the log-probabilities of int64 outcomes ``(*S, *B)``; -inf where `is_missing`, NaN beside NaN or inf.

    >>> log_prob_at(log_prob_terms(torch.zeros(2), None), torch.tensor([0, 1]))
    tensor([-0.6931, -0.6931])
    """
    logit = _at(parts.logits, index).double() - parts.maximum
    # At the largest logit the difference is a constant 0. Its derivatives would cancel, and hide those of a small rest.
    is_largest = None
    if parts.max_index is not None:
        is_largest = index == parts.max_index
    elif parts.ties is not None:
        is_largest = (logit == 0) & (parts.ties < 2)
    if is_largest is not None:
        logit = torch.where(is_largest, logit.detach(), logit)
    if is_missing is not None:
        logit = logit.masked_fill(is_missing, -math.inf)
    return (logit - torch.log1p(_rest(parts, is_largest))).to(parts.logits.dtype)


def _at(table: Tensor, index: Tensor) -> Tensor:
    """Return the entries of a table ``(*B, N)`` at ``(*S, *B)``; its gradient has the size of the table for any S."""
    rows = table.shape[:-1]
    shape = torch.broadcast_shapes(index.shape, rows)
    count = math.prod(shape[: len(shape) - len(rows)])
    columns = index[..., None] if index.shape == rows else index.expand(shape).reshape(count, *rows).movedim(0, -1)
    if torch.compiler.is_compiling() and count == 1:
        entry = entry_at(table, columns, positions(table) == columns).squeeze(-1)
        return materialize(entry, entry)[0].reshape(shape)  # a stack of one would not be written to memory
    entries = table.gather(-1, columns)
    return entries.squeeze(-1) if index.shape == rows else entries.movedim(-1, 0).reshape(shape)


def mode(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return the index ``(*B)`` of the largest logit of the support, the first of equals.

    >>> mode(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
    tensor(1)
    """
    if cut := cut_of_rows():
        return softmax_parts.mode(logits, mask, cut)
    return argmax(masked(logits, mask)).squeeze(-1)


def variance(parts: Terms) -> Tensor:
    """Return p (1 - p) of all probabilities p ``(*B, N)``.

    >>> variance(terms(torch.zeros(2), None))
    tensor([0.2500, 0.2500])
    """
    others = torch.where(parts.is_max, parts.rest, 1 + parts.rest - parts.weights)
    return probs(parts) * others / (1 + parts.rest)


def entropy(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return the entropy ``(*B)`` in nats.

    >>> entropy(torch.zeros(3), torch.tensor([True, True, False]))
    tensor(0.6931)
    """
    if cut := cut_of_rows():
        return softmax_parts.entropy(logits, mask, cut)
    logits, maximum, max_index = _largest(masked(logits, mask))
    shifted = _shifted(logits, maximum, max_index)
    weights = torch.exp(shifted)
    return _entropy(_terms_of_weights(logits, maximum, max_index, shifted, weights), shifted, weights)


def _entropy(parts: LogProbTerms, shifted: Tensor, weights: Tensor) -> Tensor:
    """Return the entropy from the terms, what `_shifted` returns, and its exponentials."""
    terms = weights * shifted.clamp(min=-1e4)  # finite, and as good: that weight is 0
    if parts.ties is None:
        rest = _rest(parts, None)
        mean = terms.sum(-1, dtype=torch.float64) / (1 + rest)
    else:
        of_ties, of_others = _sums_of_largest_and_others(shifted, terms)
        is_alone = parts.ties < 2
        rest = _rest(parts, is_alone)
        # The terms of the largest logits are 0, but have derivatives. If one is alone, all terms are relative to it, as
        # `rest` is. Of the weight t, `of_ties` is t log(t).
        total = of_others + torch.where(is_alone, -rest * of_ties, of_ties)
        mean = total / (_at_least_one(parts.ties) + parts.others)
    return (torch.log1p(rest) - mean).to(parts.logits.dtype)
