"""Library operations of values alone: opaque to every tracer, so that long formulas cost a traced graph one node."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["elementwise_operation", "in_blocks", "library"]
__dir__ = __all__.copy  # what tab completion shows

library = torch.library.Library("functional_dists", "FRAGMENT")


def elementwise_operation(
    name: str, operands: Sequence[str], function: Callable[..., Any], *, flags: Sequence[str] = (), num_results: int = 0
) -> Callable[..., Any]:
    """Make a function of tensors that broadcast a library operation without derivatives, which works under `vmap`.

    A kernel for a device replaces the function there: ``library.impl(name, kernel, "CPU")``.

    Args:
        name: The name in `torch.ops.functional_dists`.
        operands: The names of the tensors, which have one dtype and device.
        function: It takes the tensors, expanded to one shape, and the flags, and returns new tensors of that shape and
            dtype.
        flags: The names of bools, which follow the tensors.
        num_results: How many tensors the function returns, in a tuple; 0 for one tensor without a tuple.

    >>> twice = elementwise_operation("doctest_twice", ["x"], lambda x: 2 * x)
    >>> torch.vmap(twice)(torch.tensor([1.0, 2.0]))
    tensor([2., 4.])
    """
    arguments = ", ".join([*(f"Tensor {operand}" for operand in operands), *(f"bool {flag}" for flag in flags)])
    result = f"({', '.join(['Tensor'] * num_results)})" if num_results else "Tensor"
    library.define(f"{name}({arguments}) -> {result}")
    count = len(operands)

    def of_one_shape(*given: Any) -> Any:  # tables of nodes then have one axis more than each of them
        return function(*torch.broadcast_tensors(*given[:count]), *given[count:])

    library.impl(name, of_one_shape, "CompositeExplicitAutograd")
    operation: Callable[..., Any] = getattr(torch.ops.functional_dists, name).default

    def fake(*given: Any) -> Any:
        shape = torch.broadcast_shapes(*(tensor.shape for tensor in given[:count]))
        results = tuple(given[0].new_empty(shape) for _ in range(num_results or 1))
        return results if num_results else results[0]

    def vmap(info: Any, in_dims: tuple[int | None, ...], *given: Any) -> Any:
        results = operation(*_aligned(given[:count], in_dims), *given[count:])
        return results, (0,) * num_results if num_results else 0

    torch.library.register_fake(f"functional_dists::{name}", fake, lib=library)
    torch.library.register_vmap(f"functional_dists::{name}", vmap, lib=library)
    return operation


_BLOCK = 2048  # with 24 or 64 nodes for each element, the tables of a block stay in the cache


def in_blocks(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function of tensors that broadcast, and of flags, compute large tensors on the CPU a block at a time.

    The function works element by element, and returns a tensor or a tuple of them. Tensors without axes are not cut.

    >>> in_blocks(torch.add)(torch.ones(3), torch.tensor(1.0))
    tensor([2., 2., 2.])
    """

    @functools.wraps(function)
    def wrapper(*given: Any) -> Any:
        shape = torch.broadcast_shapes(*(tensor.shape for tensor in given if isinstance(tensor, Tensor)))
        if shape.numel() <= _BLOCK or given[0].device.type != "cpu":
            return function(*given)
        parts = [
            tensor.expand(shape).reshape(-1).split(_BLOCK) if isinstance(tensor, Tensor) and tensor.ndim else None
            for tensor in given
        ]
        found = [
            function(*(whole if part is None else part[i] for whole, part in zip(given, parts, strict=True)))
            for i in range(-(-shape.numel() // _BLOCK))
        ]
        if isinstance(found[0], Tensor):
            return torch.cat(found).reshape(shape)
        return tuple(torch.cat(pieces).reshape(shape) for pieces in zip(*found, strict=True))

    return wrapper


def _aligned(tensors: Sequence[Tensor], in_dims: tuple[int | None, ...]) -> list[Tensor]:
    """Return tensors whose axis of lanes stays the first axis after broadcasting."""
    lanes = [tensor if dim is None else tensor.movedim(dim, 0) for tensor, dim in zip(tensors, in_dims, strict=False)]
    axes = max(lane.ndim - (dim is not None) for lane, dim in zip(lanes, in_dims, strict=False))
    return [
        lane if dim is None else lane.reshape(lane.shape[0], *[1] * (axes + 1 - lane.ndim), *lane.shape[1:])
        for lane, dim in zip(lanes, in_dims, strict=False)
    ]
