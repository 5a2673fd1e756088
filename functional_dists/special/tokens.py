"""Log-probs and entropies of tokens: many rows of logits, with a mask of positions ``(*B)`` or of tokens ``(*B, V)``.

The number of axes of the mask decides which it is. Everything works on a chunk of rows at a time.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special import softmax, vectorized
from functional_dists.special.chunks import by_chunks


def log_prob(logits: Tensor, mask: Tensor, value: Tensor, ignore_index: int) -> Tensor:
    """Return the log-probs of tokens ``(*S, *B)``, 0 for `ignore_index` and at ignored positions.

    >>> log_prob(torch.zeros(2, 4), torch.tensor([True, True]), torch.tensor([3, -100]), -100)
    tensor([-1.3863,  0.0000])
    """
    value, columns = _columns(logits, value, ignore_index)
    scores = samples_first(by_chunks(_log_prob_of, logits, mask, columns), value.shape)
    return _counted(logits, mask, value, scores, ignore_index)


def entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the entropies ``(*B)`` in nats, 0 at ignored positions.

    >>> entropy(torch.zeros(2, 4), torch.tensor([True, False]))
    tensor([1.3863, 0.0000])
    """
    return by_chunks(_entropy_of, logits, mask)


def log_prob_and_entropy(logits: Tensor, mask: Tensor, value: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return what `log_prob` and `entropy` return, of one pass over the logits.

    >>> log_prob_and_entropy(torch.zeros(2, 4), torch.tensor([True, False]), torch.tensor([3, 3]), -100)
    (tensor([-1.3863,  0.0000]), tensor([1.3863, 0.0000]))
    """
    value, columns = _columns(logits, value, ignore_index)
    both = by_chunks(_log_prob_and_entropy_of, logits, mask, columns)
    scores = samples_first(both[..., :-1], value.shape)
    return _counted(logits, mask, value, scores, ignore_index), both[..., -1]


def _columns(logits: Tensor, value: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return the tokens ``(*S, *B)``, and as ``(*B, S)`` with -1 for `ignore_index`."""
    value = value.expand(torch.broadcast_shapes(value.shape, logits.shape[:-1]))
    return value, samples_last(torch.where(value != ignore_index, value, -1), logits.ndim - 1)


def _counted(logits: Tensor, mask: Tensor, value: Tensor, scores: Tensor, ignore_index: int) -> Tensor:
    return where_counted(position_mask(logits, mask), torch.where(value != ignore_index, scores, 0.0), 0.0)


# ------------------------------------------------------------------------------------------------------ rows of a chunk
class _Rows(NamedTuple):
    """Logits ``(*B, V)``, and what the sums of their rows need."""

    logits: Tensor  # at least float32; -inf outside the support, 0 in an ignored row
    top: Tensor  # (*B, 1): the largest logit, 0 in a row that is not valid
    is_valid: Tensor  # (*B): False in an ignored row, and in a row without a token


def _rows(logits: Tensor, mask: Tensor, rows: Tensor | None = None) -> _Rows:
    """Return the rows of a chunk; those where `rows` or a mask of positions is False are ignored."""
    if mask.ndim == logits.ndim:
        logits = softmax.masked(logits, mask)
    else:
        rows = mask if rows is None else mask & rows
    top = logits.detach().amax(-1, keepdim=True)
    # A row of only -inf stays in the table. A mask computed from floats would be recomputed for every 16 tokens: C++
    # assumes that writing the gradient in between may change them.
    is_valid = top != -math.inf
    if rows is not None:
        logits, is_valid = torch.where(rows[..., None], logits, 0.0), is_valid & rows[..., None]
    return _Rows(full(logits), full(torch.where(is_valid, top, 0.0)), is_valid.squeeze(-1))


def _total(weights: Tensor, is_valid: Tensor) -> Tensor:
    """Return the sums of the weights exp(logits - top), which are at least 1, and 1 in a row that is not valid.

    A sum of floats has an error of some ulp of 1, one of doubles has none. Compiled code adds up doubles in a fifth of
    the speed.
    """
    dtype = weights.dtype if torch.compiler.is_compiling() else torch.float64
    return torch.where(is_valid, weights.sum(-1, dtype=dtype), 1.0)


def _log_prob_of(logits: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    """Return the log-probs of tokens ``(*B, S)``, -inf for those that do not exist; at -1 the result is not used."""
    rows = _rows(logits, mask, (value != -1).any(-1))
    return _scores(rows, value, _total(torch.exp(rows.logits - rows.top), rows.is_valid))


def _entropy_of(logits: Tensor, mask: Tensor) -> Tensor:
    rows = _rows(logits, mask)
    weights = torch.exp(rows.logits - rows.top)
    return _entropy(rows, weights, _total(weights, rows.is_valid))


def _log_prob_and_entropy_of(logits: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    """Return the log-probs of tokens ``(*B, S)`` and the entropy, as ``(*B, S + 1)``."""
    rows = _rows(logits, mask)
    weights = torch.exp(rows.logits - rows.top)
    total = _total(weights, rows.is_valid)
    return torch.cat([_scores(rows, value, total), _entropy(rows, weights, total)[..., None]], -1)


def _scores(rows: _Rows, value: Tensor, total: Tensor) -> Tensor:
    exists = (value >= 0) & (value < rows.logits.shape[-1])
    token = torch.where(exists, value, 0)
    if value.shape[-1] == 1:  # compiled this takes two passes over the logits, and one over their gradient
        is_token = vectorized.positions(rows.logits) == token.to(torch.float32)
        picked = vectorized.entry_at(rows.logits, token, is_token)
    else:
        picked = rows.logits.gather(-1, token)
    scores = ((picked - rows.top) - torch.log1p(total - 1)[..., None]).to(picked.dtype)
    is_scored = (exists | scores.isnan()) & rows.is_valid[..., None] & (picked != -math.inf)
    return torch.where(is_scored, scores, -math.inf)


def _entropy(rows: _Rows, weights: Tensor, total: Tensor) -> Tensor:
    shifted = torch.where(rows.logits == -math.inf, 0.0, rows.logits - rows.top)
    mean = (weights * shifted).sum(-1, dtype=total.dtype) / total
    return torch.where(rows.is_valid, torch.log1p(total - 1) - mean, 0.0).to(weights.dtype)


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


def full(logits: Tensor) -> Tensor:
    """Return logits in the precision of the computation, at least float32.

    >>> full(torch.ones(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


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
