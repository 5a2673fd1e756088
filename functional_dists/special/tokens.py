"""Log-probs and entropies of tokens: many rows of logits, with a mask of positions ``(*B)`` or of tokens ``(*B, V)``.

The number of axes of the mask decides which it is. Everything works on a chunk of rows at a time.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from functional_dists.special import softmax
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
def _table(logits: Tensor, mask: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Return the logits and the mask of tokens for `softmax`; those of ignored rows are 0, so that no NaN enters."""
    if mask.ndim == logits.ndim:
        return full(logits if rows is None else torch.where(rows[..., None], logits, 0.0)), mask
    rows = mask if rows is None else mask & rows
    return full(torch.where(rows[..., None], logits, 0.0)), None


def _log_prob_of(logits: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    """Return the log-probs of tokens ``(*B, S)``; at -1 the result is not used."""
    table = _table(logits, mask, (value != -1).any(-1))
    return _last(softmax.log_prob(*table, _first(value)), value)


def _entropy_of(logits: Tensor, mask: Tensor) -> Tensor:
    return where_counted(position_mask(logits, mask), softmax.entropy(*_table(logits, mask)), 0.0)


def _log_prob_and_entropy_of(logits: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    """Return the log-probs of tokens ``(*B, S)`` and the entropy, as ``(*B, S + 1)``."""
    scores, entropies = softmax.log_prob_and_entropy(*_table(logits, mask), _first(value))
    entropies = where_counted(position_mask(logits, mask), entropies, 0.0)
    return torch.cat([_last(scores, value), entropies[..., None]], -1)


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
