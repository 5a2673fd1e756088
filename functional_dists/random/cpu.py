"""Words, uniforms and normals of keys in eager code on the CPU, where a tensor operation costs more than its numbers.

The functions of the extension make them in the time of a draw from a `torch.Generator`. Without the extension, NumPy
makes the same numbers: its operations on small batches take a third of the time of PyTorch's.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import functional_dists.random.extension as extension
from functional_dists.random.philox import LOW_32, ROUNDS, WORDS_PER_BLOCK, encrypt
from functional_dists.random.portable import uniforms_of_words

Array = npt.NDArray[Any]


def words(key: Tensor, num: int) -> Tensor:
    """The first ``num`` int32 words ``(*B, num)`` of keys ``(*B, 2)``."""
    if extension.kernels is not None:
        return _by_kernel(extension.kernels.philox_words, key, num, torch.int32)
    return torch.from_numpy(_word_array(key.numpy(), num))


def uniforms(key: Tensor, num: int, *, double: bool) -> Tensor:
    """The first ``num`` uniforms on [0, 1) ``(*B, num)`` of keys ``(*B, 2)``, in float64 or float32."""
    if extension.kernels is None:
        flat = words(key, 2 * num if double else num).flatten()  # operations on short rows take longer
        return uniforms_of_words(flat, double=double).reshape(*key.shape[:-1], num)
    if double:
        return _by_kernel(extension.kernels.philox_double_uniforms, key, num, torch.float64)
    return _by_kernel(extension.kernels.philox_uniforms, key, num, torch.float32)


def normals(key: Tensor, num: int, *, double: bool) -> Tensor:
    """The first ``num`` standard normals ``(*B, num)`` of keys ``(*B, 2)``, in float64 or float32."""
    if extension.kernels is not None and not double:
        return _by_kernel(extension.kernels.philox_normals, key, num, torch.float32)
    even = num + num % 2
    drawn = words(key, 2 * even if double else even).numpy().view(np.uint32)
    pairs = _box_muller(_double_uniforms(drawn) if double else _uniforms(drawn))
    return torch.from_numpy(np.ascontiguousarray(pairs[..., :num]))


def advance(key: Tensor, skip: Tensor) -> Tensor:
    """Keys ``(*B, 2)`` with ``skip`` ``(*B)`` blocks added to their offsets, mod 2^64."""
    advanced = key.numpy().copy()
    advanced[..., 1:] += skip.numpy().view(np.uint64)[..., None]
    return torch.from_numpy(advanced)


def _by_kernel(draw: Callable[[int, int, int, int], None], key: Tensor, num: int, dtype: torch.dtype) -> Tensor:
    numbers = torch.empty(*key.shape[:-1], num, dtype=dtype, device="cpu")
    if numbers.numel():
        key = key.contiguous()
        draw(key.data_ptr(), key.numel() // 2, num, numbers.data_ptr())
    return numbers


# --- By NumPy --------------------------------------------------------------------------------------------------------


def _word_array(key: Array, num: int) -> Array:
    seed, offset = (key[..., i : i + 1].view(np.int64) for i in range(2))
    blocks = -(-num // WORDS_PER_BLOCK)
    counter = offset + np.arange(blocks, dtype=np.int64)
    rounds = np.arange(ROUNDS, dtype=np.int64).reshape(ROUNDS, *[1] * seed.ndim)
    words = np.empty((*key.shape[:-1], blocks, WORDS_PER_BLOCK), dtype=np.int32)
    for i, word in enumerate(encrypt((*_halves(counter), 0, 0), _halves(seed), rounds)):
        words[..., i] = word
    return np.ascontiguousarray(words.reshape(*key.shape[:-1], blocks * WORDS_PER_BLOCK)[..., :num])


def _halves(number: Array) -> tuple[Array, Array]:
    """The low and the high 32 bits of int64 numbers."""
    return number & LOW_32, (number >> 32) & LOW_32


def _box_muller(uniforms: Array) -> Array:
    """Normals of uniforms ``(*B, 2 n)``, of which every two make two, in the same dtype.

    The angle is rounded to that dtype, and the functions are taken in float64, as the extension does.
    """
    radius = np.log(uniforms[..., 0::2], dtype=np.float64)
    radius *= -2.0
    np.sqrt(radius, out=radius)
    angle = (uniforms[..., 1::2] * uniforms.dtype.type(2 * math.pi)).astype(np.float64)
    angles = torch.from_numpy(angle)  # NumPy's cosine and sine in float64 take three times as long
    normals = np.empty_like(uniforms)
    np.multiply(radius, torch.cos(angles).numpy(), out=normals[..., 0::2], casting="same_kind")
    np.multiply(radius, torch.sin(angles).numpy(), out=normals[..., 1::2], casting="same_kind")
    return normals


def _uniforms(words: Array) -> Array:
    uniforms = words.astype(np.float32)
    uniforms *= np.float32(2.0**-32)
    uniforms += np.float32(2.0**-33)
    return uniforms


def _double_uniforms(words: Array) -> Array:
    high, low = words[..., 0::2].astype(np.float64), words[..., 1::2].astype(np.float64)
    high *= 2.0**-32
    low *= 2.0**-64
    low += 2.0**-65
    high += low
    return high
