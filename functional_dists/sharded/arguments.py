"""The arguments, options and randomness of a verb on DTensors: their axes, and the parts that this process holds."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from functional_dists.discrete.kept import KeptTokens, as_indices, as_mask
from functional_dists.family.definition import sums_events
from functional_dists.family.shapes import resolved_event_dims
from functional_dists.family.specification import Specification
from functional_dists.random import Source
from functional_dists.random.keys import checked_key
from functional_dists.random.windows import Window
from functional_dists.sharded.layout import Axes, Layout, layout_of
from functional_dists.sharded.passing import local_part

__all__ = ["axes_of", "is_head", "is_whole", "layout_for", "local_arguments", "local_option", "num_reduced", "window"]

_HEAD = "linear_categorical"
_OF_ROWS = ("temperature", "mask")  # options with one number a row


def axes_of(spec: Specification, arguments: Sequence[Any]) -> list[Axes]:
    """Return for each argument the axes of the whole that it has."""
    return [_axes(spec, number, arguments) for number in range(len(arguments))]


def _axes(spec: Specification, number: int, arguments: Sequence[Any]) -> Axes:
    argument, given = spec.arguments[number], arguments[number]
    ndim = given.ndim if isinstance(given, Tensor) else 0
    if argument.kind.layout == "per row":
        return [*range(-ndim, -1), None] if argument.is_parameter else range(-ndim - 1, -1)
    if argument.kind.layout == "outcomes":
        return [*range(-ndim, -1), None]
    if argument.kind.layout == "matrix":
        return [*range(1 - ndim, 0), None]
    if is_head(spec):
        field = argument.name.rpartition(".")[2]  # of "p.hidden"
        return {"hidden": [*range(-ndim, -1), None], "weight": [-1, None], "bias": [-1] * ndim}[field]
    if spec.fit is not None and argument.is_parameter:  # a mask of positions lacks the axis of outcomes
        most = max(a.ndim for a, one in zip(arguments, spec.arguments, strict=True) if one.is_parameter)
        return range(-most, ndim - most)
    return range(-ndim, 0)


def is_head(spec: Specification) -> bool:
    """Return whether the parameters make logits: hidden vectors, a weight and a bias."""
    of_package = str(spec.params.__module__).startswith("functional_dists.")
    return of_package and spec.name.partition(".")[0] == _HEAD


def layout_for(spec: Specification, mesh: Any, arguments: Sequence[Any], axes: Sequence[Axes]) -> Layout:
    """Return the layout in which the verb runs: rows are whole if it does not know parts of them."""
    deciding = list(zip(arguments, axes, strict=True))
    if is_head(spec):  # to send hidden vectors costs less than to send the weight
        deciding.sort(key=lambda one: -1 not in one[1])
    layout = layout_of(mesh, [argument for argument, _ in deciding], [own for _, own in deciding])
    return layout if sums_events(spec.params) or spec.knows_cut_rows else layout.without_cut_of(-1)


def is_whole(spec: Specification) -> bool:
    """Return whether the verb runs on whole tensors alone: their axes are those of no common shape."""
    if any(argument.kind.layout in ("matrix", "outcomes") for argument in spec.arguments):
        return True
    return spec.fit is not None and not spec.knows_cut_rows


def num_reduced(spec: Specification, shape: torch.Size, options: dict[str, Any]) -> int:
    """Return how many of the last axes the verb reduces; `shape` is that of the parameters."""
    if not sums_events(spec.params):
        return 1
    if spec.event_dims is None:
        return 0
    return resolved_event_dims(spec, options.get("event_dims"), options["default_event_dims"], shape)


def local_arguments(layout: Layout, arguments: Sequence[Any], axes: Sequence[Axes]) -> list[Any]:
    """Return this process's parts of the tensors, and the numbers."""
    return [_local(layout, a, own) if isinstance(a, Tensor) else a for a, own in zip(arguments, axes, strict=True)]


def _local(layout: Layout, argument: Tensor, axes: Axes) -> Tensor:
    return local_part(argument, layout.mesh, *layout.placements(argument, axes))


def local_option(spec: Specification, layout: Layout, name: str, option: Any, shape: torch.Size) -> Any:
    """Return this process's part of an option; `shape` is that of the parameters."""
    if name == "support" and option is not None:
        return _local_support(spec, layout, option, shape)
    if not isinstance(option, Tensor):
        return option
    return _local(layout, option, range(-option.ndim - (name in _OF_ROWS), -(name in _OF_ROWS)))


def _local_support(spec: Specification, layout: Layout, kept: Any, shape: torch.Size) -> Any:
    """Return the kept set of this process's rows: its columns of a mask, or a head's lists of whole rows."""
    if isinstance(kept, tuple):  # the rows of `KeptTokens` cannot be cut
        whole = layout._replace(cut=(None,) * len(layout.cut))
        index = as_indices(KeptTokens(*(_local(whole, part, [None]) for part in kept)))
        kept = index.reshape(*shape[:-1], index.shape[-1])
    if not isinstance(kept, Tensor):
        return kept  # which the verb refuses
    if kept.dtype == torch.bool:
        return _local(layout, kept, range(-kept.ndim, 0))
    if is_head(spec):
        return _local(layout, kept, [*range(-kept.ndim, -1), None])
    whole = layout._replace(cut=(None,) * len(layout.cut))
    index = _local(whole, kept, [None] * kept.ndim)
    return _local(layout, as_mask(index, shape[-1], shape[:-1]), range(-len(shape), 0))


def window(spec: Specification, key: Source, layout: Layout) -> Window:
    """Return the source of randomness of this process's part."""
    if not isinstance(key, Tensor):
        raise TypeError(
            f"{spec.name}: a torch.Generator draws other numbers on every device; make a key of it on one, "
            "key = random.key_from(generator), send it to all, and pass the key"
        )
    if isinstance(key, DTensor):
        key = key.redistribute(layout.mesh, [Replicate()] * layout.mesh.ndim).to_local()
    return Window(checked_key(key), layout.shape, layout.starts, layout.sizes)
