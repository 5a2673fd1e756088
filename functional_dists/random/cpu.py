"""Words and normals of keys in eager code on the CPU, where a tensor operation costs more than the numbers it makes.

A few blocks are made of Python integers, many of NumPy arrays: a handful of normals in 16 us instead of 300.
"""

import math
from array import array
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from functional_dists.random.philox import LOW_32, WORDS_PER_BLOCK, Words, encrypt_arrays, encrypt_integers

# Up to about this many blocks Python integers are faster than NumPy, which needs a hundred calls for any number.
TINY = 8

Floats = npt.NDArray[Any]
_WORD, _LOW_WORD = np.array(32, dtype=np.uint64), np.array(LOW_32, dtype=np.uint64)


def words(key: Tensor, num: int) -> Tensor:
    """The first ``num`` int32 words ``(*B, num)`` of keys ``(*B, 2)``."""
    return torch.from_numpy(_word_array(key, num).view(np.int32))


def normals(key: Tensor, num: int, *, double: bool) -> Tensor:
    """The first ``num`` standard normals ``(*B, num)`` of keys ``(*B, 2)``, in float64 or float32."""
    if key.dim() == 1 and num <= TINY * WORDS_PER_BLOCK and not double:
        return torch.tensor(_tiny_normals(key.tolist(), num), dtype=torch.float32, device="cpu")
    normals: Floats
    if double:
        uniforms = _double_uniforms(_word_array(key, 2 * (num + num % 2)))
        normals = np.empty_like(uniforms)
        normals[..., 0::2], normals[..., 1::2] = _box_muller(uniforms[..., 0::2], uniforms[..., 1::2])
    else:
        key_words, blocks = key.numpy(), -(-num // WORDS_PER_BLOCK)
        halves = _uniforms(_encrypted(key_words, blocks).view(np.uint32))
        normals = np.empty((*key_words.shape[:-1], blocks, 2, 2), dtype=np.float32)
        # Memory has the low word of a half before the high one, which is the first.
        for i, part in enumerate(_box_muller(halves[..., 1::2], halves[..., 0::2])):
            rounded = part.astype(np.float32)
            normals[..., 0, i], normals[..., 1, i] = rounded
        normals = normals.reshape(*key_words.shape[:-1], blocks * WORDS_PER_BLOCK)
    return torch.from_numpy(np.ascontiguousarray(normals[..., :num]))


def advance(key: Tensor, skip: Tensor) -> Tensor:
    """Keys ``(*B, 2)`` whose offsets lie ``skip`` ``(*B)`` blocks further on, mod 2^64."""
    advanced = key.numpy().copy()
    advanced[..., 1:] += skip.numpy().view(np.uint64)[..., None]
    return torch.from_numpy(advanced)


# --- Words -----------------------------------------------------------------------------------------------------------


def tiny_words(key: list[int], blocks: int) -> list[int]:
    """The words of the first blocks of one key, in Python integers."""
    seed, offset = key
    cipher_key = seed & LOW_32, seed >> 32
    words: list[int] = []
    for block in range(offset, offset + blocks):
        words += encrypt_integers((block & LOW_32, (block >> 32) & LOW_32, 0, 0), cipher_key)
    return words


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
    if key.dim() == 1 and blocks <= TINY:
        return np.array(tiny_words(key.tolist(), blocks)[:num], dtype=np.uint32)
    words = np.empty((*key.shape[:-1], blocks, 2, 2), dtype=np.uint32)
    halves = _encrypted(key.numpy(), blocks).view(np.uint32)
    for i in range(2):  # memory has the low word of a half before the high one, which is the first
        words[..., i, 0], words[..., i, 1] = halves[i, ..., 1::2], halves[i, ..., 0::2]
    return np.ascontiguousarray(words.reshape(*key.shape[:-1], blocks * WORDS_PER_BLOCK)[..., :num])


# --- Normals ---------------------------------------------------------------------------------------------------------

# Float32 normals are what follows from uniforms and angles rounded to float32, as every implementation rounds them. The
# functions of those are taken in float64, so that it makes no difference by which of the two ways a number was made.


def _tiny_normals(key: list[int], num: int) -> list[float]:
    words = tiny_words(key, -(-num // WORDS_PER_BLOCK))
    uniforms = array("f", [word * 2.0**-32 + 2.0**-33 for word in array("f", words)])
    angles = array("f", [float(np.float32(2 * math.pi)) * turn for turn in uniforms[1::2]])
    normals: list[float] = []
    for u, angle in zip(uniforms[0::2], angles, strict=True):
        radius = math.sqrt(-2 * math.log(u))
        normals += radius * math.cos(angle), radius * math.sin(angle)
    return normals[:num]


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
