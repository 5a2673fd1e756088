"""The results of a verb on DTensors: tensors, the verdict of a check, and a support."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Replicate
from torch.distributions.constraints import Constraint

from functional_dists.sharded.layout import Layout
from functional_dists.sharded.passing import local_part, placed
from functional_dists.special.axis import Cut, reduced

__all__ = ["Support", "check", "of_parts", "settled"]


def of_parts(layout: Layout, result: Any, samples: Sequence[int], num_reduced: int) -> Any:
    """Return the DTensors of which this process has computed its parts."""
    if isinstance(result, tuple):
        return tuple(of_parts(layout, part, samples, num_reduced) for part in result)
    if not isinstance(result, Tensor):
        return result
    return placed(result, layout.mesh, *layout.of_result(result, samples, num_reduced))


def settled(result: Any) -> Any:
    """Return results without parts that are still to be added up, which `DTensor.to_local` would return as they are."""
    if isinstance(result, tuple):
        return tuple(map(settled, result))
    if not isinstance(result, DTensor) or not any(isinstance(p, Partial) for p in result.placements):
        return result
    whole = [Replicate() if isinstance(p, Partial) else p for p in result.placements]
    return result.redistribute(result.device_mesh, whole)


def check(
    on_local: Callable[..., Any],
    layout: Layout,
    local: tuple[Sequence[Any], dict[str, Any]],
    given: tuple[Sequence[Any], dict[str, Any]],
) -> None:
    """Check the parts; if a process finds a fault, all gather the arguments and report its position in the whole.

    Args:
        on_local: The check of plain tensors.
        layout: The layout.
        local: This process's parts of the arguments and the options.
        given: The arguments and the options.
    """
    mesh = layout.mesh
    try:
        on_local((), *local)
        found = torch.zeros((), device=mesh.device_type)
    except ValueError:
        found = torch.ones((), device=mesh.device_type)
    groups = tuple(mesh.get_group(dim).group_name for dim in range(mesh.ndim))
    if reduced(found, "max", [Cut(groups, tuple(mesh.shape), 0, 0, 0)]) > 0:
        arguments, options = given
        on_local((), [_whole(a) for a in arguments], {name: _whole(option) for name, option in options.items()})


def _whole(argument: Any) -> Any:
    return argument.full_tensor() if isinstance(argument, DTensor) else argument


class Support(Constraint):
    """The support of a distribution whose parameters are DTensors; it checks DTensors, and values all hold alike.

    Args:
        local: The support of this process's part; events and rows are whole.
        layout: The layout.
        num_reduced: How many of the last axes are an event or a row.
    """

    def __init__(self, local: Constraint, layout: Layout, num_reduced: int) -> None:
        self.local, self.layout, self.num_reduced = local, layout, num_reduced
        self.is_discrete, self.event_dim = local.is_discrete, local.event_dim

    def check(self, value: Tensor) -> Tensor:
        """Return which values are in the support."""
        lacks = int(self.num_reduced > 0 and self.event_dim == 0)  # an outcome stands for a row
        axes = range(-value.ndim - lacks, -lacks)
        samples = value.shape[: max(0, value.ndim + lacks - len(self.layout.shape))]
        part = local_part(value, self.layout.mesh, *self.layout.placements(value, axes))
        return cast(Tensor, of_parts(self.layout, self.local.check(part), samples, self.num_reduced))

    def __repr__(self) -> str:
        return f"Support({self.local})"
