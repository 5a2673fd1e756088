"""Words and normals of keys as tensor operations: what ``torch.compile`` traces, and what runs on other devices.

Numbers are made as streams, tensors that are read in turn: a block of the cipher gives one number to each of four
streams. What is done with every number had better be done to the streams, before ``interleave``: compiled, all of it
then fuses.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from functional_dists.random.philox import LOW_32, WORDS_PER_BLOCK, encrypt_halves, encrypt_tensors

# From so many words on the faster loop on a CPU is worth its longer compilation.
LARGE = 2**18


def word_streams(key: Tensor, num: int, skip: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four int32 streams ``(*B, blocks)``, together ``num`` words of keys ``(*B, 2)``, ``skip`` ``(*B)`` blocks on."""
    seed_low, seed_high, offset_low, offset_high = _key_words(key)
    # The sum in halves: an offset near 2^64 wraps, and no signed integer overflows.
    low = offset_low + torch.arange(-(-num // WORDS_PER_BLOCK), device=key.device)
    high = offset_high
    if skip is not None:
        low = low + (skip & LOW_32).unsqueeze(-1)
        high = high + ((skip >> 32) & LOW_32).unsqueeze(-1)
    high = high + (low >> 32)
    zero = torch.zeros((), dtype=torch.int64, device=key.device)
    encrypt = encrypt_halves if num >= LARGE and key.device.type == "cpu" else encrypt_tensors
    words = encrypt((low & LOW_32, high & LOW_32, zero, zero), (seed_low, seed_high))
    w0, w1, w2, w3 = (word.to(torch.int32) for word in words)
    return w0, w1, w2, w3


def _key_words(key: Tensor) -> list[Tensor]:
    # Seen as int32, not as int64: a loop that loads uint64 numbers is one that inductor does not vectorise.
    words = key.view(torch.int32).to(torch.int64) & LOW_32
    return [words[..., i : i + 1] for i in range(4)]


def pair_words(high: Tensor, low: Tensor) -> Tensor:
    """Two int32 words to one int64 word."""
    return (high.to(torch.int64) << 32) | (low.to(torch.int64) & LOW_32)


def interleave(streams: Sequence[Tensor], num: int) -> Tensor:
    """The first ``num`` numbers ``(*B, num)`` of streams ``(*B, n)``."""
    return torch.stack(list(streams), dim=-1).flatten(-2)[..., :num]


def normal_streams(key: Tensor, num: int, *, double: bool) -> list[Tensor]:
    """Streams ``(*B, n)``, together ``num`` standard normals of keys ``(*B, 2)``, in float64 or float32."""
    if double:
        w0, w1, w2, w3 = word_streams(key, 4 * -(-num // 2))
        return [*_box_muller(_double_uniform(w0, w1), _double_uniform(w2, w3))]
    u0, u1, u2, u3 = map(_uniform, word_streams(key, num))
    return [*_box_muller(u0, u1), *_box_muller(u2, u3)]


def _box_muller(uniform: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    radius, angle = torch.sqrt(-2 * torch.log(uniform)), 2 * math.pi * turn
    return radius * torch.cos(angle), radius * torch.sin(angle)


def _uniform(word: Tensor) -> Tensor:
    """The middle of the cell of (0, 1) that belongs to a word, after the word is rounded to float32."""
    return _unsigned(word, torch.float32) * 2.0**-32 + 2.0**-33


def _double_uniform(high: Tensor, low: Tensor) -> Tensor:
    """The middle of the cell of (0, 1) that belongs to two words, rounded once, to float64."""
    return _unsigned(high, torch.float64) * 2.0**-32 + (_unsigned(low, torch.float64) * 2.0**-64 + 2.0**-65)


def _unsigned(word: Tensor, dtype: torch.dtype) -> Tensor:
    # In halves, by conversions which every instruction set has for vectors. Only the sum rounds, and only in float32.
    return ((word >> 16) & 0xFFFF).to(dtype) * 2.0**16 + (word & 0xFFFF).to(dtype)
