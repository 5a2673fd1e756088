"""Draws: random numbers as pure functions of a key.

Every draw takes ``(key, shape, ..., *, dtype, device)``. ``key`` is one of these:

- a key ``(2,)``;
- a batch of keys ``(*K, 2)``: each of them draws its part of the result, as it would alone;
- a ``torch.Generator``, which advances.

``shape`` is the shape of the whole result, an integer or a sequence of integers, and begins with ``K``. The default
device is that of the key. A draw has no gradient.

The first numbers drawn from a key depend neither on how many are drawn nor on the shape. They are the same in eager
code, under ``torch.vmap`` and under ``torch.compile``: bits, uniforms and integers are equal, and normals, exponentials
and Gumbels agree to a few units in the last place.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from functional_dists.random import ops, portable, words
from functional_dists.random.entries import Shape, begin_draw, size_of
from functional_dists.random.keys import Device, Source, checked_generator, on_device


def bits(key: Source, shape: Shape | None = None, *, dtype: torch.dtype = torch.int32, device: Device = None) -> Tensor:
    """Draw random bits: integers uniform over the whole range of the dtype.

    Args:
        key: a key ``(2,)``, a batch of keys ``(*K, 2)`` or a Generator.
        shape: of the result, which begins with ``K``. Default: ``K``, which is () for one key.
        dtype: any integer dtype. Narrow integers take the low bits of one 32-bit word each. 64-bit integers take two
            words, the high word first.
        device: of the result. Default: that of the key.

    Returns:
        Integers, of shape ``shape``.

    Raises:
        TypeError: if ``key`` is neither a key nor a Generator, or ``dtype`` is not an integer dtype.
        ValueError: if ``key`` has another shape, or ``shape`` does not begin with ``K``.

    >>> from functional_dists import random
    >>> random.bits(random.key(42), 3)
    tensor([-1662324653,  2012563771,   314527917], dtype=torch.int32)
    """
    words.check_integer(dtype)
    drawn = words.draw_words(key, shape, device, wide=dtype.itemsize == 8)
    return drawn.view(dtype) if dtype.itemsize >= 4 else drawn.to(dtype)


def uniform(
    key: Source, shape: Shape | None = None, *, dtype: torch.dtype | None = None, device: Device = None
) -> Tensor:
    """Draw from the uniform distribution on [0, 1).

    Args:
        key: a key ``(2,)``, a batch of keys ``(*K, 2)`` or a Generator.
        shape: of the result, which begins with ``K``. Default: ``K``, which is () for one key.
        dtype: float16, bfloat16, float32 or float64. Default: ``torch.get_default_dtype()``.
        device: of the result. Default: that of the key.

    Returns:
        Numbers of shape ``shape``, multiples of 2^-11, 2^-8, 2^-24 or 2^-53 by dtype: 0 occurs, 1 does not.

    Raises:
        TypeError: if ``key`` is neither a key nor a Generator, or ``dtype`` is none of these.
        ValueError: if ``key`` has another shape, or ``shape`` does not begin with ``K``.

    >>> from functional_dists import random
    >>> random.uniform(random.key(42), (2, 2))
    tensor([[0.9177, 0.9581],
            [0.7473, 0.2606]])
    """
    if not isinstance(key, Tensor):
        key = checked_generator(key)
        return torch.rand(size_of(shape), generator=key, dtype=dtype, device=key.device if device is None else device)
    dtype = words.float_dtype(dtype)
    if dtype in (torch.float32, torch.float64) and not words.is_traced(key):
        return _drawn(ops.uniforms, key, shape, dtype, device)
    return words.map_words(
        lambda word: portable.uniform_of_word(word, dtype), key, shape, device, wide=dtype == torch.float64
    )


def normal(
    key: Source, shape: Shape | None = None, *, dtype: torch.dtype | None = None, device: Device = None
) -> Tensor:
    """Draw from the standard normal distribution, by the method of Box and Muller.

    Args:
        key: a key ``(2,)``, a batch of keys ``(*K, 2)`` or a Generator.
        shape: of the result, which begins with ``K``. Default: ``K``, which is () for one key.
        dtype: float16, bfloat16, float32 or float64. Default: ``torch.get_default_dtype()``.
        device: of the result. Default: that of the key.

    Returns:
        Numbers of shape ``shape``, of magnitude at most 6.8 (9.5 in float64). In half precision they are float32
        numbers, rounded.

    Raises:
        TypeError: if ``key`` is neither a key nor a Generator, or ``dtype`` is none of these.
        ValueError: if ``key`` has another shape, or ``shape`` does not begin with ``K``.

    >>> from functional_dists import random
    >>> random.normal(random.key(42), (2, 2))
    tensor([[-0.9702,  0.1940],
            [-1.2356,  1.9239]])
    """
    if not isinstance(key, Tensor):
        key = checked_generator(key)
        size = size_of(shape) or ((),)  # PyTorch parses one argument an axis faster than one tuple
        return torch.randn(*size, generator=key, dtype=dtype, device=key.device if device is None else device)
    return _drawn(ops.normals, key, shape, words.float_dtype(dtype), device)


def _drawn(draw: Callable[..., Tensor], key: Tensor, shape: Shape | None, dtype: torch.dtype, device: Device) -> Tensor:
    """Draw by an operation of `ops`; half-precision numbers are float32 numbers, rounded."""
    size, num = begin_draw(key, shape)
    numbers = draw(on_device(key, device), num, double=dtype == torch.float64)
    if len(size) != numbers.ndim:
        numbers = numbers.reshape(size)
    return numbers if dtype == numbers.dtype else numbers.to(dtype)


def uniform_and_rest(
    key: Source, shape: Shape | None = None, *, dtype: torch.dtype | None = None, device: Device = None
) -> tuple[Tensor, Tensor]:
    """Draw u from the uniform distribution on (0, 1), and 1 - u, each with all its digits near 0.

    A random word of 32 bits (64 for float64) stands for a cell of width 2^-32 (2^-64) of (0, 1), and u is its middle.

    Args:
        key: a key ``(2,)``, a batch of keys ``(*K, 2)`` or a Generator.
        shape: of the results, which begins with ``K``. Default: ``K``, which is () for one key.
        dtype: the dtype that needs the digits. Default: ``torch.get_default_dtype()``.
        device: of the results. Default: that of the key.

    Returns:
        u and 1 - u, of shape ``shape``. Both are float64 for every ``dtype``, since float64 holds a word of 32 bits
        exactly. Neither is ever 0. Neither is ever 1, except for ``dtype=torch.float64``.

    Raises:
        TypeError: if ``key`` is neither a key nor a Generator, or ``dtype`` is none of the floating dtypes.
        ValueError: if ``key`` has another shape, or ``shape`` does not begin with ``K``.

    >>> from functional_dists import random
    >>> random.uniform_and_rest(random.key(42))
    (tensor(0.6130, dtype=torch.float64), tensor(0.3870, dtype=torch.float64))
    """
    if words.float_dtype(dtype) != torch.float64:
        centred = words.map_words(words.centred_uniform, key, shape, device, wide=False)
        return 0.5 + centred, 0.5 - centred
    drawn = words.draw_words(key, shape, device, wide=True)
    distance, is_lower = words.distance_to_nearer_end(drawn), drawn >= 0
    return torch.where(is_lower, distance, 1 - distance), torch.where(is_lower, 1 - distance, distance)


def exponential(
    key: Source, shape: Shape | None = None, *, dtype: torch.dtype | None = None, device: Device = None
) -> Tensor:
    """Draw from the exponential distribution with mean 1, keeping both tails.

    The draw is -log(1 - u) with u = (w + 1/2) 2^-32 and w a random word of 32 bits (64 in float64). For w in the upper
    half, 1 - u is computed from the complement of w in integers. So no digit is lost in either tail, and every draw is
    finite and positive; ``-log(uniform)`` is infinite once in 2^24 draws.

    Args:
        key: a key ``(2,)``, a batch of keys ``(*K, 2)`` or a Generator.
        shape: of the result, which begins with ``K``. Default: ``K``, which is () for one key.
        dtype: float16, bfloat16, float32 or float64. Default: ``torch.get_default_dtype()``.
        device: of the result. Default: that of the key.

    Returns:
        Numbers of shape ``shape``, between 2^-33 and 22.9 (2^-65 and 45.1 in float64). In half precision they are
        float32 numbers, rounded.

    Raises:
        TypeError: if ``key`` is neither a key nor a Generator, or ``dtype`` is none of these.
        ValueError: if ``key`` has another shape, or ``shape`` does not begin with ``K``.

    >>> from functional_dists import random
    >>> random.exponential(random.key(42), 3)
    tensor([0.9492, 0.6322, 0.0761])
    """
    dtype = words.float_dtype(dtype)
    return words.map_words(words.exponential_of, key, shape, device, wide=dtype == torch.float64).to(dtype)


def gumbel(
    key: Source, shape: Shape | None = None, *, dtype: torch.dtype | None = None, device: Device = None
) -> Tensor:
    """Draw from the standard Gumbel distribution: minus the logarithm of an exponential draw.

    Args:
        key: a key ``(2,)``, a batch of keys ``(*K, 2)`` or a Generator.
        shape: of the result, which begins with ``K``. Default: ``K``, which is () for one key.
        dtype: float16, bfloat16, float32 or float64. Default: ``torch.get_default_dtype()``.
        device: of the result. Default: that of the key.

    Returns:
        Numbers of shape ``shape``, between -3.2 and 22.9 (-3.9 and 45.1 in float64). In half precision they are float32
        numbers, rounded.

    Raises:
        TypeError: if ``key`` is neither a key nor a Generator, or ``dtype`` is none of these.
        ValueError: if ``key`` has another shape, or ``shape`` does not begin with ``K``.

    >>> from functional_dists import random
    >>> random.gumbel(random.key(42), 3)
    tensor([0.0521, 0.4585, 2.5763])
    """
    dtype = words.float_dtype(dtype)
    return words.map_words(words.gumbel_of, key, shape, device, wide=dtype == torch.float64).to(dtype)


def bernoulli(
    key: Source, shape: Shape | None, p: Tensor | float, *, dtype: torch.dtype = torch.bool, device: Device = None
) -> Tensor:
    """Draw true with probability ``p``.

    A uniform draw of 53 bits is compared with ``p``: the probability is right to 2^-53, and exact at 0 and at 1.

    Args:
        key: a key ``(2,)``, a batch of keys ``(*K, 2)`` or a Generator.
        shape: of the result, which begins with ``K``; None stands for ``K``.
        p: probabilities, which broadcast to ``shape``.
        dtype: of the result. A dtype other than bool holds 0 and 1.
        device: of the result. Default: that of the key.

    Returns:
        Truth values, of shape ``shape``.

    Raises:
        TypeError: if ``key`` is neither a key nor a Generator.
        ValueError: if ``key`` has another shape, ``shape`` does not begin with ``K``, or ``p`` does not broadcast to
            ``shape``.

    >>> from functional_dists import random
    >>> random.bernoulli(random.key(42), 4, 0.4)
    tensor([ True, False, False, False])
    """
    draw = uniform(key, shape, dtype=torch.float64, device=device)
    return (draw < _expanded("p", p, draw)).to(dtype)


def randint(
    key: Source,
    shape: Shape | None,
    low: Tensor | int,
    high: Tensor | int,
    *,
    dtype: torch.dtype = torch.int64,
    device: Device = None,
) -> Tensor:
    """Draw integers uniform over ``low, ..., high - 1``.

    The draw is ``low`` plus a 64-bit word modulo ``high - low``, as in PyTorch's keyed 64-bit integers. The relative
    error of the probabilities is at most (high - low) 2^-64, which is 1e-10 for a range of 2^31.

    Args:
        key: a key ``(2,)``, a batch of keys ``(*K, 2)`` or a Generator.
        shape: of the result, which begins with ``K``; None stands for ``K``.
        low: the lowest value, an integer or an integer tensor that broadcasts to ``shape``.
        high: one more than the highest value, likewise, below 2^63. ``high - low`` is between 1 and 2^62.
        dtype: an integer dtype that holds all values.
        device: of the result. Default: that of the key.

    Returns:
        Integers, of shape ``shape``.

    Raises:
        TypeError: if ``key`` is neither a key nor a Generator, or ``dtype`` or a bound is not integer.
        ValueError: if ``key`` has another shape, ``shape`` does not begin with ``K``, a bound does not broadcast to
            ``shape``, or Python integers violate these limits.

    >>> from functional_dists import random
    >>> random.randint(random.key(42), 4, -3, 3)
    tensor([ 0, -2,  0, -2])
    """
    words.check_integer(dtype)
    for name, bound in (("low", low), ("high", high)):
        if isinstance(bound, float) or (isinstance(bound, Tensor) and bound.dtype not in words.INTEGERS):
            raise TypeError(f"{name} must be an integer or an integer tensor, got {bound!r}")
    if not isinstance(low, Tensor) and not isinstance(high, Tensor):
        if not 0 < high - low <= 2**62:
            raise ValueError(f"high - low must lie in [1, 2^62], got low={low} and high={high}")
        if low < -(2**63) or high >= 2**63:
            raise ValueError(f"low and high must lie in [-2^63, 2^63), got low={low} and high={high}")
    drawn = words.draw_words(key, shape, device, wide=True)
    low, high = _expanded("low", low, drawn), _expanded("high", high, drawn)
    width = high - low
    # The word is unsigned, and int64 is not: take the remainder without the last bit first, then with it.
    remainder = torch.remainder((drawn >> 1) & (2**63 - 1), width)
    remainder = torch.remainder(2 * remainder + (drawn & 1), width)
    return (low + remainder).to(dtype)


def permutation(key: Source, shape: Shape, *, dtype: torch.dtype = torch.int64, device: Device = None) -> Tensor:
    """Draw uniform random permutations of 0, ..., n - 1: the order that sorts n random 64-bit words.

    Only equal words make some permutations more probable: in fewer than n^2 of 2^65 draws two words are equal.

    Args:
        key: a key ``(2,)``, a batch of keys ``(*K, 2)`` or a Generator.
        shape: ``n`` for one permutation, or ``(*B, n)`` for independent ones along the last axis; with a batch of keys
            ``(*K, *B, n)``.
        dtype: of the result.
        device: of the result. Default: that of the key.

    Returns:
        Integers, of shape ``shape``. ``x[permutation(key, len(x))]`` shuffles ``x``.

    Raises:
        TypeError: if ``key`` is neither a key nor a Generator.
        ValueError: if ``key`` has another shape, or ``shape`` is ``K`` or does not begin with it.

    >>> from functional_dists import random
    >>> random.permutation(random.key(42), 5)
    tensor([3, 0, 4, 2, 1])
    """
    drawn = words.draw_words(key, shape, device, wide=True)
    if drawn.ndim < (key.ndim if isinstance(key, Tensor) else 1):
        raise ValueError(
            "shape must have at least one axis, along which numbers are permuted, behind those of the batch of keys, "
            f"got {tuple(drawn.shape)}"
        )
    return torch.argsort(drawn, dim=-1, stable=True).to(dtype)


# --- Arguments -------------------------------------------------------------------------------------------------------


def _expanded(name: str, value: Tensor | float, like: Tensor) -> Tensor:
    """The value in the dtype and on the device of ``like``; an error if it does not broadcast to the shape of that."""
    if not isinstance(value, Tensor):
        # In compiled code torch.full keeps the number symbolic; torch.as_tensor would make it a constant of the code.
        return torch.full((), value, dtype=like.dtype, device=like.device)
    if value.dim() > like.dim() or any(
        n not in (1, m) for n, m in zip(reversed(value.shape), reversed(like.shape), strict=False)
    ):
        raise ValueError(f"{name} must broadcast to shape {tuple(like.shape)}, got shape {tuple(value.shape)}")
    return value.to(like.dtype)
