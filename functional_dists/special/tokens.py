"""Log-probs and entropies of tokens: many rows of logits, with a mask of positions ``(*B)`` or of tokens ``(*B, V)``.

The number of axes of the mask decides which it is. Everything works on a chunk of rows at a time, whose logits an
`Adjustment` may change.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from functional_dists.special import softmax, softmax_parts
from functional_dists.special.adjustment import Adjustment
from functional_dists.special.axis import cut_of_rows

__all__ = [
    "entropy",
    "kl",
    "log_prob",
    "log_prob_and_entropy",
    "position_mask",
    "samples_first",
    "samples_last",
    "where_counted",
]
__dir__ = __all__.copy  # what tab completion shows

_NONE = Adjustment()


def log_prob(logits: Tensor, mask: Tensor, value: Tensor, ignore_index: int, adjustment: Adjustment = _NONE) -> Tensor:
    """Return the log-probs of tokens ``(*S, *B)``, 0 for `ignore_index` and at ignored positions.

    >>> log_prob(torch.zeros(2, 4), torch.tensor([True, True]), torch.tensor([3, -100]), -100)
    tensor([-1.3863,  0.0000])
    """
    value, columns = _columns(logits, value, ignore_index)
    scores = samples_first(adjustment.by_chunks(_log_prob_of, logits, mask, columns), value.shape)
    return _counted(logits, mask, value, scores, ignore_index)


def entropy(logits: Tensor, mask: Tensor, adjustment: Adjustment = _NONE) -> Tensor:
    """Return the entropies ``(*B)`` in nats, 0 at ignored positions.

    >>> entropy(torch.zeros(2, 4), torch.tensor([True, False]))
    tensor([1.3863, 0.0000])
    """
    return adjustment.by_chunks(_entropy_of, logits, mask)


def log_prob_and_entropy(
    logits: Tensor, mask: Tensor, value: Tensor, ignore_index: int, adjustment: Adjustment = _NONE
) -> tuple[Tensor, Tensor]:
    """Return what `log_prob` and `entropy` return, of one pass over the logits.

    >>> log_prob_and_entropy(torch.zeros(2, 4), torch.tensor([True, False]), torch.tensor([3, 3]), -100)
    (tensor([-1.3863,  0.0000]), tensor([1.3863, 0.0000]))
    """
    value, columns = _columns(logits, value, ignore_index)
    both = adjustment.by_chunks(_log_prob_and_entropy_of, logits, mask, columns)
    scores = samples_first(both[..., :-1], value.shape)
    return _counted(logits, mask, value, scores, ignore_index), both[..., -1]


def kl(p_logits: Tensor, p_mask: Tensor, q_logits: Tensor, q_mask: Tensor, adjustment: Adjustment = _NONE) -> Tensor:
    """Return KL(p || q) ``(*B)`` in nats; +inf where p allows a token that q does not.

    It is the sum of p (exp(-r) - 1 + r), r = log p - log q, and of q outside p's support; no term is negative. The
    caller replaces it at ignored positions.

    >>> mask = torch.tensor([True])
    >>> kl(torch.zeros(1, 3), mask, torch.tensor([[0.0, 0.0, 1.0]]), mask)
    tensor([0.1195])
    """
    return adjustment.by_chunks(_kl_of, p_logits, p_mask, q_logits, q_mask)


def _columns(logits: Tensor, value: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return the tokens ``(*S, *B)``, and as ``(*B, S)`` with -1 for `ignore_index`."""
    value = value.expand(torch.broadcast_shapes(value.shape, logits.shape[:-1]))
    return value, samples_last(torch.where(value != ignore_index, value, -1), logits.ndim - 1)


def _counted(logits: Tensor, mask: Tensor, value: Tensor, scores: Tensor, ignore_index: int) -> Tensor:
    return where_counted(position_mask(logits, mask), torch.where(value != ignore_index, scores, 0.0), 0.0)


# ------------------------------------------------------------------------------------------------------ rows of a chunk
def _table(
    adjustment: Adjustment, logits: Tensor, mask: Tensor, rows: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return the logits and the mask of tokens for `softmax`; those of ignored rows are 0, so that no NaN enters."""
    if mask.ndim == logits.ndim:
        return adjustment.adjusted(logits if rows is None else torch.where(rows[..., None], logits, 0.0), mask), mask
    rows = mask if rows is None else mask & rows
    return adjustment.adjusted(torch.where(rows[..., None], logits, 0.0)), None


def _log_prob_of(adjustment: Adjustment, logits: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    """Return the log-probs of tokens ``(*B, S)``; at -1 the result is not used."""
    table = _table(adjustment, logits, mask, (value != -1).any(-1))
    return _last(softmax.log_prob(*table, _first(value)), value)


def _entropy_of(adjustment: Adjustment, logits: Tensor, mask: Tensor) -> Tensor:
    return where_counted(position_mask(logits, mask), softmax.entropy(*_table(adjustment, logits, mask)), 0.0)


def _log_prob_and_entropy_of(adjustment: Adjustment, logits: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    """Return the log-probs of tokens ``(*B, S)`` and the entropy, as ``(*B, S + 1)``."""
    scores, entropies = softmax.log_prob_and_entropy(*_table(adjustment, logits, mask), _first(value))
    entropies = where_counted(position_mask(logits, mask), entropies, 0.0)
    return torch.cat([_last(scores, value), entropies[..., None]], -1)


def _kl_of(adjustment: Adjustment, p_logits: Tensor, p_mask: Tensor, q_logits: Tensor, q_mask: Tensor) -> Tensor:
    if cut := cut_of_rows():
        tables = _table(adjustment, p_logits, p_mask), _table(adjustment, q_logits, q_mask)
        return softmax_parts.kl(*tables[0], *tables[1], cut)
    (log_p, p_counts), (log_q, q_counts) = (
        _log_softmax(adjustment, *table) for table in ((p_logits, p_mask), (q_logits, q_mask))
    )
    in_p, in_q = (log_p != -math.inf) & p_counts[..., None], (log_q != -math.inf) & q_counts[..., None]
    in_both = in_p & in_q
    log_ratio = torch.where(in_both, log_p, 0.0) - torch.where(in_both, log_q, 0.0)
    p, q = log_p.exp(), log_q.exp()
    is_near = log_ratio.detach().abs() < 1
    near = torch.where(is_near, log_ratio, 0.0)
    terms = torch.where(is_near, p * (torch.expm1(-near) + near), q - p + p * log_ratio)
    divergence = torch.where(in_both, terms, torch.where(in_q, q, 0.0)).sum(-1)
    is_missed = (in_p & ~in_q).any(-1) & ~divergence.isnan()
    return torch.where(is_missed, math.inf, torch.where(p_counts & q_counts, divergence, 0.0))


def _log_softmax(adjustment: Adjustment, logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities ``(*B, V)``, and the mask of the rows in which they are valid.

    The softmax of ignored rows, and of rows without a token, is that of zeros, so it gives no NaN, forward or backward.
    """
    positions = position_mask(logits, mask)
    if positions is None:
        logits = torch.where(mask, logits, -math.inf)
    has_token = logits.detach().amax(-1) != -math.inf
    rows = has_token if positions is None else has_token & positions
    return adjustment.adjusted(torch.where(rows[..., None], logits, 0.0)).log_softmax(-1), rows


def _first(value: Tensor) -> Tensor:
    """Return ``(*B, S)`` as ``(S, *B)``, or ``(*B)`` for a single sample: then `softmax` needs no copy."""
    return value.squeeze(-1) if value.shape[-1] == 1 else value.movedim(-1, 0)


def _last(scores: Tensor, value: Tensor) -> Tensor:
    return scores[..., None] if value.shape[-1] == 1 else scores.movedim(0, -1)


# --------------------------------------------------------------------------------------------------- masks and dtypes
def position_mask(logits: Tensor, mask: Tensor) -> Tensor | None:
    """Return the mask if it is of positions, else None.

    >>> position_mask(torch.zeros(1, 2), torch.tensor([True]))
    tensor([True])
    """
    return mask if mask.ndim < logits.ndim else None


def where_counted(positions: Tensor | None, result: Tensor, otherwise: float) -> Tensor:
    """Return the result, but a number at ignored positions, if there is a mask of positions.

    >>> where_counted(torch.tensor([True, False]), torch.tensor([1.0, 1.0]), 0.0)
    tensor([1., 0.])
    """
    return result if positions is None else torch.where(positions, result, otherwise)


# ------------------------------------------------------------------------------------------------------------ samples
def samples_last(table: Tensor, batch_ndim: int) -> Tensor:
    """Return ``(*S, *B)`` as ``(*B, S)``, so that slices of the batch hold all samples of a row.

    >>> samples_last(torch.zeros(3, 4, 2), 1).shape
    torch.Size([2, 12])
    """
    split = table.ndim - batch_ndim
    return table.reshape(math.prod(table.shape[:split]), *table.shape[split:]).movedim(0, -1)


def samples_first(columns: Tensor, shape: Sequence[int]) -> Tensor:
    """Return ``(*B, S)`` as ``(*S, *B)``.

    >>> samples_first(torch.zeros(2, 12), (3, 4, 2)).shape
    torch.Size([3, 4, 2])
    """
    return columns.movedim(-1, 0).reshape(shape)
