"""The wrapper that makes a function of tensors a verb."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import functional_dists.kernels as kernels
from functional_dists.family import placement
from functional_dists.family.arguments import (
    as_params,
    check_options,
    tensors_if_same_dtype,
    to_one_dtype,
    to_positional,
)
from functional_dists.family.shapes import checked_shape, resolved_event_dims
from functional_dists.family.specification import Specification, function_and_bounds, with_unpacked_params
from functional_dists.family.trees import has_pytree, map_leaves
from functional_dists.random import Source, size_of

__all__ = ["wrap"]


def wrap(function: Callable[..., Any], spec: Specification) -> Callable[..., Any]:
    """Return the verb: a function of numbers, tensors of any floating dtype and pytrees."""
    if not spec.draws and not spec.arguments:
        return _without_arguments(function, spec)
    kernel = kernels.find(spec.name, str(function.__module__))
    if spec.num_params:
        function = with_unpacked_params(function, spec)
    confine, names_of_bounds = (None, ()) if spec.confine is None else function_and_bounds(spec.confine)
    bounds = [spec.names.index(name) for name in names_of_bounds]
    event_dims, draws = spec.event_dims, int(spec.draws)  # `torch.compile` of torch 2.11 takes no bool for an index
    count = draws + len(spec.arguments)
    takes_dtype, passes_dtype = spec.takes_dtype, spec.passes_dtype
    of_rows = spec.of_rows
    holds = tuple(argument.kind.holds for argument in spec.arguments)
    is_simple = spec.fit is None and all(argument.kind.layout == "per element" for argument in spec.arguments)

    def on_tensors(
        key: tuple[Source, ...], tensors: Sequence[Tensor], options: dict[str, Any], dtype: torch.dtype | None = None
    ) -> Any:
        """Run the function; `dtype` is the result's dtype if it differs from that of the tensors."""
        of_scores = None if not takes_dtype else options.get("dtype") if passes_dtype else options.pop("dtype", None)
        shape = tensors[0].shape
        is_checked = not is_simple or (of_rows and len(shape) == 0)
        for tensor in tensors:
            if is_checked or (tensor.shape != shape and tensor.ndim):  # equal shapes and numbers need no check
                shape = checked_shape(spec, tensors)
                break
        if event_dims is not None:
            default = options.pop("default_event_dims")
            options["event_dims"] = resolved_event_dims(spec, options.get("event_dims"), default, shape)
        result = function(*key, *tensors, **options)
        if of_scores is not None:
            return (_cast(result[0], dtype), _cast(result[1], of_scores)) if draws else _cast(result, of_scores)
        if dtype is None:
            return result
        result = _cast(result, dtype)
        if confine is None or dtype is tensors[0].dtype:
            return result
        limits = [tensors[i].to(dtype) for i in bounds]
        return (confine(result[0], *limits), result[1]) if isinstance(result, tuple) else confine(result, *limits)

    def on_leaf(key: tuple[Source, ...], arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        if placement.is_placed(arguments):
            on_parts = on_leaf_of_placed if spec.maps_verb else on_leaf_of_tree
            return placement.run(spec, on_parts, key, arguments, options)
        tensors, dtype = tensors_if_same_dtype(holds, arguments), None
        if tensors is None:
            tensors, dtype = to_one_dtype(spec, arguments)
        return on_tensors(key, tensors, dict(options), dtype)

    def on_leaf_of_placed(key: tuple[Source, ...], arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        return function(*key, *arguments, **options)

    def on_leaf_of_tree(key: tuple[Source, ...], arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        result = kernel(*key, *arguments, **options) if kernel and kernels.can_be_used() else NotImplemented
        return on_leaf(key, arguments, options) if result is NotImplemented else result

    def verb(*arguments: Any, **options: Any) -> Any:
        if len(arguments) != count or isinstance(arguments[draws], spec.params):
            arguments, options = to_positional(spec, arguments, options)
        if options:
            check_options(spec, options)
            if "sample_shape" in options and type(options["sample_shape"]) is not tuple:
                options["sample_shape"] = size_of(options["sample_shape"], f"{spec.name}: sample_shape")
        if event_dims is not None and "default_event_dims" not in options:  # a bound family may give its own
            options["default_event_dims"] = event_dims
        if kernel is not None and kernels.can_be_used():
            result = kernel(*arguments, **options)
            if result is not NotImplemented:
                return result
        key, arguments = arguments[:draws], arguments[draws:]
        if has_pytree(arguments):
            return map_leaves(spec, on_leaf_of_tree, key, arguments, options)
        return on_leaf(key, arguments, options)

    def verb_of_pair(p: Any, q: Any, **options: Any) -> Any:
        return verb(*as_params(spec.params, p), *as_params(spec.params, q), **options)

    return verb_of_pair if spec.num_params == 2 else verb


def _without_arguments(function: Callable[..., Any], spec: Specification) -> Callable[..., Any]:
    """Return the verb of a function that takes no tensors, such as the image of a bijector without parameters."""
    params = (spec.params(),) * spec.num_params

    def verb(*arguments: Any, **options: Any) -> Any:
        _, options = to_positional(spec, arguments, options)
        check_options(spec, options)
        return function(*params, **options)

    return verb


def _cast(result: Any, dtype: torch.dtype | None) -> Any:
    if dtype is None:
        return result
    if isinstance(result, tuple):
        return tuple(_cast(part, dtype) for part in result)
    return result.to(dtype) if isinstance(result, Tensor) and result.is_floating_point() else result
