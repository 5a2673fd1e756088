"""Philox4x32-10, the cipher behind every keyed draw, for NumPy arrays and for tensors.

The cipher turns four counter words and two key words, of 32 bits each, into four random words. It stands here once, for
operands of either kind, and in `_kernels.c`, which eager code on the CPU calls where the extension was built.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from collections.abc import Sequence
from typing import Any

WORDS_PER_BLOCK = 4
ROUNDS = 10
LOW_32 = 2**32 - 1
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)

Words = Any  # int64 numbers from 0 to 2^32 - 1: an array, a tensor, or a Python integer beside these


def encrypt(counter: Sequence[Words], cipher_key: Sequence[Words], rounds: Words) -> tuple[Words, Words, Words, Words]:
    """Encrypt blocks.

    Args:
        counter: the four counter words of each block.
        cipher_key: the two key words, which broadcast to the counter words.
        rounds: the numbers of the rounds, along an axis in front of those of the key words.

    Returns:
        The four random words of each block.
    """
    c0, c1, c2, c3 = counter
    round_keys = [
        (word + rounds * increment) & LOW_32 for word, increment in zip(cipher_key, _KEY_INCREMENTS, strict=True)
    ]
    for k0, k1 in zip(*round_keys, strict=True):
        high0, low0 = _product(c0, _MULTIPLIERS[0])
        high1, low1 = _product(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ (c1 ^ k0), low1, high0 ^ (c3 ^ k1), low0
    return c0, c1, c2, c3


def _product(word: Words, multiplier: int) -> tuple[Words, Words]:
    """Return the high and the low word of a product."""
    # The plain product of two 32-bit words overflows a signed int64, which is undefined behaviour in the C++ that
    # inductor writes: compiled words were wrong for 40% of random keys. The product with multiplier - 2^32 cannot
    # overflow. It has the same low word, and a high word that is too small by exactly `word`.
    product = word * (multiplier - 2**32)
    return (product >> 32) + word, product & LOW_32
