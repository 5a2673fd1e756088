"""A `torch.nn.Module` as a step: its tensors become the step's parameters, and what is left has no state."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from functional_dists.policy.steps import FunctionModule

__all__ = ["from_module", "without_tensors"]


def from_module(
    module: nn.Module, in_keys: Sequence[Any], out_keys: Sequence[Any]
) -> tuple[dict[str, Tensor], FunctionModule]:
    """Take a module apart into its tensors and a step that is a pure function of them.

    Args:
        module: A module that takes the inputs by position and returns a value, or as many as there are `out_keys`. What
            it is in (`train` or `eval`) it stays in the step; in training it must not update buffers, as a batch norm
            does, nor draw, as a dropout does.
        in_keys: Of the inputs.
        out_keys: Of the values.

    Returns:
        The parameters and buffers of the module by name, the same tensors and not copies of them, so that an optimiser
        of the module's parameters serves the step; and the step.

    >>> params, step = from_module(torch.nn.Linear(3, 2), ["observation"], ["loc"])
    >>> step(params, None, {"observation": torch.zeros(5, 3)})["loc"].shape
    torch.Size([5, 2])
    """
    params, function = without_tensors(module)
    return params, FunctionModule(function, in_keys, out_keys)


def without_tensors(module: nn.Module) -> tuple[dict[str, Tensor], Callable[..., Any]]:
    """Return the tensors of a module by name, and the function `(params, *inputs)` that is left of it."""
    params = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return params, _Stateless(_skeleton(module))


@dataclass(frozen=True, eq=False)
class _Stateless:
    """A module without its tensors, as a function `(params, *inputs)`."""

    module: nn.Module

    def __call__(self, params: dict[str, Tensor], *inputs: Any) -> Any:
        return functional_call(self.module, params, inputs)


def _skeleton(module: nn.Module) -> nn.Module:
    """Copy a module, but for its tensors, in whose place are ones without storage."""
    empty: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        hollow = torch.empty_like(tensor, device="meta", requires_grad=False)
        is_parameter = isinstance(tensor, nn.Parameter)
        empty[id(tensor)] = nn.Parameter(hollow, requires_grad=False) if is_parameter else hollow
    return copy.deepcopy(module, empty)
