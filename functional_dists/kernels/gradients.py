"""Gradients of results of kernels: by other kernels, or by formulas if the gradients must be differentiable too."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import functional_dists.random.extension as extension
from functional_dists.kernels.operands import address, is_readable, layout_of_events, layouts, new, summed_to
from functional_dists.special import softmax
from functional_dists.special.constant import is_plain
from functional_dists.special.density import log_normal_density_at, log_tanh_normal_density_at
from functional_dists.special.elementary import sech2
from functional_dists.special.gaussian import noise_of_constant_value
from functional_dists.special.vectorized import sum_event


def can_use_kernel(*grad_outputs: Tensor | None) -> bool:
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
        *operands, x = _saved(ctx)
        noise, loc, scale, _, _ = operands
        if can_use_kernel(grad_value, grad_density):
            grad_loc, grad_scale = _new_where(ctx.needs_input_grad[1:3], noise.shape, noise)
            noise_layout, *other_layouts = layouts(*operands, grad_value)
            kernels: Any = extension.kernels
            kernels.draw_slopes(
                noise.shape,
                noise_layout,
                address(x),
                *other_layouts,
                None if grad_density is None else layout_of_events(grad_density, ctx.event_dims),
                address(grad_loc),
                address(grad_scale),
            )
        else:
            grad_loc, grad_scale = _pathwise_gradients(operands, grad_value, grad_density, ctx.event_dims)
        return None, summed_to(loc, grad_loc), summed_to(scale, grad_scale), None, None, None, None


def _new_where(needed: Sequence[bool], shape: torch.Size, like: Tensor) -> list[Tensor | None]:
    """Return a new tensor for each gradient that is needed, None for the others."""
    return [new(like, shape) if is_needed else None for is_needed in needed]


def _pathwise_gradients(
    operands: list[Any], grad_value: Tensor | None, grad_density: Tensor | None, event_dims: int
) -> tuple[Tensor, Tensor]:
    """Return the gradients by loc and scale.

    With x = loc + scale noise, the value has the derivative of squash by x, and its log-density has 2 tanh(x).
    """
    noise, loc, scale, low, high = (
        operand.double() if isinstance(operand, Tensor) else operand for operand in operands
    )
    x = loc + scale * noise
    grad_x = torch.zeros_like(x) if grad_value is None else grad_value.double()
    if low is not None:
        grad_x = grad_x * (0.5 * (high - low) * sech2(x))
    grad_scale = torch.zeros_like(x)
    if grad_density is not None:
        grad_element = grad_density.double()[(..., *[None] * event_dims)]
        if low is not None:
            grad_x = grad_x + 2 * grad_element * torch.tanh(x)
        grad_scale = -grad_element / scale
    grad_scale = grad_x * noise + grad_scale
    return grad_x.expand(noise.shape).float(), grad_scale.expand(noise.shape).float()


class LogDensity(torch.autograd.Function):
    """Log-densities of given values or, as functions of loc and scale, of the draws that noise made."""

    @staticmethod
    def forward(ctx: Any, point: Any, loc: Any, scale: Any, low: Any, high: Any, computed: Any) -> Tensor:
        _save(ctx, point, loc, scale, low, high)
        log_density: Tensor
        log_density, ctx.is_noise, ctx.event_dims, ctx.shape = computed
        return log_density

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        operands = _saved(ctx)
        needed = ctx.needs_input_grad[:5]
        if can_use_kernel(grad_output) and (needed[1] or needed[2]) and not (needed[0] or needed[3] or needed[4]):
            grad_loc, grad_scale = _new_where(needed[1:3], ctx.shape, grad_output)
            point_layout, *parameter_layouts = layouts(*operands)
            kernels: Any = extension.kernels
            kernels.log_density_slopes(
                ctx.shape,
                point_layout,
                ctx.is_noise,
                *parameter_layouts,
                layout_of_events(grad_output, ctx.event_dims),
                address(grad_loc),
                address(grad_scale),
            )
            return None, summed_to(operands[1], grad_loc), summed_to(operands[2], grad_scale), None, None, None
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            # As separate inputs: the value may depend on the parameters, as a draw does.
            separate = [
                _separate(operand, is_needed, create_graph) for operand, is_needed in zip(operands, needed, strict=True)
            ]
            density = _log_density(separate, ctx.is_noise, ctx.event_dims)
        inputs = [operand for operand, is_needed in zip(separate, needed, strict=True) if is_needed]
        gradients = iter(torch.autograd.grad(density, inputs, grad_output, create_graph=create_graph))
        return *(next(gradients) if is_needed else None for is_needed in needed), None


def _log_density(operands: list[Any], is_noise: bool, event_dims: int) -> Tensor:
    """Return a function with the derivatives of the log-density."""
    point, loc, scale, low, high = operands
    if is_noise:
        loc, scale = loc.double(), scale.double()
        z = noise_of_constant_value(point, loc, scale)
        return sum_event(-0.5 * z * z - torch.log(scale), event_dims).float()
    if low is None:
        return log_normal_density_at(point, loc, scale, event_dims)
    return log_tanh_normal_density_at(point, loc, scale, low, high, event_dims)


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
        if can_use_kernel(grad_output) and (outcome is None or outcome.shape == ctx.shape[:-1]):
            grad_logits = new(logits, ctx.shape)
            logits_layout, mask_layout, grad_layout = layouts(logits, mask, grad_output)
            extension.kernels.category_slopes(
                ctx.shape, logits_layout, mask_layout, address(outcome), grad_layout, grad_logits.data_ptr()
            )
            return summed_to(logits, grad_logits), None, None, None, None
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            separate = logits.view_as(logits)
            score = softmax.entropy(separate, mask) if outcome is None else softmax.log_prob(separate, mask, outcome)
        return *torch.autograd.grad(score, separate, grad_output, create_graph=create_graph), None, None, None, None
