"""How the axes of a verb's arguments lie in the whole, how devices cut them, and which part this process holds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Partial, Placement, Replicate, Shard

from functional_dists.family.placement import hidden_dtensor
from functional_dists.special.axis import Cut

__all__ = ["Axes", "Layout", "layout_of", "mesh_of"]

Axes = Sequence[int | None]  # for each axis of an argument that of the whole, counted from the end; None if it has none


class Layout(NamedTuple):
    """The shape to which the arguments broadcast, and how it is cut."""

    mesh: DeviceMesh
    shape: tuple[int, ...]
    cut: tuple[int | None, ...]  # for each dim of the mesh the axis that it cuts, counted from the end, or None
    starts: tuple[int, ...]  # of this process's part, in each axis
    sizes: tuple[int, ...]

    def placements(self, tensor: Tensor, axes: Axes) -> tuple[tuple[Placement, ...], tuple[Placement, ...]]:
        """Return the placements of an argument, and those of its gradient."""
        wanted: list[Placement] = []
        of_slope: list[Placement] = []
        for axis in self.cut:
            if axis is not None and axis in axes and tensor.shape[axes.index(axis)] == self.shape[axis]:
                wanted.append(Shard(axes.index(axis)))
                of_slope.append(Shard(axes.index(axis)))
            else:  # what is broadcast along a cut gets a part of its gradient from every process
                wanted.append(Replicate())
                of_slope.append(Replicate() if axis is None else Partial())
        return tuple(wanted), tuple(of_slope)

    def of_result(
        self, ndim: int, samples: Sequence[int], num_reduced: int
    ) -> tuple[tuple[Placement, ...], tuple[int, ...]]:
        """Return the placements and the shape of a result.

        It may lack the last axes, which the verb reduces, and the first ones, which only a value has.
        """
        lacks = len(self.shape) + len(samples) - ndim
        end = len(self.shape) - min(lacks, num_reduced)
        begin = lacks - (len(self.shape) - end)
        placements: list[Placement] = []
        for axis in self.cut:
            own = -1 if axis is None else axis + len(self.shape)
            placements.append(Shard(len(samples) + own - begin) if begin <= own < end else Replicate())
        return tuple(placements), (*samples, *self.shape[begin:end])

    def without_cut_of(self, axis: int) -> "Layout":
        """Return the layout in which every process has the whole of an axis."""
        return _layout(self.mesh, self.shape, tuple(None if a == axis else a for a in self.cut))

    def cuts(self) -> dict[int, Cut]:
        """Return the axes that are cut, counted from the end."""
        cuts = {}
        for axis in {axis for axis in self.cut if axis is not None}:
            dims = [dim for dim, other in enumerate(self.cut) if other == axis]
            names = tuple(self.mesh.get_group(dim).group_name for dim in dims)
            worlds = tuple(self.mesh.size(dim) for dim in dims)
            rank = 0
            for dim, world in zip(dims, worlds, strict=True):
                rank = rank * world + self.mesh.get_local_rank(dim)
            cuts[axis] = Cut(names, worlds, rank, self.starts[axis], self.shape[axis])
        return cuts


def mesh_of(verb: str, tensors: Sequence[Any]) -> DeviceMesh:
    """Return the mesh of the DTensors; raise a ValueError if they have different ones."""
    found = [hidden_dtensor(tensor) for tensor in tensors]
    meshes = [tensor.device_mesh for tensor in found if tensor is not None]
    for mesh in meshes[1:]:
        if mesh != meshes[0]:
            raise ValueError(
                f"{verb}: all DTensors must be on one mesh, got {meshes[0]} and {mesh}; "
                "bring one to the mesh of the other by DTensor.full_tensor and distribute_tensor"
            )
    return meshes[0]


def layout_of(mesh: DeviceMesh, tensors: Sequence[Any], axes_of: Sequence[Axes]) -> Layout:
    """Return the layout of tensors, whose axes are those of the whole.

    The first argument that is cut by a dim of the mesh decides which axis that dim cuts.
    """
    sizes: dict[int, int] = {}
    for tensor, axes in zip(tensors, axes_of, strict=True):
        for axis, size in zip(axes, tensor.shape if isinstance(tensor, Tensor) else (), strict=True):
            if axis is not None and sizes.get(axis, 1) == 1:
                sizes[axis] = size
    shape = tuple(sizes[axis] for axis in range(min(sizes, default=0), 0))
    cut = tuple(_axis_cut(dim, tensors, axes_of, shape) for dim in range(mesh.ndim))
    return _layout(mesh, shape, cut)


def _layout(mesh: DeviceMesh, shape: tuple[int, ...], cut: tuple[int | None, ...]) -> Layout:
    sizes, starts = list(shape), [0] * len(shape)
    for dim, axis in enumerate(cut):
        if axis is not None:  # as `torch.chunk` does; in integers, which `torch.compile` knows
            size = -(-sizes[axis] // mesh.size(dim))
            begin = min(sizes[axis], mesh.get_local_rank(dim) * size)
            sizes[axis] = min(sizes[axis], begin + size) - begin
            starts[axis] += begin
    return Layout(mesh, shape, cut, tuple(starts), tuple(sizes))


def _axis_cut(dim: int, tensors: Sequence[Any], axes_of: Sequence[Axes], shape: Sequence[int]) -> int | None:
    for tensor, axes in zip(tensors, axes_of, strict=True):
        found = hidden_dtensor(tensor)
        placement = None if found is None else found.placements[dim]
        if type(placement) is Shard:
            axis = axes[placement.dim]
            if axis is not None and tensor.shape[placement.dim] == shape[axis]:
                return axis
    return None
