"""Words and normals of keys by tensor operations: what ``torch.compile`` traces, and what runs on other devices.

A stream is a tensor with one number of every block of the cipher; the numbers of a draw are those of two or four
streams in turn. Functions of the numbers are applied to the streams, before ``interleave``: compiled code fuses them
with the cipher.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from functional_dists.random.philox import LOW_32, ROUNDS, WORDS_PER_BLOCK, encrypt

# The digits of a uniform draw: as many as the dtype has, so that all draws are multiples of one spacing, below 1.
DIGITS = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


# --- Words -----------------------------------------------------------------------------------------------------------


def word_streams(key: Tensor, num: int, skip: Tensor | None = None) -> list[Tensor]:
    """Four int32 streams ``(*B, blocks)`` of ``num`` words of keys ``(*B, 2)``, after ``skip`` ``(*B)`` blocks."""
    # As int32, not int64: inductor does not vectorize a loop that loads uint64 numbers.
    key_words = key.view(torch.int32).to(torch.int64) & LOW_32
    seed_low, seed_high, offset_low, offset_high = (key_words[..., i : i + 1] for i in range(4))
    # The sum by halves: an offset near 2^64 wraps, and no signed integer overflows.
    low = offset_low + torch.arange(-(-num // WORDS_PER_BLOCK), device=key.device)
    high = offset_high
    if skip is not None:
        low = low + (skip & LOW_32).unsqueeze(-1)
        high = high + ((skip >> 32) & LOW_32).unsqueeze(-1)
    high = high + (low >> 32)
    rounds = torch.arange(ROUNDS, device=key.device).reshape(ROUNDS, *[1] * key.ndim)
    words = encrypt((low & LOW_32, high & LOW_32, 0, 0), (seed_low, seed_high), rounds)
    return [word.to(torch.int32) for word in words]


def interleave(streams: Sequence[Tensor], num: int) -> Tensor:
    """The first ``num`` numbers ``(*B, num)`` of streams ``(*B, n)``."""
    return torch.stack(list(streams), dim=-1).flatten(-2)[..., :num]


def pair_words(high: Tensor, low: Tensor) -> Tensor:
    """Join two int32 words to one int64 word."""
    return (high.to(torch.int64) << 32) | (low.to(torch.int64) & LOW_32)


# --- Uniforms --------------------------------------------------------------------------------------------------------


def uniforms_of_words(words: Tensor, *, double: bool) -> Tensor:
    """Uniforms on [0, 1) ``(*B, n)`` from int32 words ``(*B, n)`` in float32, or from twice as many in float64."""
    if double:
        words = pair_words(words[..., 0::2], words[..., 1::2])
    return uniform_of_word(words, torch.float64 if double else torch.float32)


def uniform_of_word(word: Tensor, dtype: torch.dtype) -> Tensor:
    """Uniforms on [0, 1) from the lowest bits of integers."""
    return (word & (2 ** DIGITS[dtype] - 1)).to(dtype) * 0.5 ** DIGITS[dtype]


# --- Normals ---------------------------------------------------------------------------------------------------------


def normal_streams(key: Tensor, num: int, skip: Tensor | None = None, *, double: bool) -> list[Tensor]:
    """Streams ``(*B, n)`` of ``num`` standard normals of keys ``(*B, 2)``: two in float64, four in float32."""
    if double:
        w0, w1, w2, w3 = word_streams(key, 4 * -(-num // 2), skip)
        angle = 2 * math.pi * _double_uniform(w2, w3)
        return _box_muller(_double_uniform(w0, w1), torch.cos(angle), torch.sin(angle))
    w0, w1, w2, w3 = map(_uniform, word_streams(key, num, skip))
    return [
        normal
        for uniform, turn in ((w0, w1), (w2, w3))
        for normal in _box_muller(uniform, *_cos_and_sin(2 * math.pi * turn, torch.round(4 * turn)))
    ]


def _box_muller(uniform: Tensor, cos: Tensor, sin: Tensor) -> list[Tensor]:
    radius = torch.sqrt(-2 * torch.log(uniform))
    return [radius * cos, radius * sin]


def _uniform(word: Tensor) -> Tensor:
    """The middle of the cell of (0, 1) that belongs to a word, after the word is rounded to float32."""
    return _unsigned(word, 2.0**-32, torch.float32) + 2.0**-33


def _double_uniform(high: Tensor, low: Tensor) -> Tensor:
    """The middle of the cell of (0, 1) that belongs to two words, rounded once, to float64."""
    return _unsigned(high, 2.0**-32, torch.float64) + (_unsigned(low, 2.0**-64, torch.float64) + 2.0**-65)


def _unsigned(word: Tensor, unit: float, dtype: torch.dtype) -> Tensor:
    """Int32 words as unsigned numbers of units, rounded once."""
    # Halves of int32 are what every instruction set converts by vectors; of int64 compiled normals take a third longer.
    high, low = (word >> 16) & (2**16 - 1), word & (2**16 - 1)
    return high.to(dtype) * (2.0**16 * unit) + low.to(dtype) * unit


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
    cos, sin = _polynomial(_COSINE, square), rest * _polynomial(_SINE, square)
    is_odd = (quarters == 1) | (quarters == 3)
    is_left, is_below = (quarters - 1.5).abs() < 1, (quarters - 2.5).abs() < 1
    across, along = torch.where(is_odd, sin, cos), torch.where(is_odd, cos, sin)
    return torch.where(is_left, -across, across), torch.where(is_below, -along, along)


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """The polynomial with these coefficients, the highest power first."""
    value = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        value = value * x + coefficient
    return value
