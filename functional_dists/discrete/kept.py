"""Kept sets of tokens in three forms: a mask, padded indices, and ids with offsets as serving engines hand them out.

A kept set says for each row of logits which tokens a sampler could draw, such as those of `logits.keep`. Its forms are:

* a mask: bool of shape (*batch, V), True at the kept tokens;
* padded indices: integers of shape (*batch, K), the distinct kept tokens, and negative numbers in unused slots;
* `KeptTokens`: all kept tokens of all rows in one list, and where the list of each row begins.

Every function takes any form. In eager code on the CPU a list that does not fit raises a ValueError. A row without a
kept token converts to itself, since ignored positions often have none; `check` reports it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.discrete.indices import mask_from_indices
from functional_dists.family import require
from functional_dists.special.constant import has_values

__all__ = ["Kept", "KeptTokens", "as_indices", "as_mask", "as_tokens", "check"]
__dir__ = __all__.copy  # what tab completion shows


class KeptTokens(NamedTuple):
    """The kept tokens of all rows, one row after the other.

    token_ids: Tokens, integers of shape (total,).
    offsets: Integers of shape (rows + 1,): row r keeps token_ids[offsets[r]:offsets[r + 1]].
    """

    token_ids: Tensor
    offsets: Tensor


#: A kept set in one of its forms.
Kept = Tensor | KeptTokens


def can_count(kept: Kept) -> bool:
    """Say whether eager code can know how many tokens are kept.

    >>> can_count(torch.tensor([[2, 0, -1]]))
    True
    """
    return has_values(kept if isinstance(kept, Tensor) else kept.offsets)


def as_mask(kept: Kept, num_tokens: int, batch: Sequence[int] | None = None) -> Tensor:
    """Return a kept set as a mask.

    Args:
        kept: A kept set in any form.
        num_tokens: The number V of tokens.
        batch: The batch of the rows of `KeptTokens`; (rows,) by default. Other forms have their own batch.

    Returns:
        Bool of shape (*batch, V).

    Raises:
        TypeError: `kept` is not a kept set.
        ValueError: The mask has not V columns, or in eager code on the CPU a token is not below V, the offsets do not
            fit, or their number does not fit the batch.

    >>> as_mask(torch.tensor([[2, 0, -1]]), 4)
    tensor([[ True, False,  True, False]])
    >>> as_mask(KeptTokens(torch.tensor([2, 0, 1]), torch.tensor([0, 2, 3])), 4)
    tensor([[ True, False,  True, False],
            [False,  True, False, False]])
    """
    kept = checked(kept)
    if isinstance(kept, KeptTokens):
        count = kept.offsets.shape[0] - 1
        _require_below(kept.token_ids, num_tokens, lowest=0)
        places = _rows(kept) * num_tokens + kept.token_ids.long()
        flat = torch.zeros(count * num_tokens, dtype=torch.bool, device=places.device).index_fill(0, places, True)
        batch = (count,) if batch is None else tuple(batch)
        if torch.Size(batch).numel() != count:
            raise ValueError(f"offsets are of {count} rows, which do not fit the batch {batch}")
        return flat.reshape(*batch, num_tokens)
    if kept.dtype == torch.bool:
        if kept.shape[-1] != num_tokens:
            raise ValueError(f"a mask of kept tokens must have {num_tokens} columns, got shape {tuple(kept.shape)}")
        return kept
    _require_below(kept, num_tokens)
    return mask_from_indices(kept.clamp(min=-1), num_tokens, padding_value=-1)


def as_indices(kept: Kept, size: int | None = None) -> Tensor:
    """Return a kept set as padded indices, with -1 in the unused slots at the end.

    Args:
        kept: A kept set in any form.
        size: The number K of slots. By default that of the longest row, which only eager code can know. Where the
            numbers cannot be read, tokens that find no slot are lost.

    Returns:
        int64 of shape (*batch, K): in the order of the tokens for a mask, otherwise in the given order.

    Raises:
        TypeError: `kept` is not a kept set.
        ValueError: A row keeps more than `size` tokens, in eager code on the CPU, or the offsets do not fit.

    >>> as_indices(torch.tensor([[True, False, True], [False, True, False]]))
    tensor([[ 0,  2],
            [ 1, -1]])
    >>> as_indices(KeptTokens(torch.tensor([2, 0, 1]), torch.tensor([0, 2, 3])), 3)
    tensor([[ 2,  0, -1],
            [ 1, -1, -1]])
    """
    kept = checked(kept)
    if isinstance(kept, KeptTokens):
        counts = kept.offsets.diff()
        size = _size("as_indices", counts, size)
        rows = _rows(kept)
        slots = torch.arange(len(rows), device=rows.device) - kept.offsets.long()[rows]
        table = torch.full((counts.shape[0], size + 1), -1, device=rows.device)
        table = table.index_put((rows, slots.clamp(max=size)), kept.token_ids.long())
        return table[..., :size]
    is_kept = kept if kept.dtype == torch.bool else kept >= 0
    rank = is_kept.cumsum(-1)
    size = _size("as_indices", rank[..., -1], size)
    slots = torch.where(is_kept, (rank - 1).clamp(max=size), size)  # what has no slot goes to one that is cut off
    tokens = torch.arange(kept.shape[-1], device=kept.device) if kept.dtype == torch.bool else kept.long()
    table = torch.full((*kept.shape[:-1], size + 1), -1, device=kept.device)
    return table.scatter(-1, slots, tokens.expand(kept.shape))[..., :size]


def as_tokens(kept: Kept) -> KeptTokens:
    """Return a kept set as one list of tokens with offsets; the axes of the batch become one axis of rows.

    Their number depends on the data, so this is for eager code only, and for kept sets that `vmap` does not batch.

    Args:
        kept: A kept set in any form.

    Returns:
        int64 tokens and offsets: in the order of the tokens for a mask, otherwise in the given order.

    Raises:
        RuntimeError: This is not eager code, or the kept set is batched by `vmap`.
        TypeError: `kept` is not a kept set.

    >>> as_tokens(torch.tensor([[2, 0, -1], [1, -1, -1]]))
    KeptTokens(token_ids=tensor([2, 0, 1]), offsets=tensor([0, 2, 3]))
    """
    kept = checked(kept)
    if not can_count(kept):
        raise RuntimeError("kept.as_tokens: the number of kept tokens depends on the data; call it in plain eager code")
    if isinstance(kept, KeptTokens):
        return KeptTokens(kept.token_ids.long(), kept.offsets.long())
    rows = kept.reshape(-1, kept.shape[-1])
    is_kept = rows if rows.dtype == torch.bool else rows >= 0
    token_ids = is_kept.nonzero()[:, 1] if rows.dtype == torch.bool else rows[is_kept].long()
    return KeptTokens(token_ids, torch.nn.functional.pad(is_kept.sum(-1).cumsum(0), (1, 0)))


def check(kept: Kept, num_tokens: int) -> None:
    """Raise a ValueError that names the first bad row, in eager code only.

    Args:
        kept: A kept set in any form.
        num_tokens: The number V of tokens.

    Raises:
        TypeError: `kept` is not a kept set.
        ValueError: It does not fit, a row keeps no token, or a row lists a token twice.

    >>> check(torch.tensor([[2, 0, -1], [-1, -1, -1]]), 4)
    Traceback (most recent call last):
    ...
    ValueError: kept must hold a token in every row; this fails at position (1,)
    """
    mask = as_mask(kept, num_tokens)
    require(mask.any(-1), "kept", "must hold a token in every row")
    if isinstance(kept, KeptTokens) or kept.dtype != torch.bool:
        listed = kept.offsets.diff() if isinstance(kept, KeptTokens) else (kept >= 0).sum(-1)
        require(listed == mask.sum(-1), "kept", "must hold distinct tokens in every row")


# ------------------------------------------------------------------------------------------------------------- helpers
def checked(kept: Kept) -> Kept:
    """Return the kept set if it has one of the forms."""
    if isinstance(kept, Tensor):
        if kept.dtype.is_floating_point or kept.dtype.is_complex or not kept.ndim:
            raise TypeError(f"kept must be bool or integers with an axis, got {kept.dtype} of {tuple(kept.shape)}")
        return kept
    if not (isinstance(kept, tuple) and len(kept) == 2 and all(isinstance(part, Tensor) for part in kept)):
        raise TypeError(f"kept must be a mask, indices or KeptTokens, got {type(kept).__name__}")
    kept = KeptTokens(*kept)
    for name, part in zip(kept._fields, kept, strict=True):
        if part.ndim != 1 or part.dtype.is_floating_point or part.dtype.is_complex or part.dtype == torch.bool:
            raise TypeError(f"{name} must be integers with one axis, got {part.dtype} of shape {tuple(part.shape)}")
    if not len(kept.offsets):
        raise ValueError("offsets must have one element more than there are rows, got none")
    if _can_read(kept.offsets):
        first, last = int(kept.offsets[0]), int(kept.offsets[-1])
        if first != 0 or last != len(kept.token_ids):
            raise ValueError(
                f"offsets must begin with 0 and end with the number {len(kept.token_ids)} of token_ids, got {first} "
                f"and {last}"
            )
        require(kept.offsets.diff() >= 0, "offsets", "must not fall")
    return kept


def _rows(kept: KeptTokens) -> Tensor:
    """Return the row of every token."""
    places = torch.arange(kept.token_ids.shape[0], device=kept.offsets.device)
    return torch.searchsorted(kept.offsets.long(), places, right=True) - 1


def _size(function: str, counts: Tensor, size: int | None) -> int:
    """Return the number of slots, after a check that the rows fit."""
    if size is not None and not _can_read(counts):
        return size
    if size is None and not has_values(counts):
        raise ValueError(f"kept.{function}: size must be given where the numbers of a kept set cannot be read")
    longest = int(counts.max()) if counts.numel() else 0
    if size is not None and longest > size:
        raise ValueError(f"kept.{function}: a row keeps {longest} tokens, more than size={size}")
    return longest if size is None else size


def _require_below(token_ids: Tensor, num_tokens: int, lowest: int | None = None) -> None:
    if not _can_read(token_ids) or not token_ids.numel():
        return
    if int(token_ids.max()) >= num_tokens or (lowest is not None and int(token_ids.min()) < lowest):
        wrong = (token_ids >= num_tokens) | (token_ids < (-(2**63) if lowest is None else lowest))
        raise ValueError(f"kept tokens must lie between 0 and {num_tokens - 1}, got {int(token_ids[wrong][0])}")


def _can_read(tensor: Tensor) -> bool:
    """Say whether the numbers can be read without waiting for a device."""
    return tensor.is_cpu and has_values(tensor)
