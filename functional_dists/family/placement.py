"""Whether arguments are DTensors, whose verbs the room `sharded` runs; it is imported with the first of them."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from functional_dists.family.specification import Specification
from functional_dists.random import Source

__all__ = ["hidden_dtensor", "is_placed", "run"]

_PLAIN = (Tensor, torch.nn.Parameter, float)


def is_placed(arguments: Sequence[Any]) -> bool:
    """Return whether one of the arguments is a DTensor, also inside of what `torch.func` wraps.

    >>> is_placed([torch.zeros(2), 1.0])
    False
    """
    for argument in arguments:
        if type(argument) not in _PLAIN and type(argument).__name__ == "DTensor":
            return True
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        return False
    return any(hidden_dtensor(argument) is not None for argument in arguments)


def hidden_dtensor(argument: Any) -> Any:
    """Return the DTensor that an argument is, or that `torch.func` wraps, or None."""
    functorch = torch._C._functorch
    is_eager = not torch.compiler.is_compiling()
    while is_eager and isinstance(argument, Tensor) and functorch.is_functorch_wrapped_tensor(argument):
        argument = functorch.get_unwrapped(argument)
    return argument if type(argument).__name__ == "DTensor" else None


def run(
    spec: Specification,
    on_local: Callable[..., Any],
    key: tuple[Source, ...],
    arguments: Sequence[Any],
    options: dict[str, Any],
) -> Any:
    """Run a verb on the parts of its arguments that this process holds; see `sharded.verbs.run`."""
    _load()
    return _RUN[0](spec, on_local, key, arguments, options)


_RUN: list[Callable[..., Any]] = []


def _load() -> None:
    if not _RUN:  # by name, since `sharded` is a higher room, and importing PyTorch's DTensor takes seconds
        _RUN.append(importlib.import_module("functional_dists.sharded").run)


_load._dynamo_marked_constant = True  # type: ignore[attr-defined]  # `torch.compile` does not trace an import
