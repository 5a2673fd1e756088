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


def words(key: Tensor, num: int) -> Tensor:
    """The first ``num`` int32 words ``(*B, num)`` of keys ``(*B, 2)``."""
    return torch.from_numpy(_word_array(key, num).view(np.int32))


def normals(key: Tensor, num: int, *, double: bool) -> Tensor:
    """The first ``num`` standard normals ``(*B, num)`` of keys ``(*B, 2)``, in float64 or float32."""
    if key.dim() == 1 and num <= TINY * WORDS_PER_BLOCK and not double:
        return torch.tensor(_tiny_normals(key.tolist(), num), dtype=torch.float32, device="cpu")
    even = num + num % 2
    uniforms = _double_uniforms(_word_array(key, 2 * even)) if double else _uniforms(_word_array(key, even))
    return torch.from_numpy(np.ascontiguousarray(_box_muller(uniforms)[..., :num]))


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


def _many_words(key: Words, blocks: int) -> npt.NDArray[np.uint32]:
    """The words ``(*B, 4 * blocks)`` of keys ``(*B, 2)``."""
    shift, low_32 = np.uint64(32), np.uint64(LOW_32)
    seed, offset = key[..., 0:1], key[..., 1:2]
    counter = np.add(offset, np.arange(blocks, dtype=np.uint64), dtype=np.uint64)
    packed = np.stack([(counter << shift) | (counter >> shift), np.zeros_like(counter)])
    first, second = encrypt_arrays(packed, np.stack([seed & low_32, seed >> shift]))
    words = np.empty((*counter.shape, WORDS_PER_BLOCK), dtype=np.uint32)
    words[..., 0], words[..., 1] = first >> shift, first & low_32
    words[..., 2], words[..., 3] = second >> shift, second & low_32
    return words.reshape(*key.shape[:-1], blocks * WORDS_PER_BLOCK)


def _word_array(key: Tensor, num: int) -> npt.NDArray[np.uint32]:
    blocks = -(-num // WORDS_PER_BLOCK)
    if key.dim() == 1 and blocks <= TINY:
        return np.array(tiny_words(key.tolist(), blocks)[:num], dtype=np.uint32)
    return np.ascontiguousarray(_many_words(key.numpy(), blocks)[..., :num])


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


def _box_muller(uniforms: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Normals in place of pairs of uniforms ``(*B, 2 * pairs)``."""
    turn = uniforms.dtype.type(2 * math.pi)
    angle = (uniforms[..., 1::2] * turn).astype(np.float64)
    radius = np.log(uniforms[..., 0::2], dtype=np.float64)
    radius *= -2.0
    np.sqrt(radius, out=radius)
    np.multiply(radius, np.cos(angle), out=uniforms[..., 0::2], casting="same_kind")
    np.multiply(radius, np.sin(angle), out=uniforms[..., 1::2], casting="same_kind")
    return uniforms


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
