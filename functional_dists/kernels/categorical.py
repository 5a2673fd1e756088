"""Kernels of categoricals: their parameters are `table`, which is (logits,) or, with a mask, (logits, mask)."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

import functional_dists.random as random
import functional_dists.random.extension as extension
from functional_dists.kernels import gradients, operands
from functional_dists.kernels.operands import address, is_readable, layouts, new
from functional_dists.kernels.tokens import change_logits
from functional_dists.random import Source
from functional_dists.special.choice import unit_of

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def draw(
    has_log_prob: bool,
    key: Source,
    *table: Any,
    sample_shape: tuple[int, ...] = (),
    dtype: torch.dtype | None = None,
) -> Any:
    """Do what `sample` or, if `has_log_prob`, `sample_and_log_prob` does."""
    shape = _table_shape(*table)
    if shape is None or not operands.is_small((*sample_shape, *shape[:-1])):
        return NotImplemented
    is_tracked = has_log_prob and operands.are_tracked(*table)
    if is_tracked and not operands.can_be_saved(*table):
        return NotImplemented
    uniform = random.draw_entries(random.uniform, key, sample_shape, shape[:-1], dtype=torch.float64, device="cpu")
    outcome = new(table[0], uniform.shape, torch.int64)
    log_prob = new(table[0], uniform.shape) if has_log_prob else None
    _call_categories(shape, table, uniform.contiguous(), outcome, log_prob)
    if is_tracked:
        log_prob = _differentiable(table, outcome, log_prob, shape)
    return (outcome, _cast(log_prob, dtype)) if has_log_prob else outcome


def log_prob(*arguments: Any, dtype: torch.dtype | None = None) -> Any:
    """Do what `log_prob` does."""
    *table, value = arguments
    shape = _table_shape(*table)
    if shape is None or type(value) is not Tensor or value.dtype not in _INTEGERS:
        return NotImplemented
    batch = shape[:-1]
    if value.shape != batch and value.shape[value.ndim - len(batch) :] != batch:
        if value.ndim:
            return NotImplemented
        value = value.expand(batch)
    outcome = value.long().contiguous()
    if not outcome.numel() or not is_readable(outcome, torch.int64):
        return NotImplemented
    is_tracked = operands.are_tracked(*table)
    if is_tracked and not operands.can_be_saved(*table, outcome):
        return NotImplemented
    log_prob = new(table[0], outcome.shape)
    _call_categories(shape, table, None, outcome, log_prob)
    return _cast(_differentiable(table, outcome, log_prob, shape) if is_tracked else log_prob, dtype)


def entropy(*table: Any, dtype: torch.dtype | None = None) -> Any:
    """Do what `entropy` does."""
    shape = _table_shape(*table)
    is_tracked = operands.are_tracked(*table)
    if shape is None or (is_tracked and not operands.can_be_saved(*table)):
        return NotImplemented
    entropy = new(table[0], shape[:-1])
    kernels: Any = extension.kernels
    kernels.entropies(shape, *layouts(*_with_mask(table)), entropy.data_ptr())
    return _cast(_differentiable(table, None, entropy, shape) if is_tracked else entropy, dtype)


def log_prob_and_entropy(*arguments: Any, dtype: torch.dtype | None = None) -> Any:
    """Do what `log_prob_and_entropy` does."""
    score = log_prob(*arguments, dtype=dtype)
    if score is NotImplemented:
        return NotImplemented
    of_table = entropy(*arguments[:-1], dtype=dtype)
    return NotImplemented if of_table is NotImplemented else (score, of_table)


def kl(*tables: Any, dtype: torch.dtype | None = None) -> Any:
    """Do what `kl` does."""
    p, q = tables[: len(tables) // 2], tables[len(tables) // 2 :]
    p_shape, q_shape = _table_shape(*p), _table_shape(*q)
    if p_shape is None or q_shape is None or p_shape[-1] != q_shape[-1] or operands.are_tracked(*tables):
        return NotImplemented
    shape = operands.broadcast(p_shape, q_shape)
    if shape is None or not operands.is_small(shape):
        return NotImplemented
    divergence = new(p[0], shape[:-1])
    kernels: Any = extension.kernels
    kernels.divergences(shape, *layouts(*_with_mask(p), *_with_mask(q)), divergence.data_ptr())
    return _cast(divergence, dtype)


def tokens(
    key: Source, logits: Any, mask: Any, *, sample_shape: tuple[int, ...] = (), ignore_index: int = -100, **options: Any
) -> Any:
    """Do what `llm_masked_categorical.sample` does."""
    mask = _token_mask(logits, mask)
    if mask is None or change_logits(**options):
        return NotImplemented
    is_position_mask = mask.shape != logits.shape
    drawn = draw(False, key, logits, *[mask] * (not is_position_mask), sample_shape=sample_shape)
    return drawn if drawn is NotImplemented or not is_position_mask else torch.where(mask[..., 0], drawn, ignore_index)


def _token_mask(logits: Any, mask: Any) -> Tensor | None:
    """Return a token mask, or a position mask with an axis added; None if a kernel cannot read it, or it is neither."""
    if not is_readable(logits, torch.float32) or not is_readable(mask, torch.bool):
        return None
    if mask.shape == logits.shape:
        return mask
    return mask[..., None] if logits.ndim and mask.shape == logits.shape[:-1] and logits.shape[-1] > 1 else None


# ------------------------------------------------------------------------------------------------------------ helpers
def _table_shape(logits: Any, *masks: Any) -> torch.Size | None:
    """Return the broadcast shape of logits and mask, None if a kernel cannot read them."""
    if not is_readable(logits, torch.float32):
        return None
    shape: torch.Size | None = logits.shape
    for mask in masks:
        if not is_readable(mask, torch.bool):
            return None
        if mask.shape != shape:
            shape = operands.broadcast(logits.shape, mask.shape)
    return shape if shape and operands.is_small(shape) else None


def _cast(result: Any, dtype: torch.dtype | None) -> Any:
    return result if dtype is None else result.to(dtype)


def _with_mask(table: Sequence[Any]) -> Sequence[Any]:
    """Return logits and mask, which may be None."""
    return table if len(table) == 2 else (*table, None)


def _differentiable(table: Sequence[Any], outcome: Tensor | None, score: Tensor | None, shape: torch.Size) -> Any:
    """Return a score, computed by a kernel, as a differentiable function of the logits."""
    return cast(Any, gradients.CategoricalScore).apply(*_with_mask(table), outcome, (score,), shape)


def _call_categories(
    shape: torch.Size, table: Sequence[Any], uniform: Tensor | None, outcome: Tensor, log_prob: Tensor | None
) -> None:
    kernels: Any = extension.kernels
    kernels.categories(
        shape,
        *layouts(*_with_mask(table)),
        outcome.numel() // shape[:-1].numel(),
        address(uniform),
        unit_of(shape[-1]),
        outcome.data_ptr(),
        address(log_prob),
    )
