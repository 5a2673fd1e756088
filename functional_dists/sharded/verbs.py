"""A verb of DTensors: each process runs it on the parts that it holds, with its window of the draw."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from functional_dists.family.shapes import checked_shape
from functional_dists.family.specification import Specification
from functional_dists.random import Source
from functional_dists.sharded.arguments import (
    axes_of,
    is_head,
    is_whole,
    layout_for,
    local_arguments,
    local_option,
    num_reduced,
    window,
)
from functional_dists.sharded.layout import mesh_of
from functional_dists.sharded.results import Support, check, of_parts, settled
from functional_dists.special.axis import cut

__all__ = ["run"]


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
        return settled(on_local(key, arguments, options))
    mesh, verb = mesh_of(spec.name, arguments), spec.name.rpartition(".")[2]
    if is_whole(spec):
        return _run_whole(mesh, on_local, key, arguments, options)
    shape = checked_shape(spec, [a if isinstance(a, Tensor) else torch.empty((), device="meta") for a in arguments])
    axes = axes_of(spec, arguments)
    layout = layout_for(spec, mesh, arguments, axes)
    reduces = num_reduced(spec, shape, options)
    if verb == "support" and not is_head(spec):  # a head scores values by the parts of its rows
        for axis in range(-reduces, 0):
            layout = layout.without_cut_of(axis)
    local = local_arguments(layout, arguments, axes)
    windows = tuple(window(spec, k, layout) for k in key)
    local_options = {name: local_option(spec, layout, name, option, shape) for name, option in options.items()}
    if verb == "check":
        return check(on_local, layout, (local, local_options), (arguments, options))
    joins_rows = is_head(spec) and options.get("support") is not None  # the longest list of all decides
    cuts = {axis: one for axis, one in layout.cuts().items() if axis >= -reduces or joins_rows}
    with cut(cuts) if cuts else contextlib.nullcontext():
        result = on_local(windows, local, local_options)
    if verb == "support":
        return Support(result, layout, reduces)
    return of_parts(layout, result, options.get("sample_shape", ()) if spec.draws else (), reduces)


def _run_whole(
    mesh: Any, on_local: Callable[..., Any], key: tuple[Source, ...], arguments: Sequence[Any], options: dict[str, Any]
) -> Any:
    """Run a verb on gathered tensors, on every device alike."""

    def whole(given: Any) -> Any:
        return given.full_tensor() if isinstance(given, DTensor) else given

    def replicated(result: Any) -> Any:
        if isinstance(result, tuple):
            return tuple(map(replicated, result))
        return DTensor.from_local(result, mesh, [Replicate()] * mesh.ndim, run_check=False)

    named = {name: whole(option) for name, option in options.items()}
    result = on_local(tuple(map(whole, key)), [whole(argument) for argument in arguments], named)
    return replicated(result) if isinstance(result, (Tensor, tuple)) else result
