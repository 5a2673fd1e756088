"""The rule of `vmap` for operations on the rows of a head: lanes that share the head are more rows."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["lanes"]


def lanes(op: Callable[..., Any], shared: Sequence[int], flags: int | None = None) -> Callable[..., Any]:
    """Return the rule of `vmap` for an operation on rows.

    Lanes that share the head are more rows. Otherwise each lane runs by itself.

    Args:
        op: The operation.
        shared: The positions of the arguments that have no axis of rows.
        flags: The position of a list of bools, which say for each tensor of a head if its gradient is needed.
    """

    def rule(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        size = info.batch_size
        shares = all(in_dims[i] is None for i in shared)
        if shares and not (flags is not None and any(arguments[flags][i] for i in shared)):
            rows = [
                _as_rows(a, dim, size) if isinstance(a, Tensor) and i not in shared else a
                for i, (a, dim) in enumerate(zip(arguments, in_dims, strict=True))
            ]
            results = op(*rows)
            count = next(a for i, a in enumerate(rows) if isinstance(a, Tensor) and i not in shared).shape[0]
            split = [
                (r.unflatten(0, (size, count // size)), 0) if r.shape[:1] == (count,) else (r, None)
                for r in (results if isinstance(results, tuple) else (results,))
            ]
        else:
            runs = [
                op(*(_lane(a, dim, lane) for a, dim in zip(arguments, in_dims, strict=True))) for lane in range(size)
            ]
            if not isinstance(runs[0], tuple):
                return torch.stack(runs), 0
            split = [(torch.stack(parts), 0) for parts in zip(*runs, strict=True)]
            results = runs[0]
        if not isinstance(results, tuple):
            return split[0]
        return tuple(part for part, _ in split), tuple(dim for _, dim in split)

    return rule


def _lane(argument: Any, dim: int | None, lane: int) -> Any:
    return argument.select(dim, lane) if isinstance(argument, Tensor) and dim is not None else argument


def _as_rows(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    if dim is None:
        if tensor.shape == (0,):  # stands for no tensor
            return tensor
        tensor = tensor.expand(size, *tensor.shape)
    else:
        tensor = tensor.movedim(dim, 0)
    return tensor.flatten(0, 1)
