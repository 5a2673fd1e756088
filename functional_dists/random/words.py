"""Functions of random words: how the numbers of a draw are made of the bits of a key or a Generator."""

from collections.abc import Callable
from typing import TypeGuard

import torch
from torch import Tensor

from functional_dists.random import portable
from functional_dists.random.entries import Shape, begin_draw
from functional_dists.random.keys import Device, Source, on_device, source_words

WordFunction = Callable[[Tensor], Tensor]

INTEGERS = (
    *(torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
)


def check_integer(dtype: torch.dtype) -> None:
    """Raise an error if the dtype is not one of integers."""
    if dtype not in INTEGERS:
        raise TypeError(f"dtype must be an integer dtype, got {dtype}")


def float_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """The dtype, or the default one; an error that tells what it is, if it is none that can be drawn."""
    if dtype is None:
        dtype = torch.get_default_dtype()
    if dtype not in portable.DIGITS:
        raise TypeError(f"dtype must be float16, bfloat16, float32 or float64, got {dtype}")
    return dtype


# --- Words -----------------------------------------------------------------------------------------------------------


def map_words32(key: Source, shape: Shape | None, device: Device, function: WordFunction) -> Tensor:
    """A function of each of as many random int32 words as the shape holds."""
    size, num = begin_draw(key, shape)
    if not is_traced(key):
        return function(source_words(key, num, device)).reshape(size)
    streams = portable.word_streams(on_device(key, device), num)
    return portable.interleave([function(stream) for stream in streams], num).reshape(size)


def map_words64(key: Source, shape: Shape | None, device: Device, function: WordFunction) -> Tensor:
    """A function of each of as many random int64 words as the shape holds."""
    size, num = begin_draw(key, shape)
    if not is_traced(key):
        high, low = source_words(key, 2 * num, device).reshape(*size, 2).unbind(-1)
        return function(portable.pair_words(high, low))
    w0, w1, w2, w3 = portable.word_streams(on_device(key, device), 2 * num)
    streams = [function(portable.pair_words(w0, w1)), function(portable.pair_words(w2, w3))]
    return portable.interleave(streams, num).reshape(size)


def is_traced(key: Source) -> TypeGuard[Tensor]:
    """Whether numbers are made of streams, as ``torch.compile`` traces."""
    # A function of the words fuses with them when it is applied to the streams, before they are interleaved.
    return isinstance(key, Tensor) and torch.compiler.is_compiling()


def map_words(dtype: torch.dtype) -> Callable[[Source, Shape | None, Device, WordFunction], Tensor]:
    """What maps words of as many bits as the dtype needs."""
    return map_words64 if dtype == torch.float64 else map_words32


# --- What becomes of a word ------------------------------------------------------------------------------------------


def same(words: Tensor) -> Tensor:
    """The words."""
    return words


def centred_share(words: Tensor) -> Tensor:
    """The middle of the cell of a 32-bit word, less a half: exact in float64."""
    # Signed, a word is the unsigned one with its first bit flipped, less a half of their range.
    return (words ^ -(2**31)).double() * 2.0**-32 + 2.0**-33


def share_from_nearer_end(words: Tensor) -> Tensor:
    """The middle of the cell of a word, from 0 for one of the lower half and from 1 for one of the upper half."""
    width, dtype = (64, torch.float64) if words.dtype == torch.int64 else (32, torch.float32)
    # A word of the upper half is negative as a signed integer, and xor with its sign complements it.
    return ((words ^ (words >> (width - 1))).to(dtype) + 0.5) * 2.0**-width


def exponential_of(words: Tensor) -> Tensor:
    """Exponential variables."""
    to_nearer_end = share_from_nearer_end(words)
    return torch.where(words < 0, -torch.log(to_nearer_end), -torch.log1p(-to_nearer_end))


def gumbel_of(words: Tensor) -> Tensor:
    """Gumbel variables."""
    return -torch.log(exponential_of(words))
