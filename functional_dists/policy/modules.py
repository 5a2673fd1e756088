"""A `torch.nn.Module` as a step: its tensors become the parameters of a pure function."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from functional_dists.family.reprs import call, shown
from functional_dists.policy.steps import FunctionModule, made_by


def from_module(
    module: nn.Module, in_keys: Sequence[Any], out_keys: Sequence[Any]
) -> tuple[dict[str, Tensor], FunctionModule]:
    """Split a module into its tensors and a step that is a pure function of them.

    Args:
        module: A module that takes the inputs by position. It returns one value, or one for each of the `out_keys`. The
            step keeps its mode, `train` or `eval`. In training mode the module must not update buffers, as batch norm
            does, nor draw, as dropout does.
        in_keys: The keys of the inputs.
        out_keys: The keys of the values.

    Returns:
        The parameters and buffers of the module by name, and the step. The tensors are not copies, so an optimiser of
        the module's parameters also trains the step.

    >>> params, step = from_module(torch.nn.Linear(3, 2), ["observation"], ["loc"])
    >>> step(params, None, {"observation": torch.zeros(5, 3)})["loc"].shape
    torch.Size([5, 2])
    """
    params, function = without_tensors(module)
    step = FunctionModule(function, in_keys, out_keys)
    return params, made_by(step, call("policy.from_module", module, [*step.in_keys], [*step.out_keys]))


def without_tensors(module: nn.Module) -> tuple[dict[str, Tensor], Callable[..., Any]]:
    """Return the tensors of a module by name, and the module as a function `(params, *inputs)`."""
    params = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return params, _Stateless(_on_meta(module))


@dataclass(frozen=True, eq=False)
class _Stateless:
    """A module without its tensors, as a function `(params, *inputs)`."""

    module: nn.Module

    def __repr__(self) -> str:
        return shown(self.module)

    def __call__(self, params: dict[str, Tensor], *inputs: Any) -> Any:
        return functional_call(self.module, params, inputs)


def _on_meta(module: nn.Module) -> nn.Module:
    """Return a copy of a module whose tensors are on the meta device, so that they hold no numbers."""
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        meta = torch.empty_like(tensor, device="meta", requires_grad=False)
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(meta, requires_grad=False) if is_parameter else meta
    return copy.deepcopy(module, memo)
