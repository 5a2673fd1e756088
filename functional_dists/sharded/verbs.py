"""A verb of DTensors: each process runs it on the parts that it holds, with its window of the draw."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Replicate
from torch.distributions.constraints import Constraint

from functional_dists.family.definition import sums_events
from functional_dists.family.shapes import checked_shape
from functional_dists.family.specification import Specification
from functional_dists.random import Source
from functional_dists.random.keys import checked_key
from functional_dists.random.windows import Window
from functional_dists.sharded.layout import Axes, Layout, layout_of, mesh_of
from functional_dists.sharded.passing import local_part, placed
from functional_dists.special.axis import Cut, cut, reduced

__all__ = ["run"]

_OF_CUT_ROWS = (
    "categorical",
    "masked_categorical",
    "llm_masked_categorical",
    "one_hot(categorical)",
    "one_hot(masked_categorical)",
)
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
    if spec.maps_verb:
        return _settled(on_local(key, arguments, options))
    mesh = mesh_of(spec.name, arguments)
    checked_shape(spec, [a if isinstance(a, Tensor) else torch.empty((), device="meta") for a in arguments])
    axes_of = [_axes(spec, number, arguments) for number in range(len(arguments))]
    layout = layout_of(mesh, arguments, axes_of)
    if spec.name.endswith(".support"):
        return _support(spec, on_local, layout, arguments, axes_of, options)
    if not sums_events(spec.params) and not _knows_cut_rows(spec):
        layout = layout.without_cut_of(-1)
    local = [_local(layout, a, axes) if isinstance(a, Tensor) else a for a, axes in zip(arguments, axes_of, strict=True)]
    key = tuple(_window(spec, k, layout) for k in key)
    given_options = options
    options = {name: _local_option(layout, name, option) for name, option in options.items()}
    if spec.name.endswith(".check"):
        return _check(on_local, layout, local, options, arguments, given_options)
    num_reduced = _num_reduced(spec, layout, options)
    cuts = {axis: one for axis, one in layout.cuts().items() if axis >= -num_reduced}
    with cut(cuts) if cuts else contextlib.nullcontext():
        result = on_local(key, local, options)
    samples = options.get("sample_shape", ()) if spec.draws else ()
    if isinstance(result, tuple):
        return tuple(_placed(layout, part, samples, num_reduced) for part in result)
    return _placed(layout, result, samples, num_reduced)


def _check(
    on_local: Callable[..., Any],
    layout: Layout,
    local: Sequence[Any],
    options: dict[str, Any],
    arguments: Sequence[Any],
    given_options: dict[str, Any],
) -> None:
    """Check the parts; if a process finds a fault, all gather the arguments and report its position in the whole."""
    try:
        on_local((), local, options)
        found = torch.zeros((), device=layout.mesh.device_type)
    except ValueError:
        found = torch.ones((), device=layout.mesh.device_type)
    mesh = layout.mesh
    everyone = Cut(tuple(mesh.get_group(dim).group_name for dim in range(mesh.ndim)), tuple(mesh.shape), 0, 0, 0)
    if reduced(found, "max", [everyone]) > 0:
        whole = [a.full_tensor() if isinstance(a, DTensor) else a for a in arguments]
        on_local((), whole, {n: o.full_tensor() if isinstance(o, DTensor) else o for n, o in given_options.items()})


def _support(
    spec: Specification,
    on_local: Callable[..., Any],
    layout: Layout,
    arguments: Sequence[Any],
    axes_of: Sequence[Axes],
    options: dict[str, Any],
) -> Constraint:
    """Return the support of the parts; every process has whole events and rows."""
    num_reduced = _num_reduced(spec, layout, options)
    for axis in range(-num_reduced, 0):
        layout = layout.without_cut_of(axis)
    local = [_local(layout, a, axes) if isinstance(a, Tensor) else a for a, axes in zip(arguments, axes_of, strict=True)]
    of_parts = on_local((), local, {name: _local_option(layout, name, option) for name, option in options.items()})
    return _Support(of_parts, layout, is_per_row=num_reduced > 0 and of_parts.event_dim == 0, num_reduced=num_reduced)


class _Support(Constraint):
    """The support of a distribution whose parameters are DTensors; it checks DTensors, and values all hold alike."""

    def __init__(self, of_parts: Constraint, layout: Layout, *, is_per_row: bool, num_reduced: int) -> None:
        self.of_parts, self.layout, self.is_per_row, self.num_reduced = of_parts, layout, is_per_row, num_reduced
        self.is_discrete, self.event_dim = of_parts.is_discrete, of_parts.event_dim

    def check(self, value: Tensor) -> Tensor:
        axes = range(-value.ndim - self.is_per_row, -self.is_per_row)
        samples = value.shape[: max(0, value.ndim + self.is_per_row - len(self.layout.shape))]
        local = local_part(value, self.layout.mesh, *self.layout.placements(value, axes))
        return cast(Tensor, _placed(self.layout, self.of_parts.check(local), samples, self.num_reduced))

    def __repr__(self) -> str:
        return f"Support({self.of_parts})"


def _settled(result: Any) -> Any:
    """Return results without parts that are still to be added up, which `DTensor.to_local` would return as they are."""
    if isinstance(result, tuple):
        return tuple(map(_settled, result))
    if not isinstance(result, DTensor) or not any(isinstance(p, Partial) for p in result.placements):
        return result
    whole = [Replicate() if isinstance(p, Partial) else p for p in result.placements]
    return result.redistribute(result.device_mesh, whole)


def _axes(spec: Specification, number: int, arguments: Sequence[Any]) -> Axes:
    """Return the axes of the whole that an argument has."""
    argument, given = spec.arguments[number], arguments[number]
    ndim = given.ndim if isinstance(given, Tensor) else 0
    if argument.kind.layout == "per row":
        return [*range(-ndim, -1), None] if argument.is_parameter else range(-ndim - 1, -1)
    if spec.fit is not None and argument.is_parameter:  # a mask of positions lacks the axis of outcomes
        most = max(a.ndim for a, one in zip(arguments, spec.arguments, strict=True) if one.is_parameter)
        return range(-most, ndim - most)
    return range(-ndim, 0)


def _knows_cut_rows(spec: Specification) -> bool:
    """Return whether the verb's mathematics works on parts of the rows of logits."""
    return spec.name.partition(".")[0] in _OF_CUT_ROWS and spec.params.__module__.startswith("functional_dists.")


def _num_reduced(spec: Specification, layout: Layout, options: dict[str, Any]) -> int:
    """Return how many of the last axes the verb reduces."""
    if not sums_events(spec.params):
        return 1
    if spec.event_dims is None:
        return 0
    given = options.get("event_dims")
    return min(len(layout.shape), options["default_event_dims"] if given is None else given)


def _local(layout: Layout, argument: Tensor, axes: Axes) -> Tensor:
    return local_part(argument, layout.mesh, *layout.placements(argument, axes))


def _local_option(layout: Layout, name: str, option: Any) -> Any:
    if not isinstance(option, Tensor):
        return option
    return _local(layout, option, range(-option.ndim - (name in _OF_ROWS), -(name in _OF_ROWS)))


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
    placements, shape = layout.of_result(result, samples, num_reduced)
    return placed(result, layout.mesh, placements, shape)
