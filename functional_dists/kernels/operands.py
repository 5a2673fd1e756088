"""Operands that a kernel can read: float32 tensors of any layout on the CPU, and numbers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

# PyTorch uses several threads for more than `MOST` elements (`at::internal::GRAIN_SIZE`). A kernel uses one thread, and
# is as fast as PyTorch's operations are with two to five.
MOST, FEW_THREADS = 2**15, 2
MOST_AXES = 8  # as in `_kernels.c`

_PLAIN_TENSORS = (Tensor, torch.nn.Parameter)  # a subclass may not hold its elements in its memory
_NUMBERS = (float, int, np.float64, np.float32, np.int64, np.int32)
_FLOAT32, _LARGEST = torch.float32, torch.finfo(torch.float32).max
_has_storage = torch._C._has_storage


def common_shape(*operands: Any) -> torch.Size | None:
    """Return the broadcast shape of float32 operands, None if they do not broadcast or a kernel cannot read one.

    >>> common_shape(torch.zeros(3, 2), torch.zeros(2), 1.0), common_shape(torch.zeros(2, dtype=torch.float64), 1.0)
    (torch.Size([3, 2]), None)
    """
    shape = torch.Size(())
    for operand in operands:
        if isinstance(operand, Tensor):
            # The checks of `is_readable`, without a call for each operand.
            if type(operand) not in _PLAIN_TENSORS or operand.dtype is not _FLOAT32 or not operand.is_cpu:
                return None
            if not _has_storage(operand) or operand.is_neg():
                return None
            operand_shape = operand.shape
            if operand_shape != shape:
                both = operand_shape if not shape else broadcast(shape, operand_shape)
                if both is None:
                    return None
                shape = both
        elif not is_number(operand):
            return None
    return shape


def is_number(operand: Any) -> bool:
    """Say whether an operand is a number in the range of float32.

    >>> is_number(1), is_number(True), is_number(1e300)
    (True, False, False)
    """
    return type(operand) in _NUMBERS and not _LARGEST < abs(operand) < math.inf


def has_tensor(*operands: Any) -> bool:
    """Say whether an operand is a tensor, as verbs require.

    >>> has_tensor(1.0, torch.zeros(2)), has_tensor(1.0, 2.0)
    (True, False)
    """
    for operand in operands:  # noqa: SIM110 (a generator expression takes longer than all the rest)
        if isinstance(operand, Tensor):
            return True
    return False


def is_readable(tensor: Any, dtype: torch.dtype) -> bool:
    """Say whether C code can read the elements of a tensor from its memory.

    >>> is_readable(torch.zeros(2, 3).t(), torch.float32), is_readable(torch.zeros(2, device="meta"), torch.float32)
    (True, False)
    """
    return (
        type(tensor) in _PLAIN_TENSORS
        and tensor.dtype is dtype
        and tensor.is_cpu
        and _has_storage(tensor)
        and not tensor.is_neg()
    )


def broadcast(a: torch.Size, b: torch.Size) -> torch.Size | None:
    """Return the broadcast shape of two shapes, None if there is none; PyTorch takes 20 us for that.

    >>> broadcast(torch.Size((4, 1)), torch.Size((3,))), broadcast(torch.Size((4,)), torch.Size((3,)))
    (torch.Size([4, 3]), None)
    """
    if len(a) < len(b):
        a, b = b, a
    leading = len(a) - len(b)
    if a[leading:] == b:
        return a
    sizes = list(a)
    for axis, size in enumerate(b, leading):
        if sizes[axis] == 1:
            sizes[axis] = size
        elif size not in (1, sizes[axis]):
            return None
    return torch.Size(sizes)


def is_small(shape: Sequence[int]) -> bool:
    """Say whether a shape has few enough elements and axes for a kernel, and is not empty.

    >>> is_small((4, 3)), is_small((0,))
    (True, False)
    """
    size = math.prod(shape)
    return size > 0 and len(shape) <= MOST_AXES and (size <= MOST or torch.get_num_threads() <= FEW_THREADS)


def are_tracked(*operands: Any) -> bool:
    """Say whether autograd tracks one of the operands.

    >>> are_tracked(1.0, torch.zeros(2, requires_grad=True))
    True
    """
    if torch.is_grad_enabled():
        for operand in operands:
            if isinstance(operand, Tensor) and operand.requires_grad:
                return True
    return False


def can_be_saved(*operands: Any) -> bool:
    """Say whether autograd may keep the operands for a backward pass.

    >>> can_be_saved(torch.zeros(2), 1.0, None)
    True
    """
    return not torch.is_inference_mode_enabled() and not any(
        isinstance(o, Tensor) and o.is_inference() for o in operands
    )


def layouts(*operands: Any) -> list[Any]:
    """Return operands in the form that the C functions take.

    >>> tensor, number = layouts(torch.zeros(2, 3).t(), 1.0)
    >>> tensor[1:], number
    ((torch.Size([3, 2]), (1, 3)), 1.0)
    """
    return [(o.data_ptr(), o.shape, o.stride()) if isinstance(o, Tensor) else o for o in operands]


def layout_of_events(per_event: Tensor, event_dims: int) -> Any:
    """Return the layout of a tensor with one element per event.

    >>> layout_of_events(torch.zeros(2), 1)[1:]
    ((2, 1), (1, 0))
    """
    return per_event.data_ptr(), (*per_event.shape, *[1] * event_dims), (*per_event.stride(), *[0] * event_dims)


def address(tensor: Tensor | None) -> int:
    """Return the address of the elements of a contiguous tensor, 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


def new(like: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """Return a new contiguous tensor on the CPU with uninitialised elements."""
    # One argument per axis: a tuple takes twice as long.
    return like.new_empty(*shape, dtype=dtype) if shape else like.new_empty((), dtype=dtype)


def summed_to(operand: Any, gradient: Tensor | None) -> Tensor | None:
    """Return the gradient by an operand from that by the broadcast operand; None for a number."""
    if gradient is None or not isinstance(operand, Tensor):
        return None
    return gradient if gradient.shape == operand.shape else gradient.sum_to_size(operand.shape)
