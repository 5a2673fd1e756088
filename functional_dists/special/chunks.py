"""Apply functions to large tables a chunk of rows at a time, in the memory of one chunk."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from functional_dists.special.axis import cut_of_rows
from functional_dists.special.constant import is_transformed

# Logits in a chunk: 1 MiB of float32, which stays in the cache. Larger chunks fragment the memory of the C library. On
# other devices than the CPU, kernel launches decide the cost of a chunk.
CHUNK, CHUNK_ELSEWHERE = 2**18, 2**22


def by_chunks(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Apply a function that works row by row to chunks of the rows of a table ``(*B, V)`` and tensors ``(*B, ...)``.

    The result is that of all rows at once. Only the tensors are saved for the backward pass, which computes each chunk
    again. Compiled code calls the function on whole tensors, since the compiler fuses it.

    >>> by_chunks(lambda table: table.logsumexp(-1), torch.zeros(2, 3))
    tensor([1.0986, 1.0986])
    """
    size = CHUNK if tensors[0].device.type == "cpu" else CHUNK_ELSEWHERE
    size //= sum(t.is_floating_point() for t in tensors)
    if torch.compiler.is_compiling() or tensors[0].numel() <= size or cut_of_rows():  # chunks would differ by process
        return function(*tensors)
    if _can_recompute(tensors):
        return cast(Tensor, _Recomputed.apply(function, size, *tensors))  # type: ignore[no-untyped-call]
    return _joined(function, size, tensors)


def by_rows(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Apply such a function without derivatives, also to parts of rows: it must not ask other processes.

    >>> by_rows(lambda table: table.logsumexp(-1), torch.zeros(2, 3))
    tensor([1.0986, 1.0986])
    """
    size = CHUNK if tensors[0].device.type == "cpu" else CHUNK_ELSEWHERE
    if torch.compiler.is_compiling() or tensors[0].numel() <= size:
        return function(*tensors)
    return _joined(function, size, tensors)


def _is_chunk(logits: Tensor, size: int) -> bool:
    return logits.numel() <= size or logits.shape[:-1].numel() == 1


def _cut(size: int, tensors: Sequence[Tensor]) -> tuple[Callable[..., Tensor], Iterable[tuple[Tensor, ...]]]:
    """Return the parts of the first axis, after the function that joins them."""
    row_size = tensors[0][0].numel()
    # Cut axis by axis: to flatten the leading axes of a slice such as logits[:, :-1] takes a copy.
    if row_size > size and tensors[0].ndim > 2:
        return torch.stack, zip(*(t.unbind() for t in tensors), strict=True)
    return torch.cat, zip(*(t.split(max(1, size // row_size)) for t in tensors), strict=True)


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
    """Say whether plain autograd computes the gradient; transforms and tracers need the function itself."""
    if is_transformed() or torch._C._is_tracing() or not torch.is_grad_enabled():
        return False
    return any(t.requires_grad for t in tensors)


class _Recomputed(torch.autograd.Function):
    """A function of chunks that saves only its arguments, and computes each chunk again in the backward pass.

    Each chunk writes its gradient into one tensor. The backward passes of `split` and `unbind` would hold the gradients
    of all chunks, and then copy them into a second tensor of that size.
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
        if torch.is_grad_enabled() or is_transformed() or is_batched:  # plain tensors cannot be filled in place
            with torch.enable_grad():
                result = _joined(ctx.function, ctx.size, tensors)
            needed_tensors = [t for t, is_needed in zip(tensors, needed, strict=True) if is_needed]
            gradients = list(torch.autograd.grad(result, needed_tensors, slope, create_graph=torch.is_grad_enabled()))
        else:
            gradients = [torch.empty_like(t) for t, is_needed in zip(tensors, needed, strict=True) if is_needed]
            for part in _chunks(ctx.size, [*tensors, slope, *gradients]):
                _write_gradients(ctx.function, part[: len(tensors)], needed, *part[len(tensors) :])
        remaining = iter(gradients)
        return None, None, *(next(remaining) if is_needed else None for is_needed in needed)


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
    """Write the needed gradients of a chunk into its rows of the whole gradients."""
    arguments = [t.detach().requires_grad_(is_needed) for t, is_needed in zip(tensors, needed, strict=True)]
    with torch.enable_grad():
        result = function(*arguments)
    gradients = torch.autograd.grad(result, [a for a in arguments if a.requires_grad], slope)
    for rows, gradient in zip(into, gradients, strict=True):
        rows.copy_(gradient)
