"""Gradients of what kernels compute: by other kernels, and where derivatives of these are asked for by formulas."""

from typing import Any

import torch
from torch import Tensor

import functional_dists.extension as extension
from functional_dists.kernels.operands import address, is_readable, layout_of_events, layouts, new, summed_to
from functional_dists.special import softmax
from functional_dists.special.constant import is_plain
from functional_dists.special.density import log_normal_density_at, log_tanh_normal_density_at
from functional_dists.special.elementary import sech2


def _are_final(*slopes: Tensor | None) -> bool:
    """Say whether a kernel may turn these derivatives into others, which are not to be differentiated again."""
    if torch.is_grad_enabled() or extension.kernels is None or not is_plain():  # lanes of `is_grads_batched=True`
        return False
    return all(slope is None or is_readable(slope, torch.float32) for slope in slopes)


def _save(ctx: Any, *operands: Any) -> None:
    """Save tensors as autograd wants it, and numbers beside them."""
    ctx.save_for_backward(*[operand if isinstance(operand, Tensor) else None for operand in operands])
    ctx.operands = [None if isinstance(operand, Tensor) else operand for operand in operands]


def _saved(ctx: Any) -> list[Any]:
    return [number if t is None else t for t, number in zip(ctx.saved_tensors, ctx.operands, strict=True)]


class Pathwise(torch.autograd.Function):
    """Values and their log-densities, if there are any, as functions of loc and scale; the noise is held fixed."""

    @staticmethod
    def forward(
        ctx: Any, noise: Tensor, loc: Any, scale: Any, low: Any, high: Any, drawn: Any, event_dims: int
    ) -> tuple[Tensor, Tensor | None]:
        _save(ctx, noise, loc, scale, low, high, drawn.x)
        ctx.event_dims = event_dims
        ctx.set_materialize_grads(False)
        return drawn.value, drawn.log_density

    @staticmethod
    def backward(ctx: Any, by_value: Tensor | None, by_density: Tensor | None) -> tuple[Tensor | None, ...]:
        noise, loc, scale, low, high, x = _saved(ctx)
        if _are_final(by_value, by_density):
            by_loc, by_scale = (new(noise, noise.shape) if needed else None for needed in ctx.needs_input_grad[1:3])
            at_noise, at_loc, at_scale, at_low, at_high, at_slope = layouts(noise, loc, scale, low, high, by_value)
            extension.kernels.draw_slopes(
                noise.shape,
                at_noise,
                address(x),
                at_loc,
                at_scale,
                at_low,
                at_high,
                at_slope,
                None if by_density is None else layout_of_events(by_density, ctx.event_dims),
                address(by_loc),
                address(by_scale),
            )
        else:
            by_loc, by_scale = _pathwise_slopes(noise, loc, scale, low, high, by_value, by_density, ctx.event_dims)
        return None, summed_to(loc, by_loc), summed_to(scale, by_scale), None, None, None, None


def _pathwise_slopes(
    noise: Tensor,
    loc: Any,
    scale: Any,
    low: Any,
    high: Any,
    by_value: Tensor | None,
    by_density: Tensor | None,
    event_dims: int,
) -> tuple[Tensor, Tensor]:
    """With x = loc + scale noise a value has the slope of squash by x, and its log-density 2 tanh(x)."""
    noise, loc, scale, low, high = (_wide(operand) for operand in (noise, loc, scale, low, high))
    x = loc + scale * noise
    by_x = torch.zeros_like(x) if by_value is None else by_value.double()
    if low is not None:
        by_x = by_x * (0.5 * (high - low) * sech2(x))
    by_scale = torch.zeros_like(x)
    if by_density is not None:
        slope = _of_elements(by_density, event_dims)
        if low is not None:
            by_x = by_x + 2 * slope * torch.tanh(x)
        by_scale = -slope / scale
    by_scale = by_x * noise + by_scale
    return by_x.expand(noise.shape).float(), by_scale.expand(noise.shape).float()


def _wide(operand: Any) -> Any:
    return operand.double() if isinstance(operand, Tensor) else operand


def _of_elements(by_density: Tensor, event_dims: int) -> Tensor:
    return by_density.double()[(..., *[None] * event_dims)]


class AtDraw(torch.autograd.Function):
    """Log-densities of values that noise made, as functions of loc and scale; the values are held fixed."""

    @staticmethod
    def forward(ctx: Any, noise: Tensor, loc: Any, scale: Any, drawn: Any, event_dims: int) -> Tensor:
        _save(ctx, noise, loc, scale)
        ctx.event_dims = event_dims
        log_density: Tensor = drawn.log_density
        return log_density

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        noise, loc, scale = _saved(ctx)
        if _are_final(slope):
            by_loc, by_scale = (new(noise, noise.shape) if needed else None for needed in ctx.needs_input_grad[1:3])
            at_noise, at_loc, at_scale = layouts(noise, loc, scale)
            extension.kernels.log_density_slopes(
                noise.shape,
                at_noise,
                True,
                at_loc,
                at_scale,
                None,
                None,
                layout_of_events(slope, ctx.event_dims),
                address(by_loc),
                address(by_scale),
            )
        else:
            by_loc, by_scale = _slopes_at_draw(noise, loc, scale, slope, ctx.event_dims)
        return None, summed_to(loc, by_loc), summed_to(scale, by_scale), None, None


def _slopes_at_draw(noise: Tensor, loc: Any, scale: Any, slope: Tensor, event_dims: int) -> tuple[Tensor, Tensor]:
    noise, loc, scale = (_wide(operand) for operand in (noise, loc, scale))
    slope = _of_elements(slope, event_dims)
    fixed_loc, fixed_scale = (t.detach() if isinstance(t, Tensor) else t for t in (loc, scale))
    z = (noise * fixed_scale + (fixed_loc - loc)) / scale
    by_loc, by_scale = slope * z / scale, slope * (z * z - 1) / scale
    return by_loc.expand(noise.shape).float(), by_scale.expand(noise.shape).float()


class AtValue(torch.autograd.Function):
    """Log-densities of values that are given."""

    @staticmethod
    def forward(
        ctx: Any, value: Any, loc: Any, scale: Any, low: Any, high: Any, scored: Any, event_dims: int, shape: torch.Size
    ) -> Tensor:
        _save(ctx, value, loc, scale, low, high)
        ctx.event_dims, ctx.shape = event_dims, shape
        log_density: Tensor = scored[0]
        return log_density

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        value, loc, scale, low, high = operands = _saved(ctx)
        needed = ctx.needs_input_grad[:5]
        if _are_final(slope) and needed[1:3] != (False, False) and not (needed[0] or needed[3] or needed[4]):
            by_loc, by_scale = (new(slope, ctx.shape) if is_needed else None for is_needed in needed[1:3])
            at_value, at_loc, at_scale, at_low, at_high = layouts(value, loc, scale, low, high)
            extension.kernels.log_density_slopes(
                ctx.shape,
                at_value,
                False,
                at_loc,
                at_scale,
                at_low,
                at_high,
                layout_of_events(slope, ctx.event_dims),
                address(by_loc),
                address(by_scale),
            )
            return None, summed_to(loc, by_loc), summed_to(scale, by_scale), None, None, None, None, None
        is_asked_again = torch.is_grad_enabled()
        with torch.enable_grad():
            # By themselves: the value may be a function of the parameters, as a draw is.
            value, loc, scale, low, high = alone = [
                _alone(operand, is_needed, is_asked_again) for operand, is_needed in zip(operands, needed, strict=True)
            ]
            if low is None:
                density = log_normal_density_at(value, loc, scale, ctx.event_dims)
            else:
                density = log_tanh_normal_density_at(value, loc, scale, low, high, ctx.event_dims)
        asked = [operand for operand, is_needed in zip(alone, needed, strict=True) if is_needed]
        found = iter(torch.autograd.grad(density, asked, slope, create_graph=is_asked_again))
        return *(next(found) if is_needed else None for is_needed in needed), None, None, None


def _alone(operand: Any, is_needed: bool, is_asked_again: bool) -> Any:
    if not isinstance(operand, Tensor):
        return None if operand is None else torch.tensor(operand, dtype=torch.float32, device="cpu")
    return operand.view_as(operand) if is_asked_again else operand.detach().requires_grad_(is_needed)


class OfRows(torch.autograd.Function):
    """Log-probabilities of outcomes, or without outcomes entropies, as functions of the logits."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, mask: Tensor | None, outcome: Tensor | None, known: Any, shape: torch.Size
    ) -> Tensor:
        ctx.save_for_backward(logits, mask, outcome)
        ctx.shape = shape
        of_rows: Tensor = known[0]
        return of_rows

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        logits, mask, outcome = ctx.saved_tensors
        if _are_final(slope) and (outcome is None or outcome.shape == ctx.shape[:-1]):
            by_logits = new(logits, ctx.shape)
            at_logits, at_mask, at_slope = layouts(logits, mask, slope)
            extension.kernels.category_slopes(
                ctx.shape,
                at_logits,
                at_mask,
                address(outcome),
                at_slope,
                by_logits.data_ptr(),
            )
            return summed_to(logits, by_logits), None, None, None, None
        is_asked_again = torch.is_grad_enabled()
        with torch.enable_grad():
            alone = logits.view_as(logits)
            of_rows = softmax.entropy(alone, mask) if outcome is None else softmax.log_prob(alone, mask, outcome)
        return *torch.autograd.grad(of_rows, alone, slope, create_graph=is_asked_again), None, None, None, None
