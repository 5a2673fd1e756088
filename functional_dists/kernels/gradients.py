"""Gradients of results of kernels: by other kernels, or by formulas if the gradients must be differentiable too."""

from typing import Any

import torch
from torch import Tensor

import functional_dists.random.extension as extension
from functional_dists.kernels.operands import address, is_readable, layout_of_events, layouts, new, summed_to
from functional_dists.special import softmax
from functional_dists.special.constant import is_plain
from functional_dists.special.density import log_normal_density_at, log_tanh_normal_density_at
from functional_dists.special.elementary import sech2


def _can_use_kernel(*grad_outputs: Tensor | None) -> bool:
    """Say whether a kernel can compute the backward pass: the result is not differentiated, the inputs are readable."""
    if torch.is_grad_enabled() or extension.kernels is None or not is_plain():  # `is_grads_batched=True` uses vmap
        return False
    return all(grad is None or is_readable(grad, torch.float32) for grad in grad_outputs)


def _save(ctx: Any, *operands: Any) -> None:
    """Save tensors by `save_for_backward`, and other operands on `ctx`."""
    ctx.save_for_backward(*[operand if isinstance(operand, Tensor) else None for operand in operands])
    ctx.operands = [None if isinstance(operand, Tensor) else operand for operand in operands]


def _saved(ctx: Any) -> list[Any]:
    return [number if t is None else t for t, number in zip(ctx.saved_tensors, ctx.operands, strict=True)]


class PathwiseDraw(torch.autograd.Function):
    """Draws, and their log-densities or None, as functions of loc and scale; the noise is held fixed."""

    @staticmethod
    def forward(
        ctx: Any, noise: Tensor, loc: Any, scale: Any, low: Any, high: Any, drawn: Any, event_dims: int
    ) -> tuple[Tensor, Tensor | None]:
        _save(ctx, noise, loc, scale, low, high, drawn.x)
        ctx.event_dims = event_dims
        ctx.set_materialize_grads(False)
        return drawn.value, drawn.log_density

    @staticmethod
    def backward(ctx: Any, grad_value: Tensor | None, grad_density: Tensor | None) -> tuple[Tensor | None, ...]:
        noise, loc, scale, low, high, x = _saved(ctx)
        if _can_use_kernel(grad_value, grad_density):
            grad_loc, grad_scale = (new(noise, noise.shape) if needed else None for needed in ctx.needs_input_grad[1:3])
            noise_layout, loc_layout, scale_layout, low_layout, high_layout, grad_value_layout = layouts(
                noise, loc, scale, low, high, grad_value
            )
            extension.kernels.draw_slopes(
                noise.shape,
                noise_layout,
                address(x),
                loc_layout,
                scale_layout,
                low_layout,
                high_layout,
                grad_value_layout,
                None if grad_density is None else layout_of_events(grad_density, ctx.event_dims),
                address(grad_loc),
                address(grad_scale),
            )
        else:
            grad_loc, grad_scale = _pathwise_gradients(
                noise, loc, scale, low, high, grad_value, grad_density, ctx.event_dims
            )
        return None, summed_to(loc, grad_loc), summed_to(scale, grad_scale), None, None, None, None


def _pathwise_gradients(
    noise: Tensor,
    loc: Any,
    scale: Any,
    low: Any,
    high: Any,
    grad_value: Tensor | None,
    grad_density: Tensor | None,
    event_dims: int,
) -> tuple[Tensor, Tensor]:
    """Return the gradients by loc and scale.

    With x = loc + scale noise, the value has the derivative of squash by x, and its log-density has 2 tanh(x).
    """
    noise, loc, scale, low, high = (_in_double(operand) for operand in (noise, loc, scale, low, high))
    x = loc + scale * noise
    grad_x = torch.zeros_like(x) if grad_value is None else grad_value.double()
    if low is not None:
        grad_x = grad_x * (0.5 * (high - low) * sech2(x))
    grad_scale = torch.zeros_like(x)
    if grad_density is not None:
        grad_element = _expanded(grad_density, event_dims)
        if low is not None:
            grad_x = grad_x + 2 * grad_element * torch.tanh(x)
        grad_scale = -grad_element / scale
    grad_scale = grad_x * noise + grad_scale
    return grad_x.expand(noise.shape).float(), grad_scale.expand(noise.shape).float()


def _in_double(operand: Any) -> Any:
    return operand.double() if isinstance(operand, Tensor) else operand


def _expanded(grad_density: Tensor, event_dims: int) -> Tensor:
    return grad_density.double()[(..., *[None] * event_dims)]


class LogDensityOfDraw(torch.autograd.Function):
    """Log-densities of draws as functions of loc and scale; the draws are held fixed."""

    @staticmethod
    def forward(ctx: Any, noise: Tensor, loc: Any, scale: Any, drawn: Any, event_dims: int) -> Tensor:
        _save(ctx, noise, loc, scale)
        ctx.event_dims = event_dims
        log_density: Tensor = drawn.log_density
        return log_density

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        noise, loc, scale = _saved(ctx)
        if _can_use_kernel(grad_output):
            grad_loc, grad_scale = (new(noise, noise.shape) if needed else None for needed in ctx.needs_input_grad[1:3])
            noise_layout, loc_layout, scale_layout = layouts(noise, loc, scale)
            extension.kernels.log_density_slopes(
                noise.shape,
                noise_layout,
                True,
                loc_layout,
                scale_layout,
                None,
                None,
                layout_of_events(grad_output, ctx.event_dims),
                address(grad_loc),
                address(grad_scale),
            )
        else:
            grad_loc, grad_scale = _gradients_of_draw(noise, loc, scale, grad_output, ctx.event_dims)
        return None, summed_to(loc, grad_loc), summed_to(scale, grad_scale), None, None


def _gradients_of_draw(
    noise: Tensor, loc: Any, scale: Any, grad_output: Tensor, event_dims: int
) -> tuple[Tensor, Tensor]:
    noise, loc, scale = (_in_double(operand) for operand in (noise, loc, scale))
    grad_output = _expanded(grad_output, event_dims)
    fixed_loc, fixed_scale = (t.detach() if isinstance(t, Tensor) else t for t in (loc, scale))
    z = (noise * fixed_scale + (fixed_loc - loc)) / scale
    grad_loc, grad_scale = grad_output * z / scale, grad_output * (z * z - 1) / scale
    return grad_loc.expand(noise.shape).float(), grad_scale.expand(noise.shape).float()


class LogDensityOfValue(torch.autograd.Function):
    """Log-densities of given values."""

    @staticmethod
    def forward(
        ctx: Any,
        value: Any,
        loc: Any,
        scale: Any,
        low: Any,
        high: Any,
        computed: Any,
        event_dims: int,
        shape: torch.Size,
    ) -> Tensor:
        _save(ctx, value, loc, scale, low, high)
        ctx.event_dims, ctx.shape = event_dims, shape
        log_density: Tensor = computed[0]
        return log_density

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        value, loc, scale, low, high = operands = _saved(ctx)
        needed = ctx.needs_input_grad[:5]
        if _can_use_kernel(grad_output) and needed[1:3] != (False, False) and not (needed[0] or needed[3] or needed[4]):
            grad_loc, grad_scale = (new(grad_output, ctx.shape) if is_needed else None for is_needed in needed[1:3])
            value_layout, loc_layout, scale_layout, low_layout, high_layout = layouts(value, loc, scale, low, high)
            extension.kernels.log_density_slopes(
                ctx.shape,
                value_layout,
                False,
                loc_layout,
                scale_layout,
                low_layout,
                high_layout,
                layout_of_events(grad_output, ctx.event_dims),
                address(grad_loc),
                address(grad_scale),
            )
            return None, summed_to(loc, grad_loc), summed_to(scale, grad_scale), None, None, None, None, None
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            # As separate inputs: the value may depend on the parameters, as a draw does.
            value, loc, scale, low, high = separate = [
                _separate(operand, is_needed, create_graph) for operand, is_needed in zip(operands, needed, strict=True)
            ]
            if low is None:
                density = log_normal_density_at(value, loc, scale, ctx.event_dims)
            else:
                density = log_tanh_normal_density_at(value, loc, scale, low, high, ctx.event_dims)
        inputs = [operand for operand, is_needed in zip(separate, needed, strict=True) if is_needed]
        gradients = iter(torch.autograd.grad(density, inputs, grad_output, create_graph=create_graph))
        return *(next(gradients) if is_needed else None for is_needed in needed), None, None, None


def _separate(operand: Any, is_needed: bool, create_graph: bool) -> Any:
    if not isinstance(operand, Tensor):
        return None if operand is None else torch.tensor(operand, dtype=torch.float32, device="cpu")
    return operand.view_as(operand) if create_graph else operand.detach().requires_grad_(is_needed)


class CategoricalScore(torch.autograd.Function):
    """Log-probabilities of outcomes, or entropies if there are no outcomes, as functions of the logits."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, mask: Tensor | None, outcome: Tensor | None, computed: Any, shape: torch.Size
    ) -> Tensor:
        ctx.save_for_backward(logits, mask, outcome)
        ctx.shape = shape
        score: Tensor = computed[0]
        return score

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        logits, mask, outcome = ctx.saved_tensors
        if _can_use_kernel(grad_output) and (outcome is None or outcome.shape == ctx.shape[:-1]):
            grad_logits = new(logits, ctx.shape)
            logits_layout, mask_layout, grad_output_layout = layouts(logits, mask, grad_output)
            extension.kernels.category_slopes(
                ctx.shape,
                logits_layout,
                mask_layout,
                address(outcome),
                grad_output_layout,
                grad_logits.data_ptr(),
            )
            return summed_to(logits, grad_logits), None, None, None, None
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            separate = logits.view_as(logits)
            score = softmax.entropy(separate, mask) if outcome is None else softmax.log_prob(separate, mask, outcome)
        return *torch.autograd.grad(score, separate, grad_output, create_graph=create_graph), None, None, None, None
