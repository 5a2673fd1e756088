"""The divergence of two softmaxes, without cancellation."""

import math

import torch
from torch import Tensor

from functional_dists.special import softmax_parts
from functional_dists.special.axis import cut_of_rows
from functional_dists.special.elementary import expm1, expm1_minus
from functional_dists.special.softmax import Terms, probs, terms

__all__ = ["softmax_kl"]


def softmax_kl(p_logits: Tensor, p_mask: Tensor | None, q_logits: Tensor, q_mask: Tensor | None) -> Tensor:
    """Return the divergence KL(p || q) in nats, +inf where p has an outcome that q has not.

    With r = log p - log q it is the sum of p (exp(-r) - 1 + r) over p's support, plus the mass of q outside it. No term
    is negative, so nothing cancels. Where p and q are close, r comes from the differences d of the logits; a constant
    in d does not matter. Then r = d - log(sum of q exp(d)), and that sum is 1 + (sum of q (exp(d) - 1)) - (q outside).

    >>> softmax_kl(torch.zeros(2), None, torch.tensor([0.0, 1e-3]), None)
    tensor(1.2500e-07)
    """
    if cut := cut_of_rows():
        return softmax_parts.kl(p_logits, p_mask, q_logits, q_mask, cut)
    p, q = terms(p_logits, p_mask), terms(q_logits, q_mask)
    p_probs, q_probs = probs(p), probs(q)
    both = p.support & q.support
    difference = _difference(p_logits, q_logits, p, both)
    q_outside = torch.where(q.support & ~p.support, q_probs, 0.0).sum(-1, keepdim=True)

    close = (difference.detach().abs().amax(-1, keepdim=True) < 1) & (q_outside.detach() < 0.5)
    small = torch.where(close, difference, 0.0)
    gain = (torch.where(both, q_probs, 0.0) * expm1(small)).sum(-1, keepdim=True) - q_outside
    close_ratio = small - torch.log1p(torch.where(close, gain, 0.0))
    far_ratio = (p.shifted - q.shifted) + (torch.log1p(q.rest) - torch.log1p(p.rest))
    ratio = torch.where(both, torch.where(close, close_ratio, far_ratio), 0.0)

    near = ratio.detach().abs() < 1
    near_terms = p_probs * expm1_minus(-torch.where(near, ratio, 0.0))
    terms_in_both = torch.where(near, near_terms, q_probs - p_probs + p_probs * ratio)
    inside = torch.where(both, terms_in_both, 0.0).sum(-1)
    is_missed = (p.support & ~q.support).any(-1)
    has_support = p.support.any(-1) & q.support.any(-1)
    divergence = torch.where(is_missed, math.inf, torch.where(has_support, inside + q_outside.squeeze(-1), 0.0))
    rest = (p.rest + q.rest).squeeze(-1)
    return torch.where(rest.isnan(), inside + rest, divergence)


def _difference(p_logits: Tensor, q_logits: Tensor, p: Terms, both: Tensor) -> Tensor:
    """Return p_logits - q_logits minus its value at p's maximum; 0 there and outside of either support.

    If the logits differ mostly by a constant, the rounding error of the first subtraction matters.
    """
    p_logits, q_logits = torch.where(both, p_logits, 0.0), torch.where(both, q_logits, 0.0)
    difference = p_logits - q_logits
    rounded = _rounded_off(p_logits.detach(), q_logits.detach(), difference.detach())

    def at_max(table: Tensor) -> Tensor:
        return torch.where(p.is_max, table, 0.0).sum(-1, keepdim=True)

    relative = (difference - at_max(difference)) + (rounded - at_max(rounded))
    return torch.where(both & ~p.is_max, relative, 0.0)


def _rounded_off(a: Tensor, b: Tensor, difference: Tensor) -> Tensor:
    """Return the rounding error of `difference` = a - b, exactly (Knuth)."""
    part = difference - a
    return (a - (difference - part)) - (b + part)
