"""Random words: from a key, a batch of keys or a Generator, and functions of them."""

from collections.abc import Callable
from typing import TypeGuard

import torch
from torch import Tensor

from functional_dists.random import portable
from functional_dists.random.entries import Shape, begin_draw
from functional_dists.random.keys import Device, Source, on_device, source_words

INTEGERS = (
    *(torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
)


def check_integer(dtype: torch.dtype) -> None:
    """Raise an error if the dtype is not an integer dtype."""
    if dtype not in INTEGERS:
        raise TypeError(f"dtype must be an integer dtype, got {dtype}")


def float_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """The dtype, by default PyTorch's; an error if no uniforms can be drawn in it."""
    if dtype is None:
        dtype = torch.get_default_dtype()
    if dtype not in portable.DIGITS:
        raise TypeError(f"dtype must be float16, bfloat16, float32 or float64, got {dtype}")
    return dtype


# --- Words -----------------------------------------------------------------------------------------------------------


def draw_words(key: Source, shape: Shape | None, device: Device, *, wide: bool) -> Tensor:
    """Random words, int32 or, if ``wide``, int64."""
    return map_words(lambda words: words, key, shape, device, wide=wide)


def map_words(
    function: Callable[[Tensor], Tensor], key: Source, shape: Shape | None, device: Device, *, wide: bool
) -> Tensor:
    """An elementwise function of random words, int32 or, if ``wide``, int64."""
    size, num = begin_draw(key, shape)
    num_words = 2 * num if wide else num
    if not is_traced(key):
        words = source_words(key, num_words, device)
        if not wide:
            return function(words.reshape(size))
        high, low = words.reshape(*size, 2).unbind(-1)
        return function(portable.pair_words(high, low))
    streams = portable.word_streams(on_device(key, device), num_words)
    if wide:
        streams = [portable.pair_words(*streams[:2]), portable.pair_words(*streams[2:])]
    return portable.interleave([function(stream) for stream in streams], num).reshape(size)


def is_traced(key: Source) -> TypeGuard[Tensor]:
    """Whether this is a key whose numbers are made as streams, while ``torch.compile`` traces."""
    return isinstance(key, Tensor) and torch.compiler.is_compiling()


# --- Functions of words ----------------------------------------------------------------------------------------------

# A word of b bits is one of 2^b cells of equal width that make up (0, 1).


def centred_uniform(words: Tensor) -> Tensor:
    """The middle of the cell of a 32-bit word, minus 1/2: exact in float64."""
    # As a signed integer, a word with its first bit flipped is the unsigned word minus 2^31.
    return (words ^ -(2**31)).double() * 2.0**-32 + 2.0**-33


def distance_to_nearer_end(words: Tensor) -> Tensor:
    """The distance from the middle of the cell of a word to 0, or to 1 for a word of the upper half."""
    width, dtype = (64, torch.float64) if words.dtype == torch.int64 else (32, torch.float32)
    # A word of the upper half is negative as a signed integer; xor with its sign takes the complement.
    return ((words ^ (words >> (width - 1))).to(dtype) + 0.5) * 2.0**-width


def exponential_of(words: Tensor) -> Tensor:
    """Exponential draws."""
    distance = distance_to_nearer_end(words)
    return torch.where(words < 0, -torch.log(distance), -torch.log1p(-distance))


def gumbel_of(words: Tensor) -> Tensor:
    """Gumbel draws."""
    return -torch.log(exponential_of(words))
