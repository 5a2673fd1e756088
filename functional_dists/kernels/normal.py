"""Kernels of normal distributions, and functions that kernels of tanh-normals, which have bounds, use too."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

import functional_dists.random as random
import functional_dists.random.extension as extension
from functional_dists.kernels import gradients, operands
from functional_dists.kernels.operands import address, layouts, new
from functional_dists.random import Source


def sample(key: Source, loc: Any, scale: Any, *, sample_shape: tuple[int, ...] = ()) -> Any:
    """Do what `normal.sample` does."""
    return draw(key, (loc, scale), sample_shape, is_pathwise=False)


def rsample(key: Source, loc: Any, scale: Any, *, sample_shape: tuple[int, ...] = ()) -> Any:
    """Do what `normal.rsample` does."""
    return draw(key, (loc, scale), sample_shape, is_pathwise=True)


def sample_and_log_prob(
    key: Source,
    loc: Any,
    scale: Any,
    *,
    sample_shape: tuple[int, ...] = (),
    event_dims: int | None = None,
    default_event_dims: int = 0,
) -> Any:
    """Do what `normal.sample_and_log_prob` does."""
    return draw_and_score(key, (loc, scale), sample_shape, event_dims, default_event_dims, is_pathwise=False)


def rsample_and_log_prob(
    key: Source,
    loc: Any,
    scale: Any,
    *,
    sample_shape: tuple[int, ...] = (),
    event_dims: int | None = None,
    default_event_dims: int = 0,
) -> Any:
    """Do what `normal.rsample_and_log_prob` does."""
    return draw_and_score(key, (loc, scale), sample_shape, event_dims, default_event_dims, is_pathwise=True)


def log_prob(loc: Any, scale: Any, value: Any, *, event_dims: int | None = None, default_event_dims: int = 0) -> Any:
    """Do what `normal.log_prob` does."""
    return score((loc, scale), value, event_dims, default_event_dims)


# -------------------------------------------------------------------------------------------------------------- draws
class Drawn(NamedTuple):
    """Drawn values, and results that gradients need."""

    value: Tensor
    log_density: Tensor | None
    x: Tensor | None  # loc + scale noise, None if this is the value


def draw(key: Source, parameters: tuple[Any, ...], sample_shape: tuple[int, ...], *, is_pathwise: bool) -> Any:
    """Return draws, differentiable if `is_pathwise`.

    Args:
        key: As in the verb.
        parameters: (loc, scale), or (loc, scale, low, high) for a tanh-normal.
        sample_shape: As in the verb.
        is_pathwise: Whether the draws are differentiable functions of loc and scale.
    """
    is_tracked = is_pathwise and operands.are_tracked(*parameters)
    shape = _shape(parameters, sample_shape, is_tracked)
    if shape is None:
        return NotImplemented
    noise = _noise(key, sample_shape, shape)
    drawn = _transformed(noise, parameters, None)
    if is_tracked:
        return cast(Any, gradients.PathwiseDraw).apply(noise, *_with_bounds(parameters), drawn, 0)[0]
    return drawn.value


def draw_and_score(
    key: Source,
    parameters: tuple[Any, ...],
    sample_shape: tuple[int, ...],
    event_dims: int | None,
    default_event_dims: int,
    *,
    is_pathwise: bool,
) -> Any:
    """Return draws with their log-densities; the log-densities are differentiable, the draws if `is_pathwise`."""
    is_tracked = operands.are_tracked(*parameters)
    shape = _shape(parameters, sample_shape, is_tracked)
    dims = None if shape is None else _event_dims(event_dims, default_event_dims, shape)
    if shape is None or dims is None:
        return NotImplemented
    noise = _noise(key, sample_shape, shape)
    drawn = _transformed(noise, parameters, dims)
    if not is_tracked:
        return drawn.value, drawn.log_density
    if is_pathwise:
        return cast(Any, gradients.PathwiseDraw).apply(noise, *_with_bounds(parameters), drawn, dims)
    return drawn.value, cast(Any, gradients.LogDensityOfDraw).apply(noise, *parameters[:2], drawn, dims)


def _shape(parameters: tuple[Any, ...], sample_shape: tuple[int, ...], is_tracked: bool) -> torch.Size | None:
    """Return the shape of the parameters, None if a kernel cannot draw from them."""
    shape = operands.common_shape(*parameters)
    if shape is None or not operands.has_tensor(*parameters) or not operands.is_small((*sample_shape, *shape)):
        return None
    if is_tracked and (operands.are_tracked(*parameters[2:]) or not operands.can_be_saved(*parameters)):
        return None
    return shape


def _with_bounds(parameters: tuple[Any, ...]) -> tuple[Any, ...]:
    return parameters if len(parameters) == 4 else (*parameters, None, None)


def _noise(key: Source, sample_shape: tuple[int, ...], shape: torch.Size) -> Tensor:
    return random.draw_entries(random.normal, key, sample_shape, shape, dtype=torch.float32, device="cpu")


def _transformed(noise: Tensor, parameters: tuple[Any, ...], event_dims: int | None) -> Drawn:
    """Return the draws made of noise, with their log-densities unless `event_dims` is None."""
    kernels, shape = extension.kernels, noise.shape
    low, high = parameters[2:] or (None, None)
    x, log_density, end = new(noise, shape), None, None
    if event_dims is not None:
        log_density = new(noise, shape[: noise.ndim - event_dims])
    if low is not None and (isinstance(low, Tensor) or isinstance(high, Tensor) or low != -high):
        end = new(noise, shape)
    noise_layout, loc_layout, scale_layout, low_layout, high_layout = layouts(noise, *_with_bounds(parameters))
    are_mirrored = kernels.draws_of_noise(
        shape,
        event_dims or 0,
        noise_layout,
        loc_layout,
        scale_layout,
        low_layout,
        high_layout,
        x.data_ptr(),
        address(end),
        address(log_density),
    )
    if low is None:
        return Drawn(x, log_density, None)
    value = torch.tanh(x)
    sigmoid = None if are_mirrored or end is None else torch.sigmoid(end)
    kernels.squash(shape, x.data_ptr(), address(sigmoid), low_layout, high_layout, value.data_ptr())
    return Drawn(value, log_density, x)


# ------------------------------------------------------------------------------------------------------------ density
def score(parameters: tuple[Any, ...], value: Any, event_dims: int | None, default_event_dims: int) -> Any:
    """Return the log-density of values that have all axes of the parameters and maybe more, or of one number."""
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
    is_tracked = operands.are_tracked(value, *parameters)
    if is_tracked and not operands.can_be_saved(value, *parameters):
        return NotImplemented
    log_density = torch.empty(value_shape[: len(value_shape) - dims], dtype=torch.float32, device="cpu")
    all_parameters = _with_bounds(parameters)
    value_layout, loc_layout, scale_layout, low_layout, high_layout = layouts(value, *all_parameters)
    extension.kernels.log_density_at(
        value_shape, dims, value_layout, loc_layout, scale_layout, low_layout, high_layout, log_density.data_ptr()
    )
    if is_tracked:
        return cast(Any, gradients.LogDensityOfValue).apply(value, *all_parameters, (log_density,), dims, value_shape)
    return log_density


def _event_dims(event_dims: int | None, default_event_dims: int, shape: torch.Size) -> int | None:
    """Return the number of axes of an event, None if the arguments are invalid."""
    if event_dims is None:
        event_dims = default_event_dims if shape else 0
    return event_dims if isinstance(event_dims, int) and 0 <= event_dims <= len(shape) else None
