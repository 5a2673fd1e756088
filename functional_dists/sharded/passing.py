"""DTensors to the parts that this process holds, and back, through autograd and `torch.func`.

PyTorch's own functions do not pass through `torch.func.grad`.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate

from functional_dists.family.placement import hidden_dtensor

__all__ = ["local_part", "placed"]

Placements = tuple[Placement, ...]


def local_part(tensor: Tensor, mesh: DeviceMesh, wanted: Placements, of_slope: Placements) -> Tensor:
    """Return this process's part of a tensor; a plain tensor is one that all processes hold alike.

    Args:
        tensor: A DTensor, a plain tensor, or what `torch.func` makes of one.
        mesh: The devices.
        wanted: The placements of the parts.
        of_slope: The placements that the gradients of the parts have.
    """
    if torch.compiler.is_compiling():
        if not isinstance(tensor, DTensor):
            tensor = DTensor.from_local(tensor, mesh, [Replicate()] * mesh.ndim, run_check=False)
        if tuple(tensor.placements) != wanted:
            tensor = tensor.redistribute(mesh, wanted)
        return tensor.to_local(grad_placements=of_slope)
    found = hidden_dtensor(tensor)
    if found is None:
        placements: Placements = (Replicate(),) * mesh.ndim
        tensor = cast(Any, _FromLocal).apply(tensor, mesh, placements, tensor.shape, tensor.stride())
    else:
        placements = tuple(found.placements)
    if placements != wanted:
        tensor = cast(Any, _Redistribute).apply(tensor, mesh, wanted, _as_whole(placements))
    return cast(Tensor, cast(Any, _ToLocal).apply(tensor, mesh, of_slope))


def placed(local: Tensor, mesh: DeviceMesh, placements: Placements, shape: Sequence[int]) -> Tensor:
    """Return a DTensor of the shape, of which this process holds the part `local`."""
    size = torch.Size(shape)
    stride = torch.empty(size, device="meta").stride()
    if torch.compiler.is_compiling():
        return DTensor.from_local(local, mesh, placements, run_check=False, shape=size, stride=stride)
    return cast(Tensor, cast(Any, _FromLocal).apply(local, mesh, placements, size, stride))


def _as_whole(placements: Placements) -> Placements:
    """Return the placements of a gradient: what is to be added up is whole there."""
    return tuple(Replicate() if isinstance(p, Partial) else p for p in placements)


class _ToLocal(torch.autograd.Function):
    @staticmethod
    def forward(tensor: Any, mesh: DeviceMesh, of_slope: Placements) -> Tensor:
        local = tensor._local_tensor
        return cast(Tensor, local.view_as(local))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        tensor, ctx.mesh, ctx.of_slope = inputs
        ctx.shape, ctx.stride = tensor.shape, tensor.stride()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Any, ...]:
        return cast(Any, _FromLocal).apply(slope, ctx.mesh, ctx.of_slope, ctx.shape, ctx.stride), None, None


class _FromLocal(torch.autograd.Function):
    @staticmethod
    def forward(local: Tensor, mesh: DeviceMesh, placements: Placements, shape: Any, stride: Any) -> Any:
        return DTensor.from_local(local.detach(), mesh, placements, run_check=False, shape=shape, stride=stride)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.mesh, ctx.placements, *_ = inputs

    @staticmethod
    def backward(ctx: Any, slope: Any) -> tuple[Any, ...]:
        whole = _as_whole(ctx.placements)
        found = hidden_dtensor(slope)
        if found is None:  # a plain slope is one that all processes hold alike
            replicated: Placements = (Replicate(),) * ctx.mesh.ndim
            slope = cast(Any, _FromLocal).apply(slope, ctx.mesh, replicated, slope.shape, slope.stride())
            found = hidden_dtensor(slope)
        if tuple(found.placements) != whole:
            slope = cast(Any, _Redistribute).apply(slope, ctx.mesh, whole, _as_whole(tuple(found.placements)))
        return cast(Any, _ToLocal).apply(slope, ctx.mesh, whole), None, None, None, None


class _Redistribute(torch.autograd.Function):
    @staticmethod
    def forward(tensor: Any, mesh: DeviceMesh, wanted: Placements, before: Placements) -> Any:
        return tensor.redistribute(mesh, wanted).detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.mesh, ctx.wanted, ctx.before = inputs

    @staticmethod
    def backward(ctx: Any, slope: Any) -> tuple[Any, ...]:
        found = hidden_dtensor(slope)
        before = _as_whole(tuple(found.placements))
        return cast(Any, _Redistribute).apply(slope, ctx.mesh, ctx.before, before), None, None, None
