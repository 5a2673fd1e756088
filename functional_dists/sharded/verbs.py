"""A verb of DTensors: each process runs it on the parts that it holds, with its window of the draw."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from functional_dists.discrete.kept import KeptTokens, as_indices, as_mask
from functional_dists.family.definition import sums_events
from functional_dists.family.shapes import checked_shape, resolved_event_dims
from functional_dists.family.specification import Specification
from functional_dists.random import Source
from functional_dists.random.keys import checked_key
from functional_dists.random.windows import Window
from functional_dists.sharded.layout import Axes, Layout, layout_of, mesh_of
from functional_dists.sharded.passing import local_part, placed
from functional_dists.special.axis import cut

__all__ = ["run"]

_HEAD = "linear_categorical"
_OF_CUT_ROWS = ("categorical", "masked_categorical", "llm_masked_categorical", _HEAD)
_OF_ROWS = ("temperature", "mask")  # options with one number a row


def run(
    spec: Specification,
    on_local: Callable[..., Any],
    key: tuple[Source, ...],
    arguments: Sequence[Any],
    options: dict[str, Any],
) -> Any:
    """Run a verb whose arguments are DTensors, or some of them; the others are what all processes hold alike.

    Args:
        spec: The specification of the verb.
        on_local: The verb itself, `on_local(key, arguments, options)`, for plain tensors.
        key: The source of randomness, or nothing.
        arguments: The tensors and numbers, by position.
        options: The options.

    Returns:
        DTensors: each axis that a device cuts is cut in the same way, and what is summed or chosen is replicated.

    Raises:
        ValueError: The meshes of two arguments differ.
        TypeError: The source is a Generator.
    """
    mesh = mesh_of(spec.name, arguments)
    shape = checked_shape(spec, [a if isinstance(a, Tensor) else torch.empty((), device="meta") for a in arguments])
    axes_of = [_axes(spec, number, arguments) for number in range(len(arguments))]
    deciding = list(zip(arguments, axes_of, strict=True))
    if _is_head(spec):  # to send hidden vectors costs less than to send the weight
        deciding.sort(key=lambda one: -1 not in one[1])
    layout = layout_of(mesh, [a for a, _ in deciding], [axes for _, axes in deciding])
    if not sums_events(spec.params) and not _knows_cut_rows(spec):
        layout = layout.without_cut_of(-1)
    local = [
        _local(layout, a, axes) if isinstance(a, Tensor) else a for a, axes in zip(arguments, axes_of, strict=True)
    ]
    key = tuple(_window(spec, k, layout) for k in key)
    options = {name: _local_option(layout, name, option) for name, option in options.items()}
    if options.get("support") is not None:
        options["support"] = _local_support(spec, layout, options["support"], shape[:-1])
    num_reduced = _num_reduced(spec, shape, options)
    joins_rows = _is_head(spec) and options.get("support") is not None  # the longest list of all decides
    cuts = {axis: one for axis, one in layout.cuts().items() if axis >= -num_reduced or joins_rows}
    with cut(cuts) if cuts else contextlib.nullcontext():
        result = on_local(key, local, options)
    samples = options.get("sample_shape", ()) if spec.draws else ()
    if isinstance(result, tuple):
        return tuple(_placed(layout, part, samples, num_reduced) for part in result)
    return _placed(layout, result, samples, num_reduced)


def _axes(spec: Specification, number: int, arguments: Sequence[Any]) -> Axes:
    """Return the axes of the whole that an argument has."""
    argument, given = spec.arguments[number], arguments[number]
    ndim = given.ndim if isinstance(given, Tensor) else 0
    if argument.kind.layout == "per row":
        return [*range(-ndim, -1), None] if argument.is_parameter else range(-ndim - 1, -1)
    if _is_head(spec):
        return {"hidden": [*range(-ndim, -1), None], "weight": [-1, None], "bias": [-1] * ndim}[_field(argument.name)]
    if spec.fit is not None and argument.is_parameter:  # a mask of positions lacks the axis of outcomes
        most = max(a.ndim for a, one in zip(arguments, spec.arguments, strict=True) if one.is_parameter)
        return range(-most, ndim - most)
    return range(-ndim, 0)


def _field(name: str) -> str:
    return name.rpartition(".")[2]  # of "p.hidden"


def _is_head(spec: Specification) -> bool:
    """Return whether the parameters make logits: hidden vectors, a weight and a bias."""
    return spec.name.partition(".")[0] == _HEAD and spec.params.__module__.startswith("functional_dists.")


def _knows_cut_rows(spec: Specification) -> bool:
    """Return whether the verb's mathematics works on parts of the rows of logits."""
    return spec.name.partition(".")[0] in _OF_CUT_ROWS and spec.params.__module__.startswith("functional_dists.")


def _num_reduced(spec: Specification, shape: torch.Size, options: dict[str, Any]) -> int:
    """Return how many of the last axes the verb reduces; `shape` is that of the parameters."""
    if not sums_events(spec.params):
        return 1
    if spec.event_dims is None:
        return 0
    return resolved_event_dims(spec, options.get("event_dims"), options["default_event_dims"], shape)


def _local(layout: Layout, argument: Tensor, axes: Axes) -> Tensor:
    return local_part(argument, layout.mesh, *layout.placements(argument, axes))


def _local_option(layout: Layout, name: str, option: Any) -> Any:
    if not isinstance(option, Tensor) or name == "support":
        return option
    return _local(layout, option, range(-option.ndim - (name in _OF_ROWS), -(name in _OF_ROWS)))


def _local_support(spec: Specification, layout: Layout, kept: Any, batch: torch.Size) -> Any:
    """Return the kept set of this process's part as a mask; for a head, lists stay those of whole rows."""
    if isinstance(kept, tuple):  # the rows of `KeptTokens` cannot be cut
        whole: Layout = layout._replace(cut=(None,) * len(layout.cut))
        index = as_indices(KeptTokens(*(_local(whole, part, [None]) for part in kept)))
        kept = index.reshape(*batch, index.shape[-1])
    if not isinstance(kept, Tensor):
        return kept  # which the verb refuses
    if kept.dtype == torch.bool:
        return _local(layout, kept, range(-kept.ndim, 0))
    index = _local(layout, kept, [*range(-kept.ndim, -1), None])
    if _is_head(spec):
        return index
    return as_mask(index, layout.shape[-1]).narrow(-1, layout.starts[-1], layout.sizes[-1])


def _window(spec: Specification, key: Source, layout: Layout) -> Any:
    if not isinstance(key, Tensor):
        raise TypeError(
            f"{spec.name}: a torch.Generator draws other numbers on every device; make a key of it on one, "
            "key = random.key_from(generator), send it to all, and pass the key"
        )
    if isinstance(key, DTensor):
        key = key.redistribute(layout.mesh, [Replicate()] * layout.mesh.ndim).to_local()
    return Window(checked_key(key), layout.shape, layout.starts, layout.sizes)


def _placed(layout: Layout, result: Any, samples: Sequence[int], num_reduced: int) -> Any:
    if not isinstance(result, Tensor):
        return result
    placements, shape = layout.of_result(result.ndim, samples, num_reduced)
    return placed(result, layout.mesh, placements, shape)
