"""Log-densities of values: of a normal, and of a normal that tanh squashed onto an interval.

Float32 is computed in float64, here and in the kernels, and rounded once: so the score of a stored action is the same,
to one unit in the last place, in eager code, compiled and under every transform.
"""

from typing import Any, cast

import torch
from torch import Tensor

from functional_dists.special import kernels
from functional_dists.special.constant import are_numbers, are_tracked, is_plain
from functional_dists.special.gaussian import log_image_density_at
from functional_dists.special.interval import pre_image

_NO_BOUNDS: kernels.Bounds = (None, None)


def log_normal_density_at(value: Tensor, loc: Tensor, scale: Tensor, event_dims: int) -> Tensor:
    """Return the log-density of Normal(loc, scale), summed over the event.

    An element's is -inf, with no gradient, where the value is too far from loc for a finite one; NaN of NaN.

    >>> log_normal_density_at(torch.tensor([0.0, 1e30]), torch.tensor(0.0), torch.tensor(1.0), 0)
    tensor([-0.9189,    -inf])
    """
    known = _by_kernel(value, loc, scale, _NO_BOUNDS, event_dims)
    return _of_normal(value, loc, scale, event_dims) if known is None else known


def _of_normal(value: Tensor, loc: Tensor, scale: Tensor, event_dims: int) -> Tensor:
    x, loc, scale = value.double(), loc.double(), scale.double()
    largest = torch.finfo(value.dtype).max
    return log_image_density_at(x, loc, scale, event_dims=event_dims, largest=largest).to(value.dtype)


def log_tanh_normal_density_at(
    value: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor, event_dims: int
) -> Tensor:
    """Return the log-density of squash(Normal(loc, scale), low, high), summed over the event.

    An element's is -inf, with no gradient, where the value does not lie between the bounds; NaN of NaN.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> log_tanh_normal_density_at(torch.tensor([0.0, 1.0]), zero, one, -one, one, 0)
    tensor([-0.9189,    -inf])
    """
    if are_numbers(low, high):
        known = _by_kernel(value, loc, scale, (low.item(), high.item()), event_dims)
        if known is not None:
            return known
    return _of_tanh_normal(value, loc, scale, low, high, event_dims)


def _of_tanh_normal(value: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor, event_dims: int) -> Tensor:
    if value.dtype == torch.float32:
        x, log_slope = _pre_image_in_double(value.double(), low.double(), high.double())
    else:
        x, log_slope = pre_image(value, low, high)
    loc, scale, largest = loc.double(), scale.double(), torch.finfo(value.dtype).max
    return log_image_density_at(x, loc, scale, log_slope, event_dims=event_dims, largest=largest).to(value.dtype)


def _pre_image_in_double(value: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `pre_image` does, by the plain formula: of float32 numbers it loses nothing that float32 could hold.

    >>> minus_one, one = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    >>> _pre_image_in_double(torch.tensor([0.5, 1.0], dtype=torch.float64), minus_one, one)[0]
    tensor([0.5493,    inf], dtype=torch.float64)
    """
    below, above, width = value - low, high - value, high - low
    is_outside = (below <= 0) | (above <= 0)  # False for NaN
    below, above = torch.where(is_outside, 1.0, below), torch.where(is_outside, 1.0, above)
    x = torch.where(is_outside, width.detach() * torch.inf, 0.5 * torch.log(below / above))  # NaN of a bound of NaN
    return x, torch.log(2 * below * above / width)


# ---------------------------------------------------------------------------------------------------------- by a kernel
def _by_kernel(value: Tensor, loc: Tensor, scale: Tensor, bounds: kernels.Bounds, event_dims: int) -> Tensor | None:
    """Return the log-density where a kernel serves, else None."""
    if value.dtype is not torch.float32 or not is_plain():
        return None
    shape = value.shape
    if loc.shape != shape or scale.shape != shape or not (loc.is_contiguous() and scale.is_contiguous()):
        if len(shape) < max(loc.ndim, scale.ndim):
            return None
        loc, scale = loc.expand(shape).contiguous(), scale.expand(shape).contiguous()
    value = value.contiguous()
    if kernels.serve(value, loc, scale):
        return kernels.log_density_at(value, loc, scale, bounds, event_dims)
    if are_tracked(value, loc, scale) and kernels.serve(value, loc, scale, for_autograd=True):
        return cast(Tensor, _Density.apply(value, loc, scale, bounds, event_dims))  # type: ignore[no-untyped-call]
    return None


class _Density(torch.autograd.Function):
    """Log-densities by a kernel, and by another one their derivatives by loc and scale."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, loc: Tensor, scale: Tensor, bounds: kernels.Bounds, event_dims: int) -> Tensor:
        ctx.save_for_backward(value, loc, scale)
        ctx.bounds, ctx.event_dims = bounds, event_dims
        return kernels.log_density_at(value, loc, scale, bounds, event_dims)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        value, loc, scale = ctx.saved_tensors
        is_asked_again = torch.is_grad_enabled()
        if not (is_asked_again or ctx.needs_input_grad[0]) and kernels.serve(slope := slope.contiguous()):
            return None, *kernels.log_density_slopes(value, loc, scale, ctx.bounds, slope), None, None
        with torch.enable_grad():
            # By themselves: the value may be a function of the parameters, as a draw is.
            value, loc, scale = (
                t.view_as(t) if is_asked_again else t.detach().requires_grad_(is_needed)
                for t, is_needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
            )
            if ctx.bounds is _NO_BOUNDS:
                density = _of_normal(value, loc, scale, ctx.event_dims)
            else:
                low, high = (torch.tensor(bound, dtype=value.dtype) for bound in ctx.bounds)
                density = _of_tanh_normal(value, loc, scale, low, high, ctx.event_dims)
        given = [t for t, is_needed in zip((value, loc, scale), ctx.needs_input_grad, strict=False) if is_needed]
        found = iter(torch.autograd.grad(density, given, slope, create_graph=is_asked_again))
        return *(next(found) if is_needed else None for is_needed in ctx.needs_input_grad[:3]), None, None
