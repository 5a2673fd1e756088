"""Words and normals of keys as tensor operations: what ``torch.compile`` traces, and what runs on other devices.

Numbers are made as streams, tensors that are read in turn: a block of the cipher gives one number to each of four
streams. What is done with every number had better be done to the streams, before ``interleave``: compiled, all of it
then fuses.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from functional_dists.random.philox import (
    LOW_32,
    WORDS_PER_BLOCK,
    Halves,
    encrypt_halves,
    encrypt_tensors,
    halves,
    joined,
)
from functional_dists.special.elementary import horner

# From so many words on the faster loop on a CPU is worth its longer compilation.
LARGE = 2**18


def word_streams(key: Tensor, num: int, skip: Tensor | None = None) -> list[Tensor]:
    """Four int32 streams ``(*B, blocks)``, together ``num`` words of keys ``(*B, 2)``, ``skip`` ``(*B)`` blocks on."""
    if _is_large(key, num):
        return [joined(word) for word in encrypt_halves(*_plain_text(key, num, skip))]
    return [word.to(torch.int32) for word in encrypt_tensors(*_plain_text(key, num, skip))]


def _half_streams(key: Tensor, num: int, skip: Tensor | None) -> list[Halves]:
    """Likewise, in halves."""
    if _is_large(key, num):
        return list(encrypt_halves(*_plain_text(key, num, skip)))
    return [halves(word) for word in encrypt_tensors(*_plain_text(key, num, skip))]


def _is_large(key: Tensor, num: int) -> bool:
    return num >= LARGE and key.device.type == "cpu"


def _plain_text(key: Tensor, num: int, skip: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
    """Counter and cipher key of the blocks which hold ``num`` words."""
    seed_low, seed_high, offset_low, offset_high = _key_words(key)
    # The sum in halves: an offset near 2^64 wraps, and no signed integer overflows.
    low = offset_low + torch.arange(-(-num // WORDS_PER_BLOCK), device=key.device)
    high = offset_high
    if skip is not None:
        low = low + (skip & LOW_32).unsqueeze(-1)
        high = high + ((skip >> 32) & LOW_32).unsqueeze(-1)
    high = high + (low >> 32)
    zero = torch.zeros((), dtype=torch.int64, device=key.device)
    return [low & LOW_32, high & LOW_32, zero, zero], [seed_low, seed_high]


def _key_words(key: Tensor) -> list[Tensor]:
    # Seen as int32, not as int64: a loop that loads uint64 numbers is one that inductor does not vectorise.
    words = key.view(torch.int32).to(torch.int64) & LOW_32
    return [words[..., i : i + 1] for i in range(4)]


def pair_words(high: Tensor, low: Tensor) -> Tensor:
    """Two int32 words to one int64 word."""
    return (high.to(torch.int64) << 32) | (low.to(torch.int64) & LOW_32)


def uniforms_of_words(words: Tensor, *, double: bool) -> Tensor:
    """Uniforms on [0, 1) ``(*B, n)`` from int32 words ``(*B, n)`` in float32, or from twice as many in float64."""
    if double:
        words = pair_words(words[..., 0::2], words[..., 1::2])
    return uniform_of_word(words, torch.float64 if double else torch.float32)


# The digits of a uniform draw: as many as the dtype has, so that every number is a multiple of one spacing, below 1.
DIGITS = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


def uniform_of_word(word: Tensor, dtype: torch.dtype) -> Tensor:
    """Uniforms from the lowest bits of integers."""
    return (word & (2 ** DIGITS[dtype] - 1)).to(dtype) * 0.5 ** DIGITS[dtype]


def interleave(streams: Sequence[Tensor], num: int) -> Tensor:
    """The first ``num`` numbers ``(*B, num)`` of streams ``(*B, n)``."""
    return torch.stack(list(streams), dim=-1).flatten(-2)[..., :num]


def normal_streams(key: Tensor, num: int, skip: Tensor | None = None, *, double: bool) -> list[Tensor]:
    """Streams ``(*B, n)``, together ``num`` standard normals of keys ``(*B, 2)``, in float64 or float32."""
    if double:
        words = _half_streams(key, 4 * -(-num // 2), skip)
        uniform, turn = _double_uniform(*words[:2]), _double_uniform(*words[2:])
        angle = 2 * math.pi * turn
        return _box_muller(uniform, torch.cos(angle), torch.sin(angle))
    uniforms = [_uniform(word) for word in _half_streams(key, num, skip)]
    return [
        normal
        for uniform, turn in (uniforms[:2], uniforms[2:])
        for normal in _box_muller(uniform, *_cos_and_sin(2 * math.pi * turn, torch.round(4 * turn)))
    ]


def _box_muller(uniform: Tensor, cos: Tensor, sin: Tensor) -> list[Tensor]:
    radius = torch.sqrt(-2 * torch.log(uniform))
    return [radius * cos, radius * sin]


def _uniform(word: Halves) -> Tensor:
    """The middle of the cell of (0, 1) that belongs to a word, after the word is rounded to float32."""
    return _scaled(word, 2.0**-32, torch.float32) + 2.0**-33


def _double_uniform(high: Halves, low: Halves) -> Tensor:
    """The middle of the cell of (0, 1) that belongs to two words, rounded once, to float64."""
    return _scaled(high, 2.0**-32, torch.float64) + (_scaled(low, 2.0**-64, torch.float64) + 2.0**-65)


def _scaled(word: Halves, unit: float, dtype: torch.dtype) -> Tensor:
    # By conversions which every instruction set has for vectors. Only the sum rounds, and only in float32.
    return word[0].to(dtype) * (2.0**16 * unit) + word[1].to(dtype) * unit


# --- Cosine and sine -------------------------------------------------------------------------------------------------

# A quarter of a turn in three parts, of which the first two have so few digits that four of them are exact in float32.
_QUARTER = (1.5703125, 4.837512969970703e-04, math.pi / 2 - 1.5703125 - 4.837512969970703e-04)
_SINE = [(-1.0) ** k / math.factorial(2 * k + 1) for k in (4, 3, 2, 1, 0)]
_COSINE = [(-1.0) ** k / math.factorial(2 * k) for k in (5, 4, 3, 2, 1, 0)]


def _cos_and_sin(angle: Tensor, quarters: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of float32 angles, of which ``quarters`` of a turn is the nearest such number up to 4.

    One reduction and two power series serve both, in a third of the time that the two functions take by themselves.
    """
    rest = angle - quarters * _QUARTER[0] - quarters * _QUARTER[1] - quarters * _QUARTER[2]
    square = rest * rest
    cos, sin = horner(_COSINE, square), rest * horner(_SINE, square)
    is_odd = (quarters == 1) | (quarters == 3)
    is_left, is_below = (quarters - 1.5).abs() < 1, (quarters - 2.5).abs() < 1
    across, along = torch.where(is_odd, sin, cos), torch.where(is_odd, cos, sin)
    return torch.where(is_left, -across, across), torch.where(is_below, -along, along)
