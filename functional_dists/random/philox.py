"""Philox4x32-10, the cipher behind every keyed draw, for NumPy and for tensors.

The cipher turns four counter words and two key words, of 32 bits each, into four random words. No single implementation
is fast everywhere, so there are three of the same numbers: one in C for eager code on the CPU (`_kernels.c`), NumPy
where that was not compiled, and tensor operations, which ``torch.compile`` fuses into whatever consumes the words and
which run on any device.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Words = npt.NDArray[np.uint64]

ROUNDS = 10
WORDS_PER_BLOCK = 4
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
LOW_32 = 2**32 - 1
LOW_16 = 2**16 - 1

_SMALL = 2**12  # 64-bit words, of which ten tables fit into a cache of the second level
_HALF = np.array(32, dtype=np.uint64)
_SCHEDULE = np.outer(np.arange(ROUNDS), KEY_INCREMENTS).astype(np.uint64) << _HALF  # what a round adds to packed keys


def encrypt_arrays(blocks: Words, cipher_key: Words) -> Words:
    """Encrypt blocks ``(2, *B, n)``, in place, under key words ``(2, *B, 1)``.

    The two halves of a block are the counter words in pairs, ``c0 << 32 | c1`` and ``c2 << 32 | c3``. So packed a round
    is six operations, and the round keys wrap by themselves.
    """
    # What is as large as the blocks, halves taken by themselves, and an array for the number 32: with an axis to
    # broadcast or to reverse, or a number, an operation on a small batch takes NumPy up to twice the time. On a large
    # one it is the memory of ten tables of keys that takes it.
    multipliers = np.empty_like(blocks)
    multipliers[0], multipliers[1] = MULTIPLIERS
    round_keys = (cipher_key << _HALF) + _SCHEDULE.reshape(ROUNDS, 2, *[1] * (blocks.ndim - 1))
    if blocks.size <= _SMALL:
        round_keys = round_keys.repeat(blocks.shape[-1], axis=-1)
    products = np.empty_like(blocks)
    (first, second), (first_product, second_product) = blocks, products
    for round_key in round_keys:
        np.right_shift(blocks, _HALF, out=products)
        products *= multipliers
        blocks <<= _HALF
        first ^= second_product
        second ^= first_product
        blocks ^= round_key
    return blocks


def encrypt_tensors(counter: Sequence[Tensor], cipher_key: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Encrypt blocks of four int64 counter words under two int64 key words, which broadcast against them."""
    c0, c1, c2, c3 = counter
    for k0, k1 in zip(*map(_round_keys, cipher_key, KEY_INCREMENTS), strict=True):
        high0, low0 = _multiply(c0, MULTIPLIERS[0])
        high1, low1 = _multiply(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ (c1 ^ k0), low1, high0 ^ (c3 ^ k1), low0
    return c0, c1, c2, c3


def _round_keys(cipher_key: Tensor, increment: int) -> tuple[Tensor, ...]:
    rounds = torch.arange(ROUNDS, device=cipher_key.device).reshape(ROUNDS, *[1] * cipher_key.dim())
    return ((cipher_key + rounds * increment) & LOW_32).unbind(0)


def _multiply(word: Tensor, multiplier: int) -> tuple[Tensor, Tensor]:
    # The plain product of two 32-bit words overflows a signed int64, which is undefined behaviour in the C++ that
    # inductor writes: compiled words were wrong for 40% of random keys. The product with multiplier - 2^32 cannot
    # overflow, has the same low half, and a high half that is short of exactly one word.
    product = word * (multiplier - 2**32)
    return (product >> 32) + word, product & LOW_32


# --- In 16-bit halves ------------------------------------------------------------------------------------------------

Halves = tuple[Tensor, Tensor]


def encrypt_halves(counter: Sequence[Tensor], cipher_key: Sequence[Tensor]) -> tuple[Halves, Halves, Halves, Halves]:
    """Do what ``encrypt_tensors`` does in int32 arithmetic; the result are words as (high, low) halves.

    It is three times as many operations, of a kind that every instruction set has for vectors; AVX2 has no 64-bit
    products. Compiled there it runs in two thirds of the time, and takes nearly three times as long to compile.
    """
    c0, c1, c2, c3 = map(halves, counter)
    for k0, k1 in zip(*map(_round_keys, cipher_key, KEY_INCREMENTS), strict=True):
        high0, low0 = _multiply_halves(c0, MULTIPLIERS[0])
        high1, low1 = _multiply_halves(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = _xor(high1, c1, halves(k0)), low1, _xor(high0, c3, halves(k1)), low0
    return c0, _trimmed(c1), c2, _trimmed(c3)


def halves(word: Tensor) -> Halves:
    """The high and the low 16 bits of integers, as int32."""
    word = word.to(torch.int32)  # before it is shifted, which AVX2 does to no 64-bit integer either
    return (word >> 16) & LOW_16, word & LOW_16


def joined(word: Halves) -> Tensor:
    """The int32 words which consist of these halves."""
    high, low = word
    # The high half is given its sign first, so that its product does not overflow an int32.
    return ((high ^ 2**15) - 2**15) * 2**16 + low


def _trimmed(word: Halves) -> Halves:
    return word[0] & LOW_16, word[1] & LOW_16


def _xor(first: Halves, second: Halves, third: Halves) -> Halves:
    return _trimmed((first[0] ^ second[0] ^ third[0], first[1] ^ second[1] ^ third[1]))


def _multiply_halves(word: Halves, multiplier: int) -> tuple[Halves, Halves]:
    """High and low word of a product, as halves of which only the low 16 bits count.

    As in ``_multiply`` the factor is multiplier - 2^32. Its halves are signed: no partial product overflows an int32.
    """
    high, low = word
    factor_low = (multiplier + 2**15) % 2**16 - 2**15
    factor_high = (multiplier - 2**32 - factor_low) >> 16
    bottom = low * factor_low
    middle = high * factor_low + (bottom >> 16)
    other_middle = low * factor_high + (middle & LOW_16)
    top = high * factor_high + (middle >> 16) + (other_middle >> 16) + low
    return ((top >> 16) + high, top), (other_middle, bottom)
