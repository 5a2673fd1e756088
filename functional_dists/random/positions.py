"""Numbers by position: the numbers of a draw at given positions, without those before them.

Position ``i`` is the i-th number of a contiguous draw from the same key, in the same dtype. So a shard of a tensor
draws its own part of what one device would draw for the whole tensor.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from functional_dists.random import ops, portable, words
from functional_dists.random.keys import as_int64, checked_key, with_its_own
from functional_dists.random.philox import WORDS_PER_BLOCK
from functional_dists.random.reuse import consume, readable


def bits_at(key: Tensor, positions: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """Return the bits that `bits` draws at these positions.

    Args:
        key: a key ``(2,)``, or a batch of keys ``(*K, 2)``.
        positions: integers from 0 to 2^62, of any shape, which begins with ``K``: every key has its own positions. A
            tensor without axes is used for all keys.
        dtype: any integer dtype. Default: int32.

    Returns:
        Integers, of the shape of ``positions``.

    Raises:
        TypeError: if ``key`` is not a key, ``positions`` not an integer tensor, or ``dtype`` not an integer dtype.
        ValueError: if ``key`` has another shape, ``positions`` does not begin with ``K`` or, in eager code on a CPU, a
            position is negative.

    >>> from functional_dists import random
    >>> random.bits(random.key(42), 3)
    tensor([-1662324653,  2012563771,   314527917], dtype=torch.int32)
    >>> random.bits_at(random.key(42), torch.tensor([2, 0]))
    tensor([  314527917, -1662324653], dtype=torch.int32)
    """
    dtype = torch.int32 if dtype is None else dtype
    words.check_integer(dtype)
    found = _words_at(*_checked(key, positions), wide=dtype.itemsize == 8)
    return found.view(dtype) if dtype.itemsize >= 4 else found.to(dtype)


def uniform_at(key: Tensor, positions: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """Return the uniforms on [0, 1) that `uniform` draws at these positions.

    Args:
        key: a key ``(2,)``, or a batch of keys ``(*K, 2)``.
        positions: integers from 0 to 2^62, of any shape, which begins with ``K``, as in `bits_at`.
        dtype: float16, bfloat16, float32 or float64. Default: ``torch.get_default_dtype()``.

    Returns:
        Numbers, of the shape of ``positions``.

    Raises:
        TypeError: if ``key`` is not a key, ``positions`` not an integer tensor, or ``dtype`` none of these.
        ValueError: if ``key`` has another shape, ``positions`` does not begin with ``K`` or, in eager code on a CPU, a
            position is negative.

    >>> from functional_dists import random
    >>> random.uniform(random.key(42), 3), random.uniform_at(random.key(42), torch.tensor([2, 0]))
    (tensor([0.9177, 0.9581, 0.7473]), tensor([0.7473, 0.9177]))
    """
    dtype = words.float_dtype(dtype)
    return portable.uniform_of_word(_words_at(*_checked(key, positions), wide=dtype == torch.float64), dtype)


def normal_at(key: Tensor, positions: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """Return the standard normals that `normal` draws at these positions.

    Args:
        key: a key ``(2,)``, or a batch of keys ``(*K, 2)``.
        positions: integers from 0 to 2^62, of any shape, which begins with ``K``, as in `bits_at`.
        dtype: float16, bfloat16, float32 or float64. Default: ``torch.get_default_dtype()``.

    Returns:
        Numbers, of the shape of ``positions``.

    Raises:
        TypeError: if ``key`` is not a key, ``positions`` not an integer tensor, or ``dtype`` none of these.
        ValueError: if ``key`` has another shape, ``positions`` does not begin with ``K`` or, in eager code on a CPU, a
            position is negative.

    >>> from functional_dists import random
    >>> random.normal(random.key(42), 3), random.normal_at(random.key(42), torch.tensor([2, 0]))
    (tensor([-0.9702,  0.1940, -1.2356]), tensor([-1.2356, -0.9702]))
    """
    dtype = words.float_dtype(dtype)
    keys, positions = _checked(key, positions)
    double = dtype == torch.float64
    count = 2 if double else WORDS_PER_BLOCK
    block, place = _block_and_place(positions, count)
    return _picked(ops.normals_of_block(keys, block, double=double), place).to(dtype)


def _words_at(keys: Tensor, positions: Tensor, *, wide: bool) -> Tensor:
    """The words, int32 or, if ``wide``, int64, at positions ``(*B)``, to which keys ``(..., 2)`` broadcast."""
    if not wide:
        block, place = _block_and_place(positions, WORDS_PER_BLOCK)
        return _picked(ops.words_of_block(keys, block), place)
    block, place = _block_and_place(positions, WORDS_PER_BLOCK // 2)
    w0, w1, w2, w3 = ops.words_of_block(keys, block)
    return portable.pair_words(_picked((w0, w2), place), _picked((w1, w3), place))


def _block_and_place(positions: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The block of ``count`` numbers, a power of 2, that holds a position, and the place of the position in it."""
    return positions >> (count.bit_length() - 1), positions & (count - 1)


def _picked(numbers: Sequence[Tensor], place: Tensor) -> Tensor:
    """The number at a place in a block, for each block."""
    # In compiled code these comparisons fuse with the cipher; indexing would first write all numbers to memory.
    picked = numbers[0]
    for i, others in enumerate(numbers[1:], 1):
        picked = torch.where(place == i, others, picked)
    return picked


def _checked(key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Check the arguments and consume the positions; return keys and int64 positions that broadcast."""
    if isinstance(key, torch.Generator):
        raise TypeError(
            "a torch.Generator has no positions: make a key of it, key = random.key_from(generator), and pass the key"
        )
    checked_key(key)
    if not isinstance(positions, Tensor):
        raise TypeError(f"positions must be an integer tensor, got {positions!r} of type {type(positions).__name__}")
    keys, positions = with_its_own("positions", key, as_int64("positions", positions, key.device))
    values = readable(positions)
    if values is not None and values.is_cpu and bool((values < 0).any()):
        raise ValueError(f"positions must not be negative, got {int(values.min())}")
    consume(keys, positions, "position")
    return keys, positions
