"""Tables of constants: tensors of Python numbers, made once for a dtype and a device."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from functional_dists.special.constant import table_of


def table(numbers: Any, like: Tensor) -> Tensor:
    """Return nested tuples of numbers as a tensor, in the dtype and on the device of `like`; use it as an operand only.

    >>> table((1, 2), torch.zeros(2))
    tensor([1., 2.])
    """
    return table_of(_Numbers(numbers), like)


@dataclass(frozen=True)
class _Numbers:
    """A rule of `table_of`, equal to every other one of the same numbers."""

    numbers: Any

    def __call__(self, like: Tensor) -> Tensor:
        return torch.tensor(self.numbers, dtype=like.dtype, device=like.device)


def slots(counts: tuple[int, ...], like: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each of several lists of numbers lies in their concatenation, as a table with one row for each list.

    Args:
        counts: The lengths of the lists.
        like: A tensor on the device of the tables.

    Returns:
        The flat positions, int64 of shape (len(counts) * max(counts),), 0 in unused slots; and, bool of shape
        (len(counts), max(counts)), which slots are used. Use them as operands only.

    >>> slots((1, 2), torch.zeros(3))
    (tensor([0, 0, 1, 2]), tensor([[ True, False],
            [ True,  True]]))
    """
    return table_of(_Slots(counts), like)


@dataclass(frozen=True)
class _Slots:
    counts: tuple[int, ...]

    def __call__(self, like: Tensor) -> tuple[Tensor, Tensor]:
        width, start = max(self.counts), 0
        index: list[int] = []
        for count in self.counts:
            index += [*range(start, start + count), *[0] * (width - count)]
            start += count
        used = [[slot < count for slot in range(width)] for count in self.counts]
        return torch.tensor(index, device=like.device), torch.tensor(used, device=like.device)
