"""Operations written so that compiled code on a CPU is vectorised; eager results are the same."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from functional_dists.special.axis import cuts_of, summed

__all__ = [
    "argmax",
    "entry_at",
    "fast_mask",
    "fill_at",
    "largest",
    "materialize",
    "positions",
    "sum_event",
]
__dir__ = __all__.copy  # what tab completion shows

_MAX_EXACT = 2**24  # float32 holds all integers up to this


def fast_mask(mask: Tensor) -> Tensor:
    """Return the mask; compiled code compares its bytes, since loading bools takes seven times as long.

    Rows shorter than a vector keep their bools: the bytes are a copy, which takes longer than a small table.

    >>> fast_mask(torch.tensor([True, False]))
    tensor([ True, False])
    """
    if not (torch.compiler.is_compiling() and mask.is_cpu) or (mask.ndim and mask.shape[-1] < 16):
        return mask
    return _operation(mask).to(torch.float32) > 0.5


def positions(table: Tensor) -> Tensor:
    """Return 0, ..., N - 1 for a table ``(*B, N)``, in float32, or in float64 if float32 does not hold them.

    >>> positions(torch.zeros(2, 3))
    tensor([0., 1., 2.])
    """
    count = table.shape[-1]
    dtype = torch.float32 if count <= _MAX_EXACT else torch.float64
    return torch.arange(count, dtype=dtype, device=table.device)


def argmax(table: Tensor) -> Tensor:
    """Return the index ``(*B, 1)`` of the largest entry of each row of ``(*B, N)``: the first of equals, or first NaN.

    Compiled code takes the smallest position of a largest entry, in a fifth of the time.

    >>> argmax(torch.tensor([1.0, 3.0, 3.0]))
    tensor([1])
    """
    count = table.shape[-1]
    if not (torch.compiler.is_compiling() and table.is_cpu):
        return table.argmax(-1, keepdim=True)
    is_largest = (table == table.amax(-1, keepdim=True)) | table.isnan()
    return torch.where(is_largest, positions(table), float(count)).amin(-1, keepdim=True).long()


def entry_at(table: Tensor, index: Tensor, is_at_index: Tensor) -> Tensor:
    """Return the entry of each row at an index ``(*B, 1)``, where `is_at_index` ``(*B, N)`` is True.

    Compiled code takes a sum. The derivative of `gather` is a scatter, which inductor does not fuse. Inductor of
    PyTorch 2.13 may also run a scatter after the code that reads its result.

    >>> entry_at(torch.tensor([5.0, 7.0]), torch.tensor([1]), torch.tensor([False, True]))
    tensor([7.])
    """
    if not (torch.compiler.is_compiling() and table.is_cpu):
        return table.gather(-1, index)
    return torch.where(is_at_index, table, 0.0).sum(-1, keepdim=True)


def largest(table: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest entry ``(*B, 1)`` of each row of ``(*B, N)``, and the index of `argmax`.

    >>> largest(torch.tensor([1.0, 3.0, 3.0]))
    (tensor([3.]), tensor([1]))
    """
    if not (torch.compiler.is_compiling() and table.is_cpu):
        entry, index = table.max(-1, keepdim=True)
        return entry, index
    index = argmax(table.detach())
    return entry_at(table, index, _is_at(table, index)), index


def fill_at(table: Tensor, index: Tensor, filler: Tensor | float) -> Tensor:
    """Return the table ``(*B, N)`` with another entry at an index ``(*B, 1)``. Compiled code compares, as `entry_at`.

    >>> fill_at(torch.tensor([5.0, 7.0]), torch.tensor([1]), 0.0)
    tensor([5., 0.])
    """
    if not (torch.compiler.is_compiling() and table.is_cpu):
        return table.scatter(-1, index, filler)
    return torch.where(_is_at(table, index), filler, table)


def _is_at(table: Tensor, index: Tensor) -> Tensor:
    """Return where an index ``(*B, 1)`` is. For long rows and derivatives, integers are faster than `positions`."""
    return torch.arange(table.shape[-1], device=table.device) == index


def materialize(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors; compiled code writes them to memory before a table of many nodes uses them.

    Otherwise inductor computes them again for every node. It does write a stack of tensors to memory.

    >>> materialize(torch.ones(2), torch.tensor(0.0))
    (tensor([1., 1.]), tensor(0.))
    """
    return torch.stack(torch.broadcast_tensors(*tensors)).unbind() if torch.compiler.is_compiling() else tensors


# --- The operation ---------------------------------------------------------------------------------------------------
# Inductor would fuse a plain view as bytes with the load, which is slower still.
def _bytes_on_cpu(mask: Tensor) -> Tensor:
    return mask.contiguous().view(torch.int8).clone()


def _bytes_elsewhere(mask: Tensor) -> Tensor:
    return mask.to(torch.int8, memory_format=torch.contiguous_format)


_library = torch.library.Library("functional_dists", "FRAGMENT")
_library.define("mask_bytes(Tensor mask) -> Tensor")
_library.impl("mask_bytes", _bytes_on_cpu, "CPU")
_library.impl("mask_bytes", _bytes_elsewhere, "CompositeExplicitAutograd")
_operation: Callable[[Tensor], Tensor] = torch.ops.functional_dists.mask_bytes.default


def _fake(mask: Tensor) -> Tensor:
    return mask.new_empty(mask.shape, dtype=torch.int8)


def _vmap(info: Any, in_dims: tuple[int | None], mask: Tensor) -> tuple[Tensor, int | None]:
    return _operation(mask), in_dims[0]


torch.library.register_fake("functional_dists::mask_bytes", _fake, lib=_library)
torch.library.register_vmap("functional_dists::mask_bytes", _vmap, lib=_library)


def sum_event(per_element: Tensor, event_dims: int) -> Tensor:
    """Sum the last `event_dims` axes in float64, which is rounded once: so the result hardly depends on the order.

    >>> sum_event(torch.ones(4, 3), 1)
    tensor([3., 3., 3., 3.])
    """
    if event_dims and (cuts := cuts_of(range(-event_dims, 0))):
        parts = per_element.sum(tuple(range(-event_dims, 0)), dtype=torch.float64)
        return summed(parts, cuts).to(per_element.dtype)
    if event_dims == 1 and torch.compiler.is_compiling() and per_element.device.type == "cpu":
        return _sum_of_short_rows(per_element)
    if not event_dims:
        return per_element
    return per_element.sum(tuple(range(-event_dims, 0)), dtype=torch.float64).to(per_element.dtype)


def _sum_of_short_rows(table: Tensor) -> Tensor:
    """Sum the last axis; a short axis is summed as a matrix product with ones.

    Inductor fuses a sum with the computation of its terms. It then works on one short row at a time, and leaves vector
    lanes unused. It does not fuse a product. The product is in float64, since users may lower the precision of others.
    """
    count = table.shape[-1]
    if count == 0 or count % 16 == 0 or count > 64:
        return table.sum(-1, dtype=torch.float64).to(table.dtype)
    ones = torch.ones((1, count), dtype=torch.float64, device=table.device)
    return torch.nn.functional.linear(table.double(), ones).squeeze(-1).to(table.dtype)
