"""Words and normals of keys in eager code on the CPU, where a tensor operation costs more than the numbers it makes.

A compiled function makes them in the time of a draw from a `torch.Generator`; where there is none, NumPy does, in ten
times that. The numbers are the same.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from functional_dists import extension
from functional_dists.random.philox import LOW_32, WORDS_PER_BLOCK, Words, encrypt_arrays
from functional_dists.random.portable import uniforms_of_words

Floats = npt.NDArray[Any]
_WORD, _LOW_WORD = np.array(32, dtype=np.uint64), np.array(LOW_32, dtype=np.uint64)


def words(key: Tensor, num: int) -> Tensor:
    """The first ``num`` int32 words ``(*B, num)`` of keys ``(*B, 2)``."""
    if extension.kernels is not None:
        return _by_kernel(extension.kernels.philox_words, key, num, torch.int32)
    return torch.from_numpy(_word_array(key, num).view(np.int32))


def uniforms(key: Tensor, num: int, *, double: bool) -> Tensor:
    """The first ``num`` uniforms ``(*B, num)`` of keys ``(*B, 2)``, in float64 or float32."""
    if extension.kernels is None:
        in_turn = words(key, 2 * num if double else num).flatten()  # short rows would take operations longer
        return uniforms_of_words(in_turn, double=double).reshape(*key.shape[:-1], num)
    if double:
        return _by_kernel(extension.kernels.philox_double_uniforms, key, num, torch.float64)
    return _by_kernel(extension.kernels.philox_uniforms, key, num, torch.float32)


def normals(key: Tensor, num: int, *, double: bool) -> Tensor:
    """The first ``num`` standard normals ``(*B, num)`` of keys ``(*B, 2)``, in float64 or float32."""
    if double:
        return torch.from_numpy(_double_normals(words(key, 2 * (num + num % 2)).numpy().view(np.uint32), num))
    if extension.kernels is not None:
        return _by_kernel(extension.kernels.philox_normals, key, num, torch.float32)
    return torch.from_numpy(_normal_array(key.numpy(), num))


def _by_kernel(draw: Callable[[int, int, int, int], None], key: Tensor, num: int, dtype: torch.dtype) -> Tensor:
    numbers = torch.empty(*key.shape[:-1], num, dtype=dtype, device="cpu")
    if numbers.numel():
        key = key.contiguous()
        draw(key.data_ptr(), key.numel() // 2, num, numbers.data_ptr())
    return numbers


def advance(key: Tensor, skip: Tensor) -> Tensor:
    """Keys ``(*B, 2)`` whose offsets lie ``skip`` ``(*B)`` blocks further on, mod 2^64."""
    advanced = key.numpy().copy()
    advanced[..., 1:] += skip.numpy().view(np.uint64)[..., None]
    return torch.from_numpy(advanced)


# --- Words -----------------------------------------------------------------------------------------------------------


def _encrypted(key: Words, blocks: int) -> Words:
    """The first blocks of keys ``(*B, 2)`` as `encrypt_arrays` packs them, ``(2, *B, blocks)``."""
    seed, offset = key[..., :1], key[..., 1:]
    packed = np.zeros((2, *key.shape[:-1], blocks), dtype=np.uint64)
    counter = np.add(offset, np.arange(blocks, dtype=np.uint64), out=packed[1])
    np.left_shift(counter, _WORD, out=packed[0])
    packed[0] |= counter >> _WORD
    counter[...] = 0
    cipher_key = np.empty((2, *seed.shape), dtype=np.uint64)
    np.bitwise_and(seed, _LOW_WORD, out=cipher_key[0])
    np.right_shift(seed, _WORD, out=cipher_key[1])
    return encrypt_arrays(packed, cipher_key)


def _word_array(key: Tensor, num: int) -> npt.NDArray[np.uint32]:
    blocks = -(-num // WORDS_PER_BLOCK)
    words = np.empty((*key.shape[:-1], blocks, 2, 2), dtype=np.uint32)
    halves = _encrypted(key.numpy(), blocks).view(np.uint32)
    for i in range(2):  # memory has the low word of a half before the high one, which is the first
        words[..., i, 0], words[..., i, 1] = halves[i, ..., 1::2], halves[i, ..., 0::2]
    return np.ascontiguousarray(words.reshape(*key.shape[:-1], blocks * WORDS_PER_BLOCK)[..., :num])


# --- Normals ---------------------------------------------------------------------------------------------------------

# Float32 normals are what follows from uniforms and angles rounded to float32, as every implementation rounds them. The
# functions of those are taken in float64, so that it makes no difference by which of the two ways a number was made.


def _normal_array(key: Words, num: int) -> npt.NDArray[np.float32]:
    blocks = -(-num // WORDS_PER_BLOCK)
    halves = _uniforms(_encrypted(key, blocks).view(np.uint32))
    normals = np.empty((*key.shape[:-1], blocks, 2, 2), dtype=np.float32)
    # Memory has the low word of a half before the high one, which is the first.
    for i, part in enumerate(_box_muller(halves[..., 1::2], halves[..., 0::2])):
        rounded = part.astype(np.float32)
        normals[..., 0, i], normals[..., 1, i] = rounded
    return np.ascontiguousarray(normals.reshape(*key.shape[:-1], blocks * WORDS_PER_BLOCK)[..., :num])


def _double_normals(words: npt.NDArray[np.uint32], num: int) -> npt.NDArray[np.float64]:
    uniforms = _double_uniforms(words)
    normals = np.empty_like(uniforms)
    normals[..., 0::2], normals[..., 1::2] = _box_muller(uniforms[..., 0::2], uniforms[..., 1::2])
    return np.ascontiguousarray(normals[..., :num])


def _box_muller(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Two normals of every pair of uniforms, in float64."""
    angle = (second * second.dtype.type(2 * math.pi)).astype(np.float64)
    radius = np.log(first, dtype=np.float64)
    radius *= -2.0
    np.sqrt(radius, out=radius)
    angles = torch.from_numpy(angle)  # for NumPy's cosine and sine in float64 take three times as long
    cosines, sines = torch.cos(angles).numpy(), torch.sin(angles).numpy()
    cosines *= radius
    sines *= radius
    return cosines, sines


def _uniforms(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]:
    uniforms = words.astype(np.float32)
    uniforms *= np.float32(2.0**-32)
    uniforms += np.float32(2.0**-33)
    return uniforms


def _double_uniforms(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    high, low = words[..., 0::2].astype(np.float64), words[..., 1::2].astype(np.float64)
    high *= 2.0**-32
    low *= 2.0**-64
    low += 2.0**-65
    high += low
    return high
