"""Windows: the part of a draw that one of several devices needs, bit for bit what one device would draw.

A window is a box in the shape of the whole draw. Its numbers lie in runs of neighbouring positions. A run begins in
some block of the cipher, so it is a draw from the key advanced by so many blocks, and all runs are a batch of keys.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from functional_dists.random.philox import LOW_32, WORDS_PER_BLOCK
from functional_dists.random.reuse import consume, unwatched

R = TypeVar("R")


class Window(NamedTuple):
    """A source of randomness for a part of an array of parameters.

    With a batch of keys ``(*K, 2)`` the array begins with ``K``, and each entry has its own key.
    """

    key: Tensor  # a key (2,), or the whole batch of keys (*K, 2)
    shape: tuple[int, ...]  # of the whole array
    starts: tuple[int, ...]  # of the part, in each axis
    sizes: tuple[int, ...]  # of the part

    def draw(self, draw: Callable[..., R], samples: Sequence[int], sizes: Sequence[int], options: dict[str, Any]) -> R:
        """Draw the numbers of a part ``(*samples, *sizes)``, which may lack the last axes of the array.

        >>> from functional_dists import random
        >>> window = Window(random.key(42), (4, 3), (1, 0), (2, 3))
        >>> bool((window.draw(random.normal, (), (2, 3), {}) == random.normal(random.key(42), (4, 3))[1:3]).all())
        True
        """
        num_axes = self.key.ndim - 1
        shape, starts = self.shape[: len(sizes)], self.starts[: len(sizes)]
        keys = self.key
        for axis in range(num_axes):
            keys = keys.narrow(axis, starts[axis], sizes[axis])
        whole = (*samples, *shape[num_axes:])
        firsts = (*[0] * len(samples), *starts[num_axes:])
        part = (*samples, *sizes[num_axes:])
        per_block = WORDS_PER_BLOCK // 2 if options.get("dtype") == torch.float64 else WORDS_PER_BLOCK
        consume(self.key)
        # Runs begin at keys of their own, several of which may lie in one block.
        with contextlib.nullcontext() if torch.compiler.is_compiling() else unwatched():
            numbers = _draw_box(lambda *given: draw(*given, **options), keys, whole, firsts, part, per_block)
        return cast(R, samples_first(numbers, num_axes, len(samples)))


def _draw_box(
    draw: Callable[..., Any],
    keys: Tensor,
    whole: Sequence[int],
    firsts: Sequence[int],
    part: Sequence[int],
    per_block: int,
) -> Any:
    """Draw the box of each key, ``(*K, *part)``."""
    lanes = tuple(keys.shape[:-1])
    if math.prod(part) == 0 or math.prod(lanes) == 0:
        return _each(lambda numbers: numbers.reshape((*lanes, *part)), draw(keys, (*lanes, 0)))
    run, outer, first = _runs(whole, firsts, part)
    beginnings = torch.zeros((1,), dtype=torch.int64, device=keys.device) + first
    for size, stride in outer:
        axis = torch.arange(size, device=keys.device) * stride
        beginnings = (beginnings[:, None] + axis).flatten()
    if all(stride % per_block == 0 for _, stride in outer):  # all runs begin at one place of a block
        place = first % per_block
        drawn = draw(_advanced(keys, beginnings // per_block), (*lanes, len(beginnings), place + run))
        return _each(lambda numbers: numbers[..., place:].reshape((*lanes, *part)), drawn)
    drawn = draw(_advanced(keys, beginnings // per_block), (*lanes, len(beginnings), run + per_block - 1))
    index = (beginnings % per_block)[:, None] + torch.arange(run, device=keys.device)
    index = index.expand(*lanes, *index.shape)
    return _each(lambda numbers: numbers.gather(-1, index).reshape((*lanes, *part)), drawn)


def _runs(whole: Sequence[int], firsts: Sequence[int], part: Sequence[int]) -> tuple[int, list[tuple[int, int]], int]:
    """Return the length of a run, the sizes and strides of the axes over which runs repeat, and the first position."""
    strides = [math.prod(whole[axis + 1 :]) for axis in range(len(whole))]
    first = sum(start * stride for start, stride in zip(firsts, strides, strict=True))
    axis = len(whole)
    while axis and part[axis - 1] == whole[axis - 1]:
        axis -= 1
    axis = max(axis - 1, 0)  # the last axis that is cut
    run = math.prod(part[axis:])
    return run, [(part[i], strides[i]) for i in range(axis)], first


def _advanced(keys: Tensor, blocks: Tensor) -> Tensor:
    """Return the keys ``(*K, R, 2)``: ``(*K, 2)`` advanced by numbers of blocks ``(R)``, mod 2^64."""
    numbers = keys.view(torch.int64).unsqueeze(-2)
    seed, offset = numbers[..., 0], numbers[..., 1]
    low = (offset & LOW_32) + (blocks & LOW_32)  # by halves, since a sum of signed integers must not overflow
    high = ((offset >> 32) & LOW_32) + (blocks >> 32) + (low >> 32)
    high = ((high & LOW_32) ^ 2**31) - 2**31  # signed
    return torch.stack([seed.expand(high.shape), high * 2**32 + (low & LOW_32)], -1).view(torch.uint64)


def _each(change: Callable[[Tensor], Tensor], numbers: Any) -> Any:
    return tuple(map(change, numbers)) if isinstance(numbers, tuple) else change(numbers)


def samples_first(numbers: Any, num_axes: int, num_samples: int) -> Any:
    """Return a draw, or each of a tuple, with the axes of samples in front of those of the keys.

    >>> samples_first(torch.zeros(2, 3, 4), 1, 1).shape
    torch.Size([3, 2, 4])
    """
    source = tuple(range(num_axes, num_axes + num_samples))
    # Contiguous, as a draw from one key is: kernels take no other noise.
    return _each(lambda part: part.movedim(source, tuple(range(num_samples))).contiguous(), numbers)
