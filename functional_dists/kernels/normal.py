"""Kernels of normal distributions, and what those of tanh-normals, which have bounds, share with them."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

import functional_dists.extension as extension
import functional_dists.random as random
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
    """Values, and what gradients need of them."""

    value: Tensor
    log_density: Tensor | None
    x: Tensor | None  # loc + scale noise, where the value is not that itself


def draw(key: Source, parameters: tuple[Any, ...], sample_shape: tuple[int, ...], *, is_pathwise: bool) -> Any:
    """Draw values, which with `is_pathwise` are functions of loc and scale.

    Args:
        key: As in the verb.
        parameters: loc and scale, and low and high of a tanh-normal.
        sample_shape: As in the verb.
        is_pathwise: Whether the values are differentiable.
    """
    is_tracked = is_pathwise and operands.are_tracked(*parameters)
    shape = _shape(parameters, sample_shape, is_tracked)
    if shape is None:
        return NotImplemented
    noise = _noise(key, sample_shape, shape)
    drawn = _of_noise(noise, parameters, None)
    if is_tracked:
        return cast(Any, gradients.Pathwise).apply(noise, *_with_bounds(parameters), drawn, 0)[0]
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
    """Draw values with their log-densities: both are functions of loc and scale, or the latter alone."""
    is_tracked = operands.are_tracked(*parameters)
    shape = _shape(parameters, sample_shape, is_tracked)
    dims = None if shape is None else _resolved(event_dims, default_event_dims, shape)
    if shape is None or dims is None:
        return NotImplemented
    noise = _noise(key, sample_shape, shape)
    drawn = _of_noise(noise, parameters, dims)
    if not is_tracked:
        return drawn.value, drawn.log_density
    if is_pathwise:
        return cast(Any, gradients.Pathwise).apply(noise, *_with_bounds(parameters), drawn, dims)
    return drawn.value, cast(Any, gradients.AtDraw).apply(noise, *parameters[:2], drawn, dims)


def _shape(parameters: tuple[Any, ...], sample_shape: tuple[int, ...], is_tracked: bool) -> torch.Size | None:
    """Return the shape of the parameters, None where no kernel draws from them."""
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


def _of_noise(noise: Tensor, parameters: tuple[Any, ...], event_dims: int | None) -> Drawn:
    """Return the values that noise makes, with their log-densities if `event_dims` says what an event is."""
    kernels, shape = extension.kernels, noise.shape
    low, high = parameters[2:] or (None, None)
    x, log_density, end = new(noise, shape), None, None
    if event_dims is not None:
        log_density = new(noise, shape[: noise.ndim - event_dims])
    if low is not None and (isinstance(low, Tensor) or isinstance(high, Tensor) or low != -high):
        end = new(noise, shape)
    at_noise, at_loc, at_scale, at_low, at_high = layouts(noise, *_with_bounds(parameters))
    are_mirrored = kernels.draws_of_noise(
        shape,
        event_dims or 0,
        at_noise,
        at_loc,
        at_scale,
        at_low,
        at_high,
        x.data_ptr(),
        address(end),
        address(log_density),
    )
    if low is None:
        return Drawn(x, log_density, None)
    value = torch.tanh(x)
    sigmoid = None if are_mirrored or end is None else torch.sigmoid(end)
    kernels.squash(shape, x.data_ptr(), address(sigmoid), at_low, at_high, value.data_ptr())
    return Drawn(value, log_density, x)


# ------------------------------------------------------------------------------------------------------------ density
def score(parameters: tuple[Any, ...], value: Any, event_dims: int | None, default_event_dims: int) -> Any:
    """Score values, which have all axes of the parameters and may have more, or are one number."""
    shape = operands.common_shape(*parameters)
    if shape is None:
        return NotImplemented
    whole = shape
    if isinstance(value, Tensor):
        if not operands.is_readable(value, torch.float32):
            return NotImplemented
        whole = value.shape if value.ndim else shape
    elif not operands.is_number(value) or not operands.has_tensor(*parameters):
        return NotImplemented
    if whole != shape and whole[len(whole) - len(shape) :] != shape:
        return NotImplemented
    dims = _resolved(event_dims, default_event_dims, shape)
    if dims is None or not operands.is_small(whole):
        return NotImplemented
    is_tracked = operands.are_tracked(value, *parameters)
    if is_tracked and not operands.can_be_saved(value, *parameters):
        return NotImplemented
    log_density = torch.empty(whole[: len(whole) - dims], dtype=torch.float32, device="cpu")
    given = _with_bounds(parameters)
    at_value, at_loc, at_scale, at_low, at_high = layouts(value, *given)
    extension.kernels.log_density_at(whole, dims, at_value, at_loc, at_scale, at_low, at_high, log_density.data_ptr())
    if is_tracked:
        return cast(Any, gradients.AtValue).apply(value, *given, (log_density,), dims, whole)
    return log_density


def _resolved(event_dims: int | None, default_event_dims: int, shape: torch.Size) -> int | None:
    """Return how many axes an event has, None if that is not possible."""
    if event_dims is None:
        event_dims = default_event_dims if shape else 0
    return event_dims if isinstance(event_dims, int) and 0 <= event_dims <= len(shape) else None
