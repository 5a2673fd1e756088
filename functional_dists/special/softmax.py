"""Probabilities from logits, some of which may lie outside the support.

Everything is taken relative to the largest logit of the support, whose weight exp(0) = 1 is kept apart from the sum of
the others: log(1 + rest) then has all its digits where one outcome is nearly certain, and so have the derivatives.

A logit of NaN in the support makes all probabilities of its row NaN, those of what is outside the support included, and
so their derivatives, but for those by a logit outside the support, which are 0 in any row.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special.constant import is_constant
from functional_dists.special.elementary import expm1, expm1_minus
from functional_dists.special.vectorized import argmax, picked, quick_mask


def masked(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return the logits, -inf where the mask is not True.

    >>> masked(torch.tensor([1.0, math.nan]), torch.tensor([True, False]))
    tensor([1., -inf])
    """
    if mask is None:
        return logits
    if torch.compiler.is_compiling():
        return torch.where(quick_mask(mask), logits, -math.inf)
    return logits.masked_fill(~mask, -math.inf)  # where bools alternate often `where` takes up to twice as long


class Softmax(NamedTuple):
    """Logits ``(*B, N)`` taken apart; all is 0 in a row without support."""

    support: Tensor  # (*B, N)
    is_top: Tensor  # (*B, N): where the largest logit of the support is
    top: Tensor  # (*B, 1): that logit
    shifted: Tensor  # (*B, N): the others of the support, less the largest
    weights: Tensor  # (*B, N): their exp
    rest: Tensor  # (*B, 1): the sum of that, NaN if the support has a NaN


def softmax(logits: Tensor, mask: Tensor | None) -> Softmax:
    """Take logits apart; the support is where the mask is True, or all, but for logits of -inf.

    >>> softmax(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False])).shifted
    tensor([-2.,  0.,  0.])
    """
    possible = logits != -math.inf
    support = possible if mask is None else quick_mask(mask) & possible
    logits = torch.where(support, logits, -math.inf)
    support = support.expand(logits.shape)
    largest = argmax(logits.detach())
    is_top = torch.arange(logits.shape[-1], device=logits.device) == largest
    top = picked(logits, largest, is_top)
    is_top = is_top & support
    others = support & ~is_top
    shifted = torch.where(others, logits - top, 0.0)
    weights = torch.exp(shifted) * others
    rest = weights.sum(-1, keepdim=True) + _if_nan(top)
    return Softmax(support, is_top, top, shifted, weights, rest)


def _if_nan(top: Tensor) -> Tensor:
    """Return the largest logits where they are NaN, else 0: the only logit of a row has a part in nothing else."""
    return torch.where(top.isnan(), top, 0.0)


class Shifted(NamedTuple):
    """Logits ``(*B, N)`` and what is relative to the largest of the support: what a log-probability needs."""

    logits: Tensor  # (*B, N): -inf outside the support
    top: Tensor  # (*B): the largest, NaN if there is a NaN, and a number in a row without support
    weights: Tensor  # (*B, N): exp of the logits less the largest, where it is 1; next to nothing outside the support;
    # NaN for a NaN, and then next to nothing for all others
    rest: Tensor  # (*B): the sum of that without the largest, in float64 but for compiled code
    largest: Tensor | None  # (*B): which one it is, -1 in a row without support; None where no derivative asks for it


def shift(logits: Tensor, mask: Tensor | None) -> Shifted:
    """Compare logits with the largest of the support, which is where the mask is True, or all, but for logits of -inf.

    >>> parts = shift(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
    >>> parts.logits, parts.top, parts.largest
    (tensor([1., 3., -inf]), tensor(3.), tensor(1))
    """
    # Eager code scores alike whether a gradient is asked for or not; compiled code need not look for the largest.
    is_quick = torch.compiler.is_compiling() and logits.dtype == torch.float32 and is_constant(logits)
    logits = masked(logits, mask)
    if is_quick:
        top = _finite(logits.amax(-1, keepdim=True))
        weights = _exp(logits - _no_nan(top))
        return Shifted(logits, top.squeeze(-1), weights, _quick_rest(weights), None)
    largest = argmax(logits.detach())
    is_top = torch.arange(logits.shape[-1], device=logits.device) == largest
    top = picked(logits, largest, is_top)
    is_empty = top == -math.inf
    top = torch.where(is_empty, 0.0, top)
    weights = torch.exp(logits - _no_nan(top))
    # Compiled, the lanes of a float64 sum are added up one by one.
    dtype = weights.dtype if torch.compiler.is_compiling() else torch.float64
    rest = torch.where(is_top, 0.0, weights).sum(-1, dtype=dtype)
    rest = rest + torch.where(top < math.inf, 0.0, 0.0 * top).squeeze(-1)  # NaN beside a NaN or an infinite logit
    return Shifted(logits, top.squeeze(-1), weights, rest, torch.where(is_empty, -1, largest).squeeze(-1))


def _quick_rest(weights: Tensor) -> Tensor:
    """Return the sum of the weights less 1, that of the largest; 0 in a row without support."""
    total = weights.sum(-1, dtype=torch.float64)  # float64 has digits to spare for the difference
    return (total - 1.0).clamp(min=0)


def weights(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return exp(logits) over that of the largest in the support, next to nothing outside it, cut from the graph.

    Of a NaN it is NaN, and of the others in such a row next to nothing.

    >>> weights(torch.tensor([3.0, 3.0, 9.0]), torch.tensor([True, True, False])) > 1e-30
    tensor([ True,  True, False])
    """
    logits = masked(logits.detach(), mask)
    return _exp(logits - _no_nan(logits.amax(-1, keepdim=True)))


def _exp(shifted: Tensor) -> Tensor:
    """Return exp of what is not positive, not less than exp(-80): beside 1 that does not count, and it is not chosen.

    Where the result would underflow `exp` takes several times as long.
    """
    return torch.exp(shifted.clamp(min=-80.0))


def _finite(top: Tensor) -> Tensor:
    """Return the largest logits, a number for those of rows without support: what is -inf then stays it, less that."""
    return top.clamp(min=torch.finfo(top.dtype).min)


def _no_nan(top: Tensor) -> Tensor:
    """Return that, and for NaN a number above all others: these then have no weight beside the NaN."""
    numbers = torch.finfo(top.dtype)
    return top.nan_to_num(numbers.max, math.inf, numbers.min)


def probs(parts: Softmax) -> Tensor:
    """Return the probabilities ``(*B, N)``, 0 outside the support.

    >>> probs(softmax(torch.zeros(3), torch.tensor([True, True, False])))
    tensor([0.5000, 0.5000, 0.0000])
    """
    return torch.where(parts.is_top, 1.0, parts.weights) / (1 + parts.rest)


def log_probs(parts: Softmax) -> Tensor:
    """Return the log-probabilities ``(*B, N)``, -inf outside the support.

    >>> log_probs(softmax(torch.zeros(3), torch.tensor([True, True, False])))
    tensor([-0.6931, -0.6931,    -inf])
    """
    return torch.where(parts.support | parts.rest.isnan(), parts.shifted - torch.log1p(parts.rest), -math.inf)


def log_prob(logits: Tensor, mask: Tensor | None, index: Tensor) -> Tensor:
    """Return the log-probabilities of outcomes ``(*S, *B)``, -inf for those that do not exist; NaN of all beside a NaN.

    >>> log_prob(torch.zeros(2), None, torch.tensor([0, 1, 2, -1]))
    tensor([-0.6931, -0.6931,    -inf,    -inf])
    """
    index = index.long()
    parts = shift(logits, mask)
    exists = (index >= 0) & (index < parts.logits.shape[-1])
    log_prob = log_prob_at(parts, torch.where(exists, index, 0))
    return torch.where(exists | parts.top.isnan(), log_prob, -math.inf)


def log_prob_at(parts: Shifted, index: Tensor) -> Tensor:
    """Return the log-probabilities of outcomes ``(*S, *B)`` that exist, int64.

    >>> log_prob_at(shift(torch.zeros(2), None), torch.tensor([0, 1]))
    tensor([-0.6931, -0.6931])
    """
    logit = _at(parts.logits, index).double() - parts.top.double()
    if parts.largest is not None:
        # That of the largest is 0 without derivatives, which would cancel and leave nothing of a small rest's.
        logit = torch.where(index == parts.largest, 0.0, logit)
    log_prob = (logit - torch.log1p(parts.rest.double())).to(parts.logits.dtype)
    return log_prob if parts.largest is None else torch.where(log_prob == -math.inf, -math.inf, log_prob)  # no gradient


def _at(table: Tensor, index: Tensor) -> Tensor:
    """Return what a table ``(*B, N)`` holds at ``(*S, *B)``; the gradient is as large as the table, for any ``S``."""
    rows = table.shape[:-1]
    if index.shape == rows:
        return table.gather(-1, index[..., None]).squeeze(-1)
    shape = torch.broadcast_shapes(index.shape, rows)
    draws_last = index.expand(shape).reshape(-1, *rows).movedim(0, -1)
    return table.gather(-1, draws_last).movedim(-1, 0).reshape(shape)


def mode(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return where the largest logit of the support is ``(*B)``, the first of equals.

    >>> mode(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
    tensor(1)
    """
    return argmax(masked(logits, mask)).squeeze(-1)


def variance(parts: Softmax) -> Tensor:
    """Return p (1 - p) of all probabilities p ``(*B, N)``.

    >>> variance(softmax(torch.zeros(2), None))
    tensor([0.2500, 0.2500])
    """
    others = torch.where(parts.is_top, parts.rest, 1 + parts.rest - parts.weights)
    return probs(parts) * others / (1 + parts.rest)


def entropy(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return the entropy ``(*B)`` in nats.

    >>> entropy(torch.zeros(3), torch.tensor([True, True, False]))
    tensor(0.6931)
    """
    parts = softmax(logits, mask)
    mean_shifted = (parts.weights * parts.shifted).sum(-1) / (1 + parts.rest.squeeze(-1))
    return torch.log1p(parts.rest.squeeze(-1)) - mean_shifted


def kl(p_logits: Tensor, p_mask: Tensor | None, q_logits: Tensor, q_mask: Tensor | None) -> Tensor:
    """Return the divergence KL(p || q) in nats, +inf where p has an outcome that q has not.

    It is the sum of p (exp(-r) - 1 + r) over p's support, where r = log p - log q, and of q outside it: no term is
    negative, so nothing cancels. Where p and q are close r comes from the differences d of the logits, whose common
    part does not matter: r = d - log(sum of q exp(d)), and that sum is 1 + (sum of q (exp(d) - 1)) - (q outside).

    >>> kl(torch.zeros(2), None, torch.tensor([0.0, 1e-3]), None)
    tensor(1.2500e-07)
    """
    p, q = softmax(p_logits, p_mask), softmax(q_logits, q_mask)
    p_probs, q_probs = probs(p), probs(q)
    both = p.support & q.support
    difference = _difference(p_logits, q_logits, p, both)
    q_outside = torch.where(q.support & ~p.support, q_probs, 0.0).sum(-1, keepdim=True)

    close = (difference.detach().abs().amax(-1, keepdim=True) < 1) & (q_outside.detach() < 0.5)
    small = torch.where(close, difference, 0.0)
    gain = (torch.where(both, q_probs, 0.0) * expm1(small)).sum(-1, keepdim=True) - q_outside
    of_close = small - torch.log1p(torch.where(close, gain, 0.0))
    apart = (p.shifted - q.shifted) + (torch.log1p(q.rest) - torch.log1p(p.rest))
    ratio = torch.where(both, torch.where(close, of_close, apart), 0.0)

    near = ratio.detach().abs() < 1
    of_near = p_probs * expm1_minus(-torch.where(near, ratio, 0.0))
    of_both = torch.where(near, of_near, q_probs - p_probs + p_probs * ratio)
    inside = torch.where(both, of_both, 0.0).sum(-1)
    is_missed = (p.support & ~q.support).any(-1)
    has_support = p.support.any(-1) & q.support.any(-1)
    divergence = torch.where(is_missed, math.inf, torch.where(has_support, inside + q_outside.squeeze(-1), 0.0))
    rest = (p.rest + q.rest).squeeze(-1)
    return torch.where(rest.isnan(), inside + rest, divergence)


def _difference(p_logits: Tensor, q_logits: Tensor, p: Softmax, both: Tensor) -> Tensor:
    """Return p_logits - q_logits less what it is at p's largest; 0 there and outside of both supports.

    Where the logits differ by little but a common part, what the first subtraction rounds off decides.
    """
    p_logits, q_logits = torch.where(both, p_logits, 0.0), torch.where(both, q_logits, 0.0)
    difference = p_logits - q_logits
    rounded = _rounded_off(p_logits.detach(), q_logits.detach(), difference.detach())

    def at_top(table: Tensor) -> Tensor:
        return torch.where(p.is_top, table, 0.0).sum(-1, keepdim=True)

    relative = (difference - at_top(difference)) + (rounded - at_top(rounded))
    return torch.where(both & ~p.is_top, relative, 0.0)


def _rounded_off(a: Tensor, b: Tensor, difference: Tensor) -> Tensor:
    """Return a - b - (a - b rounded), exactly (Knuth)."""
    part = difference - a
    return (a - (difference - part)) - (b + part)
