"""Kernels of normals with the parameters (loc, scale), and of tanh-normals, which have (loc, scale, low, high)."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

import functional_dists.random as random
import functional_dists.random.extension as extension
from functional_dists.kernels import gradients, operands
from functional_dists.kernels.operands import address, layouts, new
from functional_dists.random import Source


def log_prob(*arguments: Any, default_event_dims: int, event_dims: int | None = None) -> Any:
    """Do what `log_prob` does: the value has all axes of the parameters and maybe more, or is one number."""
    *parameters, value = arguments
    shape = operands.common_shape(*parameters)
    if shape is None:
        return NotImplemented
    value_shape = shape
    if isinstance(value, Tensor):
        if not operands.is_readable(value, torch.float32):
            return NotImplemented
        value_shape = value.shape if value.ndim else shape
    elif not operands.is_number(value) or not operands.has_tensor(*parameters):
        return NotImplemented
    if value_shape != shape and value_shape[len(value_shape) - len(shape) :] != shape:
        return NotImplemented
    dims = _event_dims(event_dims, default_event_dims, shape)
    if dims is None or not operands.is_small(value_shape):
        return NotImplemented
    is_tracked = operands.are_tracked(*arguments)
    if is_tracked and not operands.can_be_saved(*arguments):
        return NotImplemented
    log_density = torch.empty(value_shape[: len(value_shape) - dims], dtype=torch.float32, device="cpu")
    point = (value, *_with_bounds(parameters))
    kernels: Any = extension.kernels
    kernels.log_density_at(value_shape, dims, *layouts(*point), log_density.data_ptr())
    if is_tracked:
        return cast(Any, gradients.LogDensity).apply(*point, (log_density, False, dims, value_shape))
    return log_density


# -------------------------------------------------------------------------------------------------------------- draws
class Drawn(NamedTuple):
    """Drawn values, and results that gradients need."""

    value: Tensor
    log_density: Tensor | None
    x: Tensor | None  # loc + scale noise, None if this is the value


def draw(
    is_pathwise: bool,
    key: Source,
    *parameters: Any,
    sample_shape: tuple[int, ...] = (),
    event_dims: int | None = None,
    default_event_dims: int | None = None,
) -> Any:
    """Do what `sample` or, if `is_pathwise`, `rsample` does; with a default of event_dims, what the pair verbs do."""
    has_density = default_event_dims is not None
    is_tracked = (is_pathwise or has_density) and operands.are_tracked(*parameters)
    shape = _shape(parameters, sample_shape, is_tracked)
    if shape is None:
        return NotImplemented
    dims = _event_dims(event_dims, default_event_dims, shape) if has_density else 0
    if dims is None:
        return NotImplemented
    noise = random.draw_entries(random.normal, key, sample_shape, shape, dtype=torch.float32, device="cpu")
    drawn = _transformed(noise, parameters, dims, has_density)
    value, log_density = drawn.value, drawn.log_density
    if is_tracked and is_pathwise:
        value, log_density = cast(Any, gradients.PathwiseDraw).apply(noise, *_with_bounds(parameters), drawn, dims)
    elif is_tracked:
        computed = (log_density, True, dims, noise.shape)
        log_density = cast(Any, gradients.LogDensity).apply(noise, *parameters[:2], None, None, computed)
    return (value, log_density) if has_density else value


def _shape(parameters: tuple[Any, ...], sample_shape: tuple[int, ...], is_tracked: bool) -> torch.Size | None:
    """Return the shape of the parameters, None if a kernel cannot draw from them."""
    shape = operands.common_shape(*parameters)
    if shape is None or not operands.has_tensor(*parameters) or not operands.is_small((*sample_shape, *shape)):
        return None
    if is_tracked and (operands.are_tracked(*parameters[2:]) or not operands.can_be_saved(*parameters)):
        return None
    return shape


def _transformed(noise: Tensor, parameters: tuple[Any, ...], event_dims: int, has_density: bool) -> Drawn:
    """Return the draws made of noise, with their log-densities if `has_density`."""
    kernels: Any = extension.kernels
    shape = noise.shape
    low, high = parameters[2:] or (None, None)
    x, end = new(noise, shape), None
    log_density = new(noise, shape[: noise.ndim - event_dims]) if has_density else None
    if low is not None and (isinstance(low, Tensor) or isinstance(high, Tensor) or low != -high):
        end = new(noise, shape)
    noise_layout, *parameter_layouts = layouts(noise, *_with_bounds(parameters))
    are_mirrored = kernels.draws_of_noise(
        shape, event_dims, noise_layout, *parameter_layouts, x.data_ptr(), address(end), address(log_density)
    )
    if low is None:
        return Drawn(x, log_density, None)
    value = torch.tanh(x)
    decay = None if are_mirrored or end is None else torch.exp(end)
    kernels.squash(shape, x.data_ptr(), address(decay), *parameter_layouts[2:], value.data_ptr())
    return Drawn(value, log_density, x)


def _with_bounds(parameters: Sequence[Any]) -> Sequence[Any]:
    return parameters if len(parameters) == 4 else (*parameters, None, None)


def _event_dims(event_dims: int | None, default_event_dims: int | None, shape: torch.Size) -> int | None:
    """Return the number of axes of an event, None if the arguments are invalid."""
    if event_dims is None:
        event_dims = default_event_dims if shape else 0
    return event_dims if isinstance(event_dims, int) and 0 <= event_dims <= len(shape) else None
