"""What a kernel may read: float32 tensors of any layout on the CPU, and numbers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

# PyTorch shares the work on more elements than `MOST` among threads (`at::internal::GRAIN_SIZE`). A kernel has one
# thread, with which it is as fast as PyTorch's operations are with two to five.
MOST, FEW_THREADS = 2**15, 2
MOST_AXES = 8  # as in `_kernels.c`

_PLAIN_TENSORS = (Tensor, torch.nn.Parameter)  # a subclass may have its elements elsewhere
_NUMBERS = (float, int, np.float64, np.float32, np.int64, np.int32)
_FLOAT32, _LARGEST = torch.float32, torch.finfo(torch.float32).max
_has_storage = torch._C._has_storage


def common_shape(*operands: Any) -> torch.Size | None:
    """Return the shape to which float32 operands broadcast, None if they do not, or a kernel cannot read one.

    >>> common_shape(torch.zeros(3, 2), torch.zeros(2), 1.0), common_shape(torch.zeros(2, dtype=torch.float64), 1.0)
    (torch.Size([3, 2]), None)
    """
    shape = torch.Size(())
    for operand in operands:
        if isinstance(operand, Tensor):
            # What `is_readable` asks, without a call for each operand.
            if type(operand) not in _PLAIN_TENSORS or operand.dtype is not _FLOAT32 or not operand.is_cpu:
                return None
            if not _has_storage(operand) or operand.is_neg():
                return None
            of_operand = operand.shape
            if of_operand != shape:
                both = of_operand if not shape else broadcast(shape, of_operand)
                if both is None:
                    return None
                shape = both
        elif not is_number(operand):
            return None
    return shape


def is_number(operand: Any) -> bool:
    """Say whether an operand is a number that float32 holds.

    >>> is_number(1), is_number(True), is_number(1e300)
    (True, False, False)
    """
    return type(operand) in _NUMBERS and not _LARGEST < abs(operand) < math.inf


def has_tensor(*operands: Any) -> bool:
    """Say whether there is a tensor among operands, which a verb asks for.

    >>> has_tensor(1.0, torch.zeros(2)), has_tensor(1.0, 2.0)
    (True, False)
    """
    return any(isinstance(operand, Tensor) for operand in operands)


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
    """Return the shape to which two broadcast, None if they do not; PyTorch takes 20 us to say so.

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
    """Say whether one thread is to work on so many elements, of which there is at least one.

    >>> is_small((4, 3)), is_small((0,))
    (True, False)
    """
    size = math.prod(shape)
    return size > 0 and len(shape) <= MOST_AXES and (size <= MOST or torch.get_num_threads() <= FEW_THREADS)


def are_tracked(*operands: Any) -> bool:
    """Say whether autograd records what is done with one of the operands.

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
    """Return operands as the C functions take them.

    >>> tensor, number = layouts(torch.zeros(2, 3).t(), 1.0)
    >>> tensor[1:], number
    ((torch.Size([3, 2]), (1, 3)), 1.0)
    """
    given = list(operands)
    for i, operand in enumerate(operands):
        if isinstance(operand, Tensor):
            given[i] = operand.data_ptr(), operand.shape, operand.stride()
    return given


def layout_of_events(per_event: Tensor, event_dims: int) -> Any:
    """Return the layout of a tensor whose elements stand for whole events.

    >>> layout_of_events(torch.zeros(2), 1)[1:]
    ((2, 1), (1, 0))
    """
    return per_event.data_ptr(), (*per_event.shape, *[1] * event_dims), (*per_event.stride(), *[0] * event_dims)


def address(tensor: Tensor | None) -> int:
    """Return where the elements of a contiguous tensor lie, 0 if there is none."""
    return 0 if tensor is None else tensor.data_ptr()


def new(like: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """Return a new contiguous tensor on the CPU, whose elements are not set."""
    # An argument for every axis: one for all of them takes twice as long.
    return like.new_empty(*shape, dtype=dtype) if shape else like.new_empty((), dtype=dtype)


def summed_to(operand: Any, slope: Tensor | None) -> Tensor | None:
    """Return derivatives by an operand, None for a number, from those by what it broadcast to."""
    if slope is None or not isinstance(operand, Tensor):
        return None
    return slope if slope.shape == operand.shape else slope.sum_to_size(operand.shape)
