"""Philox4x32-10 and the draws in Python integers, written from their definition and apart from the package."""

import math
import random

import torch
from torch import Tensor

WORD = 2**32


def block(seed: int, counter: int) -> list[int]:
    """The four words of one block."""
    k = [seed % WORD, seed // WORD % WORD]
    c = [counter % WORD, counter // WORD % WORD, 0, 0]
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], WORD)
        high1, low1 = divmod(0xCD9E8D57 * c[2], WORD)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % WORD, (k[1] + 0xBB67AE85) % WORD]
    return c


def words(seed: int, offset: int, num: int) -> list[int]:
    return [word for n in range(-(-num // 4)) for word in block(seed, (offset + n) % 2**64)][:num]


def words64(seed: int, offset: int, num: int) -> list[int]:
    w = words(seed, offset, 2 * num)
    return [high * WORD + low for high, low in zip(w[0::2], w[1::2], strict=True)]


def child(seed: int, offset: int, index: int) -> tuple[int, int]:
    w = words(seed, offset + index, 4)
    return w[0] + w[1] * WORD, w[2] + w[3] * WORD


def signed(word: int, width: int) -> int:
    return word - 2**width if word >= 2 ** (width - 1) else word


def bits(seed: int, offset: int, num: int) -> Tensor:
    return torch.tensor([signed(word, 32) for word in words(seed, offset, num)], dtype=torch.int32)


def bits64(seed: int, offset: int, num: int) -> Tensor:
    return torch.tensor([signed(word, 64) for word in words64(seed, offset, num)], dtype=torch.int64)


def make_key(seed: int, offset: int = 0) -> Tensor:
    return torch.tensor([signed(seed, 64), signed(offset, 64)], dtype=torch.int64).view(torch.uint64)


def random_pairs(num: int, source: int) -> list[tuple[int, int]]:
    """Seeds and offsets over all 64 bits, the extremes first: a small key hides an overflow."""
    extremes = [(0, 0), (2**64 - 1, 2**64 - 1), (2**63, 2**63 - 1), (2**32 - 1, 2**32 - 1), (42, 2**64 - 2)]
    draw = random.Random(source)
    return (extremes + [(draw.getrandbits(64), draw.getrandbits(64)) for _ in range(num)])[:num]


def make_keys(pairs: list[tuple[int, int]]) -> Tensor:
    return torch.stack([make_key(*pair) for pair in pairs])


def box_muller(u: float, turn: float) -> tuple[float, float]:
    radius = math.sqrt(-2 * math.log(u))
    return radius * math.cos(2 * math.pi * turn), radius * math.sin(2 * math.pi * turn)
