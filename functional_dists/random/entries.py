"""Batches of keys: each key of a batch ``(*K, 2)`` makes the entry of the draw at its place.

``K`` are the leading axes of the draw. Each entry draws what it would draw alone from its key.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from functional_dists.random.keys import Source, checked_generator, checked_key
from functional_dists.random.reuse import consume
from functional_dists.random.windows import Window, samples_first

#: The shape of a draw: its length, or the sizes of its axes.
Shape = int | Sequence[int]
R = TypeVar("R")


def draw_entries(
    draw: Callable[..., R],
    key: Source,
    sample_shape: Shape,
    batch: Sequence[int],
    event: Sequence[int] = (),
    **options: Any,
) -> R:
    """Draw numbers of shape ``(*sample_shape, *batch, *event)``, contiguous, for a verb of a family.

    With a batch of keys ``(*K, 2)`` and a batch ``(*K, *R)`` each entry draws its ``(*sample_shape, *R, *event)`` from
    its own key, as ``torch.vmap`` over keys would.

    Args:
        draw: a function ``draw(key, shape, **options)`` that returns a tensor or a tuple of tensors.
        key: a key ``(2,)``, a batch of keys ``(*K, 2)`` or a Generator.
        sample_shape: the leading axes, of independent draws.
        batch: the shape of the batch of the parameters, which begins with ``K``.
        event: the shape of the draw for one element of the batch.
        options: of ``draw``.

    Returns:
        What ``draw`` returns.

    Raises:
        TypeError: if ``key`` is neither a key nor a Generator.
        ValueError: if ``key`` has another shape, or ``batch`` does not begin with ``K``.

    >>> from functional_dists import random
    >>> keys = random.split(random.key(42), 3)
    >>> noise = random.draw_entries(random.normal, keys, (5,), (3, 2))
    >>> noise.shape, bool((noise[:, 1] == random.normal(keys[1], (5, 2))).all())
    (torch.Size([5, 3, 2]), True)
    """
    samples = size_of(sample_shape)
    if isinstance(key, Window):
        checked_batch(key.key, key.shape[: len(batch)])
        return key.draw(draw, samples, (*batch, *event), options)
    if not isinstance(key, Tensor) or key.ndim == 1:
        return draw(key, (*samples, *batch, *event), **options)
    num_axes = len(checked_batch(key, batch))
    numbers: Any = draw(key, (*batch[:num_axes], *samples, *batch[num_axes:], *event), **options)
    return cast(R, samples_first(numbers, num_axes, len(samples)) if samples else numbers)


def consume_entries(key: Source, batch: Sequence[int]) -> None:
    """Check and consume keys as `draw_entries` does, for a verb that needs no numbers."""
    if isinstance(key, Tensor):
        checked_batch(key, batch)
        consume(key)
    elif isinstance(key, Window):
        checked_batch(key.key, key.shape[: len(batch)])
        consume(key.key)
    else:
        checked_generator(key)


def checked_batch(key: Tensor, batch: Sequence[int]) -> tuple[int, ...]:
    """Return the shape ``K`` of a batch of keys; an error if the batch of the parameters does not begin with it."""
    keys = checked_key(key).shape[:-1]
    if tuple(batch[: len(keys)]) != keys:
        raise ValueError(
            f"a batch of keys must fit the leading axes of the batch of the parameters: the keys have shape "
            f"{tuple(key.shape)}, and the batch is {tuple(batch)}; expand the parameters so that it begins with "
            f"{tuple(keys)}, or draw from one key with a sample_shape"
        )
    return keys


def size_of(shape: Shape | None, name: str = "shape") -> tuple[int, ...]:
    """Return a shape as a tuple; it is given as an integer, a sequence of integers, or None for no axes.

    >>> size_of(5), size_of([2, 3]), size_of(None)
    ((5,), (2, 3), ())
    """
    if type(shape) is tuple or shape is None:
        return shape or ()
    sizes: Any = shape if isinstance(shape, Sequence) else (shape,)
    try:
        size = tuple(n if isinstance(n, (int, torch.SymInt)) else operator.index(n) for n in sizes)
    except TypeError:
        raise TypeError(f"{name} must be an integer or a sequence of integers, got {shape!r}") from None
    for n in size:
        if n < 0:
            raise ValueError(f"{name} must hold no negative size, got {shape!r}")
    return cast(tuple[int, ...], size)


def begin_draw(key: Source, shape: Shape | None) -> tuple[tuple[int, ...], int]:
    """Check and consume the source of a draw. Return the shape of the draw and how many numbers each key makes."""
    if isinstance(key, Tensor):
        consume(checked_key(key))
        if key.ndim > 1:
            return _begin_entries(key, shape)
    size = size_of(shape)
    return size, math.prod(size)


def _begin_entries(key: Tensor, shape: Shape | None) -> tuple[tuple[int, ...], int]:
    keys = key.shape[:-1]
    size = tuple(keys) if shape is None else size_of(shape)
    if size[: len(keys)] != keys:
        raise ValueError(
            f"shape is that of the whole result, and must begin with {tuple(keys)} as the keys have shape "
            f"{tuple(key.shape)}, got {size}; shape={(*keys, *size)} draws {size} from each key"
        )
    return size, math.prod(size[len(keys) :])
