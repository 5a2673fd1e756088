"""Functions of tables as large as a vocabulary, a chunk of rows at a time, in the memory of one chunk."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from functional_dists.special.constant import is_transformed

# How many logits are worked on at once: 1 MiB in float32, which stays in the cache; larger chunks leave larger holes in
# the memory of the C library. Elsewhere than on the CPU the cost of a chunk is that of its launches.
CHUNK, CHUNK_ELSEWHERE = 2**18, 2**22


def by_chunks(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Apply a function that works row by row to chunks of the rows of a table ``(*B, V)`` and tensors ``(*B, ...)``.

    The result is that of all rows at once. The backward pass keeps the tensors alone, and computes each chunk again.
    `torch.compile` gets the function itself, which it fuses.

    >>> by_chunks(lambda table: table.logsumexp(-1), torch.zeros(2, 3))
    tensor([1.0986, 1.0986])
    """
    size = CHUNK if tensors[0].device.type == "cpu" else CHUNK_ELSEWHERE
    size //= sum(t.is_floating_point() for t in tensors)
    if torch.compiler.is_compiling() or tensors[0].numel() <= size:
        return function(*tensors)
    if _can_recompute(tensors):
        return cast(Tensor, _Recomputed.apply(function, size, *tensors))  # type: ignore[no-untyped-call]
    return _joined(function, size, tensors)


def _is_chunk(logits: Tensor, size: int) -> bool:
    return logits.numel() <= size or logits.shape[:-1].numel() == 1


def _cut(size: int, tensors: Sequence[Tensor]) -> tuple[Callable[..., Tensor], Iterable[tuple[Tensor, ...]]]:
    """Return how to join the parts into which the first axis is cut, and these parts."""
    of_one = tensors[0][0].numel()
    # Axis by axis, as the leading ones of a slice such as logits[:, :-1] do not flatten without a copy.
    if of_one > size and tensors[0].ndim > 2:
        return torch.stack, zip(*(t.unbind() for t in tensors), strict=True)
    return torch.cat, zip(*(t.split(max(1, size // of_one)) for t in tensors), strict=True)


def _joined(function: Callable[..., Tensor], size: int, tensors: Sequence[Tensor]) -> Tensor:
    if _is_chunk(tensors[0], size):
        return function(*tensors)
    join, parts = _cut(size, tensors)
    return join([_joined(function, size, part) for part in parts])


def _chunks(size: int, tensors: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
    """Yield views of the tensors, a chunk at a time."""
    if _is_chunk(tensors[0], size):
        yield tensors
        return
    for part in _cut(size, tensors)[1]:
        yield from _chunks(size, part)


def _can_recompute(tensors: Sequence[Tensor]) -> bool:
    """Say whether plain autograd will ask for the gradient: transforms and tracers pass through the function itself."""
    if is_transformed() or torch._C._is_tracing() or not torch.is_grad_enabled():
        return False
    return any(t.requires_grad for t in tensors)


class _Recomputed(torch.autograd.Function):
    """A function of chunks that keeps its arguments alone for the backward pass, and computes each chunk there again.

    The gradient is written chunk by chunk into one tensor. The derivatives of `split` and `unbind` would hold those of
    all chunks, and then put them together in a second tensor of that size.
    """

    @staticmethod
    def forward(function: Callable[..., Tensor], size: int, *tensors: Tensor) -> Tensor:
        return _joined(function, size, tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.function, ctx.size, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        tensors, needed = _saved(ctx), ctx.needs_input_grad[2:]
        is_batched = not torch._C._has_storage(slope)  # by `torch.autograd.grad(is_grads_batched=True)`
        if torch.is_grad_enabled() or is_transformed() or is_batched:  # what one table for each tensor does not hold
            with torch.enable_grad():
                result = _joined(ctx.function, ctx.size, tensors)
            wanted = [t for t, is_needed in zip(tensors, needed, strict=True) if is_needed]
            gradients = list(torch.autograd.grad(result, wanted, slope, create_graph=torch.is_grad_enabled()))
        else:
            gradients = [torch.empty_like(t) for t, is_needed in zip(tensors, needed, strict=True) if is_needed]
            for part in _chunks(ctx.size, [*tensors, slope, *gradients]):
                _write_gradients(ctx.function, part[: len(tensors)], needed, *part[len(tensors) :])
        each = iter(gradients)
        return None, None, *(next(each) if is_needed else None for is_needed in needed)


def _saved(ctx: Any) -> Sequence[Tensor]:
    try:
        return ctx.saved_tensors
    except RuntimeError as error:
        if "inplace" not in str(error):
            raise
        raise RuntimeError(
            "an argument was modified in place before the backward pass, which computes each chunk again"
        ) from error


def _write_gradients(
    function: Callable[..., Tensor], tensors: Sequence[Tensor], needed: Sequence[bool], slope: Tensor, *into: Tensor
) -> None:
    """Write the gradients of a chunk, by the arguments for which they are needed, into the rows of the whole."""
    arguments = [t.detach().requires_grad_(is_needed) for t, is_needed in zip(tensors, needed, strict=True)]
    with torch.enable_grad():
        result = function(*arguments)
    gradients = torch.autograd.grad(result, [a for a in arguments if a.requires_grad], slope)
    for rows, gradient in zip(into, gradients, strict=True):
        rows.copy_(gradient)
