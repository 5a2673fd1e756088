"""Compiled functions for float32 batches on a CPU: one pass, where PyTorch's operations take ten to twenty.

They are made of `_kernels.c` when the package is installed, if there is a C compiler. Who calls them asks `serve`
first, and leaves the work to PyTorch's operations where the answer is no. These give the same draws, and other numbers
that differ by a few ulp, as kernels compute in float64.
"""

import torch
from torch import Tensor

from functional_dists import extension
from functional_dists.special.constant import PLAIN_TENSORS, is_plain

# PyTorch shares the work on more elements than `MOST` among threads (`at::internal::GRAIN_SIZE`). A kernel has one
# thread, with which it is as fast as PyTorch's operations are with two to five.
MOST, FEW_THREADS = 2**15, 2
_FLOAT32 = torch.float32


def serve(
    table: Tensor,
    *others: Tensor | None,
    mask: Tensor | None = None,
    outcome: Tensor | None = None,
    for_autograd: bool = False,
) -> bool:
    """Say whether a kernel may be given `table` and others of its shape: in eager code, if no derivative is asked for.

    Args:
        table: float32.
        others: float32 as well; None stands for what is not there.
        mask: bool, of the same shape.
        outcome: int64, one for every row.
        for_autograd: whether derivatives may be asked for, of an `autograd.Function` that keeps the tensors.

    >>> serve(torch.zeros(2, requires_grad=True)), serve(torch.zeros(2, dtype=torch.float64))
    (False, False)
    """
    if not is_plain() or extension.kernels is None or not table.numel():
        return False
    if table.numel() > MOST and torch.get_num_threads() > FEW_THREADS:
        return False
    if not torch._C._has_storage(table):  # slopes that `torch.autograd.grad(is_grads_batched=True)` gives to `backward`
        return False
    if for_autograd and torch.is_inference_mode_enabled():
        return False
    shape, may_be_asked = table.shape, torch.is_grad_enabled()
    for tensor in (table, *others):
        if tensor is None:
            continue
        if tensor.dtype is not _FLOAT32 or tensor.shape != shape or tensor.is_neg() or not tensor.is_contiguous():
            return False
        if not tensor.is_cpu or type(tensor) not in PLAIN_TENSORS:  # a subclass may have its elements elsewhere
            return False
        if tensor.is_inference() if for_autograd else may_be_asked and tensor.requires_grad:
            return False
    if outcome is not None and not (outcome.shape == shape[:-1] and _is_integral(outcome, torch.int64, for_autograd)):
        return False
    return mask is None or (mask.shape == shape and _is_integral(mask, torch.bool, for_autograd))


def _is_integral(tensor: Tensor, dtype: torch.dtype, for_autograd: bool) -> bool:
    return (
        tensor.dtype is dtype
        and tensor.is_cpu
        and tensor.is_contiguous()
        and type(tensor) is Tensor
        and torch._C._has_storage(tensor)
        and not (for_autograd and tensor.is_inference())
    )


# ---------------------------------------------------------------------------------------------------------- categories
def choose(logits: Tensor, mask: Tensor | None, share: Tensor, unit: float) -> Tensor:
    """Return what `choice.choose` chooses by the weights of logits ``(*B, N)``, at shares ``(*B)``, float64."""
    outcome = _new(logits, share.shape, torch.int64)
    _categories(logits, mask, share, unit, outcome, None)
    return outcome


def choose_and_score(logits: Tensor, mask: Tensor | None, share: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    """Return that with its log-probability."""
    outcome, log_prob = _new(logits, share.shape, torch.int64), _new(logits, share.shape)
    _categories(logits, mask, share, unit, outcome, log_prob)
    return outcome, log_prob


def score(logits: Tensor, mask: Tensor | None, outcome: Tensor) -> Tensor:
    """Return the log-probability of outcomes ``(*B)``, int64, -inf for those that do not exist."""
    log_prob = _new(logits, outcome.shape)
    _categories(logits, mask, None, 0.0, outcome, log_prob)
    return log_prob


def entropy(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return `softmax.entropy`."""
    entropy = _new(logits, logits.shape[:-1])
    extension.kernels.entropies(
        logits.data_ptr(), _address(mask), entropy.numel(), logits.shape[-1], entropy.data_ptr()
    )
    return entropy


def divergence(p_logits: Tensor, p_mask: Tensor | None, q_logits: Tensor, q_mask: Tensor | None) -> Tensor:
    """Return `softmax.kl`."""
    divergence = _new(p_logits, p_logits.shape[:-1])
    extension.kernels.divergences(
        p_logits.data_ptr(),
        _address(p_mask),
        q_logits.data_ptr(),
        _address(q_mask),
        divergence.numel(),
        p_logits.shape[-1],
        divergence.data_ptr(),
    )
    return divergence


def category_slopes(logits: Tensor, mask: Tensor | None, outcome: Tensor | None, slope: Tensor) -> Tensor:
    """Return the derivatives of a result by logits, from those by the log-probs of outcomes, or by the entropies."""
    by_logits = torch.empty_like(logits)
    extension.kernels.category_slopes(
        logits.data_ptr(),
        _address(mask),
        slope.numel(),
        logits.shape[-1],
        _address(outcome),
        slope.data_ptr(),
        by_logits.data_ptr(),
    )
    return by_logits


def _categories(
    logits: Tensor, mask: Tensor | None, share: Tensor | None, unit: float, outcome: Tensor, log_prob: Tensor | None
) -> None:
    extension.kernels.categories(
        logits.data_ptr(),
        _address(mask),
        outcome.numel(),
        logits.shape[-1],
        _address(share),
        unit,
        outcome.data_ptr(),
        _address(log_prob),
    )


# ------------------------------------------------------------------------------------------------------------- normals
def squashed_pair(
    noise: Tensor, loc: Tensor, scale: Tensor, half_width: float, event_dims: int
) -> tuple[Tensor, Tensor]:
    """Return x = loc + scale noise, to the bit, and the log-density of `squash(x)`, summed over the event.

    Args:
        noise: standard normal.
        loc: of the normal.
        scale: of the normal.
        half_width: half the distance of the bounds.
        event_dims: over how many trailing axes to sum.
    """
    rows, count, log_density = _of_events(noise, event_dims)
    x = torch.empty_like(noise)
    extension.kernels.squashed_pair(
        noise.data_ptr(),
        loc.data_ptr(),
        scale.data_ptr(),
        half_width,
        rows,
        count,
        x.data_ptr(),
        log_density.data_ptr(),
    )
    return x, log_density


Bounds = tuple[float | None, float | None]


def log_density_at(value: Tensor, loc: Tensor, scale: Tensor, bounds: Bounds, event_dims: int) -> Tensor:
    """Return the log-density of a normal, or of a tanh-normal if there are bounds, summed over the event."""
    rows, count, log_density = _of_events(value, event_dims)
    extension.kernels.log_density_at(
        value.data_ptr(), loc.data_ptr(), scale.data_ptr(), *bounds, rows, count, log_density.data_ptr()
    )
    return log_density


def log_density_slopes(
    value: Tensor, loc: Tensor, scale: Tensor, bounds: Bounds, slope: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the derivatives of a result by `loc` and by `scale`, from those by the log-densities of the events."""
    by_loc, by_scale = torch.empty_like(loc), torch.empty_like(scale)
    rows = slope.numel()
    extension.kernels.log_density_slopes(
        value.data_ptr(),
        loc.data_ptr(),
        scale.data_ptr(),
        *bounds,
        slope.data_ptr(),
        rows,
        value.numel() // rows,
        by_loc.data_ptr(),
        by_scale.data_ptr(),
    )
    return by_loc, by_scale


def _of_events(table: Tensor, event_dims: int) -> tuple[int, int, Tensor]:
    """Return how many events there are, of how many elements, and a new tensor for a number of each."""
    batch = table.shape[: table.ndim - event_dims]
    rows = batch.numel()
    return rows, table.numel() // rows, _new(table, batch)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _new(like: Tensor, shape: torch.Size, dtype: torch.dtype | None = None) -> Tensor:
    # An argument for every axis: one for all of them takes twice as long.
    return like.new_empty(*shape, dtype=dtype) if shape else like.new_empty((), dtype=dtype)
