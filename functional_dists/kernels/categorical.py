"""Kernels of categorical distributions, with and without a mask."""

from typing import Any, cast

import torch
from torch import Tensor

import functional_dists.random as random
import functional_dists.random.extension as extension
from functional_dists.kernels import gradients, operands
from functional_dists.kernels.operands import address, is_readable, layouts, new
from functional_dists.random import Source
from functional_dists.special.choice import unit_of

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def sample(key: Source, logits: Any, *, sample_shape: tuple[int, ...] = ()) -> Any:
    """Do what `categorical.sample` does."""
    return _sample(key, logits, None, sample_shape)


def masked_sample(key: Source, logits: Any, mask: Any, *, sample_shape: tuple[int, ...] = ()) -> Any:
    """Do what `masked_categorical.sample` does."""
    return NotImplemented if mask is None else _sample(key, logits, mask, sample_shape)


def sample_and_log_prob(key: Source, logits: Any, *, sample_shape: tuple[int, ...] = ()) -> Any:
    """Do what `categorical.sample_and_log_prob` does."""
    return _sample_and_log_prob(key, logits, None, sample_shape)


def masked_sample_and_log_prob(key: Source, logits: Any, mask: Any, *, sample_shape: tuple[int, ...] = ()) -> Any:
    """Do what `masked_categorical.sample_and_log_prob` does."""
    return NotImplemented if mask is None else _sample_and_log_prob(key, logits, mask, sample_shape)


def log_prob(logits: Any, value: Any) -> Any:
    """Do what `categorical.log_prob` does."""
    return _log_prob(logits, None, value)


def masked_log_prob(logits: Any, mask: Any, value: Any) -> Any:
    """Do what `masked_categorical.log_prob` does."""
    return NotImplemented if mask is None else _log_prob(logits, mask, value)


def entropy(logits: Any) -> Any:
    """Do what `categorical.entropy` does."""
    return _entropy(logits, None)


def masked_entropy(logits: Any, mask: Any) -> Any:
    """Do what `masked_categorical.entropy` does."""
    return NotImplemented if mask is None else _entropy(logits, mask)


def kl(p_logits: Any, q_logits: Any) -> Any:
    """Do what `categorical.kl` does."""
    return _kl(p_logits, None, q_logits, None)


def masked_kl(p_logits: Any, p_mask: Any, q_logits: Any, q_mask: Any) -> Any:
    """Do what `masked_categorical.kl` does."""
    return NotImplemented if p_mask is None or q_mask is None else _kl(p_logits, p_mask, q_logits, q_mask)


def tokens(key: Source, logits: Any, mask: Any, *, sample_shape: tuple[int, ...] = (), ignore_index: int = -100) -> Any:
    """Do what `llm_masked_categorical.sample` does."""
    mask = _token_mask(logits, mask)
    if mask is None:
        return NotImplemented
    is_position_mask = mask.shape != logits.shape
    drawn = _sample(key, logits, None if is_position_mask else mask, sample_shape)
    return drawn if drawn is NotImplemented or not is_position_mask else torch.where(mask[..., 0], drawn, ignore_index)


def token_entropy(logits: Any, mask: Any) -> Any:
    """Do what `llm_masked_categorical.entropy` does."""
    mask = _token_mask(logits, mask)
    return NotImplemented if mask is None else _entropy(logits, mask)


def _token_mask(logits: Any, mask: Any) -> Tensor | None:
    """Return a token mask, or a position mask with an axis added; None if a kernel cannot read it, or it is neither."""
    if not is_readable(logits, torch.float32) or not is_readable(mask, torch.bool):
        return None
    if mask.shape == logits.shape:
        return mask
    return mask[..., None] if logits.ndim and mask.shape == logits.shape[:-1] and logits.shape[-1] > 1 else None


# ------------------------------------------------------------------------------------------- with a mask, or with None
def _table_shape(logits: Any, mask: Any) -> torch.Size | None:
    """Return the broadcast shape of logits and mask, None if a kernel cannot read them."""
    if not is_readable(logits, torch.float32):
        return None
    shape: torch.Size | None = logits.shape
    if mask is not None:
        if not is_readable(mask, torch.bool):
            return None
        if mask.shape != shape:
            shape = operands.broadcast(logits.shape, mask.shape)
    return shape if shape and operands.is_small(shape) else None


def _can_be_differentiated(logits: Tensor, *others: Any) -> bool:
    return not operands.are_tracked(logits) or operands.can_be_saved(logits, *others)


def _differentiable(
    logits: Tensor, mask: Tensor | None, outcome: Tensor | None, score: Tensor, shape: torch.Size
) -> Tensor:
    """Return a score, computed by a kernel, as a differentiable function of the logits."""
    if not operands.are_tracked(logits):
        return score
    return cast(Any, gradients.CategoricalScore).apply(logits, mask, outcome, (score,), shape)


def _sample(key: Source, logits: Any, mask: Any, sample_shape: tuple[int, ...]) -> Any:
    shape = _table_shape(logits, mask)
    if shape is None or not operands.is_small((*sample_shape, *shape[:-1])):
        return NotImplemented
    return _draw(key, logits, mask, shape, sample_shape, has_log_prob=False)[0]


def _sample_and_log_prob(key: Source, logits: Any, mask: Any, sample_shape: tuple[int, ...]) -> Any:
    shape = _table_shape(logits, mask)
    if shape is None or not operands.is_small((*sample_shape, *shape[:-1])):
        return NotImplemented
    if not _can_be_differentiated(logits, mask):
        return NotImplemented
    outcome, log_prob = _draw(key, logits, mask, shape, sample_shape, has_log_prob=True)
    return outcome, _differentiable(logits, mask, outcome, cast(Tensor, log_prob), shape)


def _draw(
    key: Source,
    logits: Tensor,
    mask: Tensor | None,
    shape: torch.Size,
    sample_shape: tuple[int, ...],
    *,
    has_log_prob: bool,
) -> tuple[Tensor, Tensor | None]:
    batch = shape[:-1]
    uniform = random.draw_entries(random.uniform, key, sample_shape, batch, dtype=torch.float64, device="cpu")
    outcome = new(logits, uniform.shape, torch.int64)
    log_prob = new(logits, uniform.shape) if has_log_prob else None
    _call_categories(shape, logits, mask, uniform.contiguous(), outcome, log_prob)
    return outcome, log_prob


def _log_prob(logits: Any, mask: Any, value: Any) -> Any:
    shape = _table_shape(logits, mask)
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
    if not _can_be_differentiated(logits, mask, outcome):
        return NotImplemented
    log_prob = new(logits, outcome.shape)
    _call_categories(shape, logits, mask, None, outcome, log_prob)
    return _differentiable(logits, mask, outcome, log_prob, shape)


def _entropy(logits: Any, mask: Any) -> Any:
    shape = _table_shape(logits, mask)
    if shape is None or not _can_be_differentiated(logits, mask):
        return NotImplemented
    entropy = new(logits, shape[:-1])
    logits_layout, mask_layout = layouts(logits, mask)
    extension.kernels.entropies(shape, logits_layout, mask_layout, entropy.data_ptr())
    return _differentiable(logits, mask, None, entropy, shape)


def _kl(p_logits: Any, p_mask: Any, q_logits: Any, q_mask: Any) -> Any:
    p_shape, q_shape = _table_shape(p_logits, p_mask), _table_shape(q_logits, q_mask)
    if p_shape is None or q_shape is None or p_shape[-1] != q_shape[-1] or operands.are_tracked(p_logits, q_logits):
        return NotImplemented
    shape = operands.broadcast(p_shape, q_shape)
    if shape is None or not operands.is_small(shape):
        return NotImplemented
    divergence = new(p_logits, shape[:-1])
    p_layout, p_mask_layout, q_layout, q_mask_layout = layouts(p_logits, p_mask, q_logits, q_mask)
    extension.kernels.divergences(shape, p_layout, p_mask_layout, q_layout, q_mask_layout, divergence.data_ptr())
    return divergence


def _call_categories(
    shape: torch.Size,
    logits: Tensor,
    mask: Tensor | None,
    uniform: Tensor | None,
    outcome: Tensor,
    log_prob: Tensor | None,
) -> None:
    logits_layout, mask_layout = layouts(logits, mask)
    extension.kernels.categories(
        shape,
        logits_layout,
        mask_layout,
        outcome.numel() // shape[:-1].numel(),
        address(uniform),
        unit_of(shape[-1]),
        outcome.data_ptr(),
        address(log_prob),
    )
