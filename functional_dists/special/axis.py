"""Axes of which every process of a group holds a part, and sums over them.

`cut` says which trailing axes are cut while a function of tensors runs. Mathematics that reduces such an axis asks
`cuts_of`, and joins the results of the processes by `summed` and its kin. All processes of a group must call these in
the same order. Without a cut they change nothing.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

__all__ = [
    "Cut",
    "cut",
    "cut_of_rows",
    "cuts_of",
    "gathered",
    "is_any_cut",
    "largest_of_rows",
    "positions_in_rows",
    "reduced",
    "row_size",
    "shared",
    "summed",
]


class Cut(NamedTuple):
    """A part of an axis."""

    groups: tuple[str, ...]  # the names of the process groups among which it is cut, one after the other
    worlds: tuple[int, ...]  # their sizes
    rank: int  # the number of this part
    offset: int  # where the part begins
    length: int  # of the whole axis


class _State(threading.local):
    cuts: Mapping[int, Cut] = {}


_state = _State()
_active: list[None] = []  # an entry for each cut in force, of all threads
_cuts_of_traced: Mapping[int, Cut] = {}  # `torch.compile` does not trace a `threading.local`


@contextlib.contextmanager
def cut(cuts: Mapping[int, Cut]) -> Iterator[None]:
    """Say which axes are cut, counted from the end: -1 is the last."""
    global _cuts_of_traced
    if torch.compiler.is_compiling():
        before, _cuts_of_traced = _cuts_of_traced, cuts
        try:
            yield
        finally:
            _cuts_of_traced = before
        return
    before, _state.cuts = _state.cuts, cuts
    _active.append(None)
    try:
        yield
    finally:
        _active.pop()
        _state.cuts = before


def is_any_cut() -> bool:
    """Return whether an axis is cut in some thread: kernels know whole axes alone.

    >>> is_any_cut()
    False
    """
    return bool(_active)


def cuts_of(axes: Iterable[int]) -> list[Cut]:
    """Return the cuts of these axes, counted from the end.

    >>> with cut({-1: Cut(("group",), (2,), 0, 0, 4)}):
    ...     print(cuts_of([-1, -2])[0].length)
    4
    """
    if torch.compiler.is_compiling():
        cuts = _cuts_of_traced
    elif not _active:  # several times as fast as a `threading.local`
        return []
    else:
        cuts = _state.cuts
    return [cuts[axis] for axis in axes if axis in cuts]


def cut_of_rows() -> Cut | None:
    """Return the cut of the last axis, None if it is whole.

    >>> cut_of_rows() is None
    True
    """
    cuts = cuts_of([-1])
    return cuts[0] if cuts else None


def summed(parts: Tensor, cuts: Iterable[Cut]) -> Tensor:
    """Return the sum of the parts of all processes, which all hold alike; so is its slope.

    >>> summed(torch.ones(2), [])
    tensor([1., 1.])
    """
    for one in cuts:
        for group in one.groups:
            parts = cast(Any, _Sum).apply(parts, group)
    return parts


def shared(numbers: Tensor, cuts: Iterable[Cut]) -> Tensor:
    """Return numbers that all processes hold alike, for use beside the parts: their slopes are added up.

    >>> shared(torch.ones(2), [])
    tensor([1., 1.])
    """
    for one in cuts:
        for group in one.groups:
            numbers = cast(Any, _Share).apply(numbers, group)
    return numbers


def reduced(numbers: Tensor, operation: str, cuts: Iterable[Cut]) -> Tensor:
    """Return the sum, `"sum"`, or the largest, `"max"`, of the numbers of all processes, without derivatives.

    >>> reduced(torch.ones(2), "max", [])
    tensor([1., 1.])
    """
    numbers = numbers.detach()
    for one in cuts:
        for group in one.groups:
            numbers = _reduce(numbers, operation, group)
    return numbers


def gathered(numbers: Tensor, one: Cut) -> Tensor:
    """Return the numbers of all processes, without derivatives, along a new first axis in the order of the parts.

    >>> gathered(torch.ones(2), Cut((), (), 0, 0, 2))
    tensor([[1., 1.]])
    """
    numbers = numbers.detach().contiguous()[None]
    for group, world in zip(reversed(one.groups), reversed(one.worlds), strict=True):
        pending = torch.ops._c10d_functional.all_gather_into_tensor(numbers, world, group)
        numbers = torch.ops._c10d_functional.wait_tensor(pending)
    return numbers


def largest_of_rows(table: Tensor) -> Tensor:
    """Return the largest entry ``(*B, 1)`` of each row over all processes, without derivatives.

    >>> largest_of_rows(torch.tensor([1.0, 3.0]))
    tensor([3.])
    """
    table = table.detach()
    part = table.amax(-1, keepdim=True) if table.shape[-1] else table.new_full((*table.shape[:-1], 1), -torch.inf)
    return reduced(part, "max", cuts_of([-1]))


def row_size(table: Tensor) -> int:
    """Return the number of entries of a whole row.

    >>> row_size(torch.zeros(2, 3))
    3
    """
    cut = cut_of_rows()
    return cut.length if cut else table.shape[-1]


def positions_in_rows(table: Tensor) -> Tensor:
    """Return the positions of a row's entries in the whole row.

    >>> positions_in_rows(torch.zeros(2, 3))
    tensor([0, 1, 2])
    """
    positions = torch.arange(table.shape[-1], device=table.device)
    cut = cut_of_rows()
    return positions + cut.offset if cut else positions


# ---------------------------------------------------------------------------------------------------------- collectives
def _reduce(numbers: Tensor, operation: str, group: str) -> Tensor:
    pending = torch.ops._c10d_functional.all_reduce(numbers.contiguous(), operation, group)
    return cast(Tensor, torch.ops._c10d_functional.wait_tensor(pending))


class _Sum(torch.autograd.Function):
    """The sum over a group. PyTorch's own derivative would add up slopes that all processes hold alike."""

    @staticmethod
    def forward(parts: Tensor, group: str) -> Tensor:
        return _reduce(parts, "sum", group)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.group = inputs[1]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return cast(Any, _Share).apply(slope, ctx.group), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], parts: Tensor, group: str) -> tuple[Tensor, int | None]:
        return cast(Any, _Sum).apply(parts, group), in_dims[0]


class _Share(torch.autograd.Function):
    """The identity, whose derivative is a sum over a group."""

    @staticmethod
    def forward(numbers: Tensor, group: str) -> Tensor:
        return numbers.view_as(numbers)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.group = inputs[1]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return cast(Any, _Sum).apply(slope, ctx.group), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], numbers: Tensor, group: str) -> tuple[Tensor, int | None]:
        return cast(Any, _Share).apply(numbers, group), in_dims[0]
