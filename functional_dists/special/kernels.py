"""Compiled functions for small float32 batches on a CPU, where PyTorch's operations take longer to start than to run.

They are made of `_kernels.c` when the package is installed, if there is a C compiler. Who calls them asks `serve`
first, and leaves the work to PyTorch's operations where the answer is no. These give the same draws, and other numbers
that differ by a few ulp: those of a kernel are rounded once.
"""

import torch
from torch import Tensor

from functional_dists import extension
from functional_dists.special.constant import PLAIN_TENSORS, is_plain, is_recorded

# PyTorch shares the work on more elements than this among threads (`at::internal::GRAIN_SIZE`).
MOST = 2**15
_FLOAT32, _BOOL = torch.float32, torch.bool


def serve(table: Tensor, *others: Tensor | None, mask: Tensor | None = None) -> bool:
    """Say whether a kernel may be given `table` and others of its shape: in eager code, if no derivative is asked for.

    >>> serve(torch.zeros(2, requires_grad=True)), serve(torch.zeros(2, dtype=torch.float64))
    (False, False)
    """
    if not is_plain() or extension.kernels is None or is_recorded() or not 0 < table.numel() <= MOST:
        return False
    if not torch._C._has_storage(table):  # slopes that `torch.autograd.grad(is_grads_batched=True)` gives to `backward`
        return False
    shape, tracked = table.shape, torch.is_grad_enabled()
    for tensor in (table, *others):
        if tensor is None:
            continue
        if tensor.dtype is not _FLOAT32 or tensor.shape != shape or (tracked and tensor.requires_grad):
            return False
        if not _is_array(tensor):
            return False
    return mask is None or (mask.dtype is _BOOL and mask.shape == shape and _is_array(mask))


def _is_array(tensor: Tensor) -> bool:
    """Say whether the memory of a tensor holds its elements, one after the other."""
    return (
        tensor.is_cpu
        and tensor.is_contiguous()
        and type(tensor) in PLAIN_TENSORS  # a subclass may hold them elsewhere
        and not tensor.is_neg()
    )


# ---------------------------------------------------------------------------------------------------------- categories
def shift(logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what `softmax.shift` says of logits ``(*B, N)``: these masked, the largest, the weights and their rest."""
    count = logits.shape[-1]
    rows = logits.numel() // count
    masked, weights = torch.empty_like(logits), torch.empty_like(logits)
    top, rest = _new(logits, logits.shape[:-1]), _new(logits, logits.shape[:-1])
    no_mask = 0
    extension.kernels.shift(
        logits.data_ptr(),
        no_mask if mask is None else mask.data_ptr(),
        rows,
        count,
        masked.data_ptr(),
        top.data_ptr(),
        weights.data_ptr(),
        rest.data_ptr(),
    )
    return masked, top, weights, rest


def choose(weights: Tensor, share: Tensor, unit: float) -> Tensor:
    """Return what `choice.choose` chooses by weights ``(*B, N)`` in units, at shares ``(*B)``, float64."""
    count = weights.shape[-1]
    chosen = _new(share, share.shape, torch.int64)
    extension.kernels.choose(weights.data_ptr(), share.data_ptr(), share.numel(), count, unit, chosen.data_ptr())
    return chosen


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


def log_density_at(x: Tensor, loc: Tensor, scale: Tensor, log_slope: Tensor | None, event_dims: int) -> Tensor:
    """Return `gaussian.log_image_density_at`."""
    rows, count, log_density = _of_events(x, event_dims)
    no_slope = 0
    extension.kernels.log_density_at(
        x.data_ptr(),
        loc.data_ptr(),
        scale.data_ptr(),
        no_slope if log_slope is None else log_slope.data_ptr(),
        rows,
        count,
        log_density.data_ptr(),
    )
    return log_density


def log_density_slopes(x: Tensor, loc: Tensor, scale: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Return the derivatives of a result by `loc` and by `scale`, from those by the log-densities of the events."""
    by_loc, by_scale = torch.empty_like(loc), torch.empty_like(scale)
    rows = slope.numel()
    extension.kernels.log_density_slopes(
        x.data_ptr(),
        loc.data_ptr(),
        scale.data_ptr(),
        slope.data_ptr(),
        rows,
        x.numel() // rows,
        by_loc.data_ptr(),
        by_scale.data_ptr(),
    )
    return by_loc, by_scale


def _of_events(table: Tensor, event_dims: int) -> tuple[int, int, Tensor]:
    """Return how many events there are, of how many elements, and a new tensor for a number of each."""
    batch = table.shape[: table.ndim - event_dims]
    rows = batch.numel()
    return rows, table.numel() // rows, _new(table, batch)


def _new(like: Tensor, shape: torch.Size, dtype: torch.dtype | None = None) -> Tensor:
    # An argument for every axis: one for all of them takes twice as long.
    return like.new_empty(*shape, dtype=dtype) if shape else like.new_empty((), dtype=dtype)
