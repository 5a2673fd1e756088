"""Draws from the rows of a head, `linear_head`, in the memory of a few tiles, equal to those of `choice.choose`.

The first pass finds the largest logit, the second the integer weights of every tile. The sum of these is exact in any
order. Only the tile in which the target lies is then multiplied once more.

Where a process has a part of the vocabulary, the target lies in that of one process, which chooses. A draw takes three
collectives: the largest logits, the sums of the parts, and the choices.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from functional_dists.special import linear_parts, softmax
from functional_dists.special.choice import first_above, integers_of
from functional_dists.special.lanes import lanes
from functional_dists.special.linear_head import (
    UNIT,
    Head,
    Rows,
    head_of,
    num_tiles,
    room_of,
    row_blocks,
    span_of,
    tile_of,
    token_ranges,
)
from functional_dists.special.linear_score import terms

_AT_ONCE = 128  # rows


def choose(head: Head, uniform: Tensor, counted: Tensor) -> Tensor:
    """Choose tokens ``(N, S)`` by uniform draws ``(N, S)``, float64; 0 in a row without support or not counted.

    >>> head = Head(torch.zeros(1, 2), torch.zeros(2, 2), torch.zeros(2), torch.empty(0), 0.0)
    >>> choose(head, torch.tensor([[0.2, 0.7]], dtype=torch.float64), torch.empty(0, dtype=torch.bool))
    tensor([[0, 1]])
    """
    tensors = (*(t.detach() for t in head[:4]), terms(head, counted).maximum)
    options = (head.softcap, *span_of(head.cut))
    if head.cut is None:
        no_sums = torch.empty(0, dtype=torch.float64, device=uniform.device)
        return _choose(*tensors, no_sums, uniform, counted, *options)
    sums = _sums(*tensors, counted, *options)
    target, is_mine = linear_parts.own_target(functional.pad(sums, (1, 0))[:, -1], uniform, head.cut)
    token = _choose(*tensors, sums, target, is_mine.any(-1), *options)
    return linear_parts.joined_choices(token, is_mine, head.cut)


# --- The operations --------------------------------------------------------------------------------------------------
_library = torch.library.Library("functional_dists", "FRAGMENT")
_HEAD = "Tensor hidden, Tensor weight, Tensor bias, Tensor temperature, Tensor maximum"
_OPTIONS = "Tensor counted, float softcap, int offset, int count"
_library.define(f"linear_sums({_HEAD}, {_OPTIONS}) -> Tensor")
# The target is one of the sums, or of 1 if the sums are empty: then this operation makes them.
_library.define(f"linear_choice({_HEAD}, Tensor sums, Tensor target, {_OPTIONS}) -> Tensor")


def _integers(head: Head, rows: Rows, tokens: slice, maximum: Tensor, room: Tensor) -> Iterator[Tensor]:
    """Yield the integer weights of a tile, some rows at a time: tables of a tile's size would fragment the memory."""
    table = tile_of(head, rows, tokens, room).logits
    for logits, largest in zip(table.split(_AT_ONCE), maximum.split(_AT_ONCE), strict=True):
        yield integers_of(softmax.relative_weights(logits, largest[:, None]), head.num_tokens)


def _sums_of_rows(head: Head, rows: Rows, maximum: Tensor, room: Tensor) -> Tensor:
    """Return the sums of the integer weights of a block of rows up to the end of each tile."""
    sums_of_tiles = [
        torch.cat([part.sum(-1, dtype=torch.float64) for part in _integers(head, rows, tokens, maximum, room)])
        for tokens in token_ranges(head)
    ]
    return torch.stack(sums_of_tiles, -1).cumsum(-1)


def _sums_by_tiles(*arguments: Any) -> Tensor:
    """Return the sums of all rows ``(N, tiles)``."""
    *tensors, maximum, counted, softcap, offset, count = arguments
    head = head_of(tensors, softcap, span=(offset, count))
    sums, room = _new_sums(head), room_of(head)
    for rows in row_blocks(head, counted) if sums.numel() else ():  # a process may have no tokens
        sums[rows.chosen] = _sums_of_rows(head, rows, rows.padded(maximum), room)[: rows.size]
    return sums


def _new_sums(head: Head) -> Tensor:
    size = (head.hidden.shape[0], num_tiles(head))
    return torch.zeros(size, dtype=torch.float64, device=head.hidden.device)


def _choose_by_tiles(*arguments: Any) -> Tensor:
    *tensors, maximum, sums_of_rows, target_of_rows, counted, softcap, offset, count = arguments
    head = head_of(tensors, softcap, span=(offset, count))
    chosen = torch.zeros(target_of_rows.shape, dtype=torch.int64, device=head.hidden.device)
    ranges, room = list(token_ranges(head)), room_of(head)
    for rows in row_blocks(head, counted) if ranges else ():
        largest, target = rows.padded(maximum), rows.padded(target_of_rows).T  # (S, rows)
        if sums_of_rows.ndim == 2:
            sums = rows.padded(sums_of_rows)
        else:
            sums = _sums_of_rows(head, rows, largest, room)
            target = target * sums[:, -1]
        block = first_above(sums, target)
        below = functional.pad(sums, (1, 0)).gather(-1, block.T).T
        token = torch.zeros_like(block)
        for number in block[:, : rows.size].unique().tolist():
            hits = (block[:, : rows.size] == number).any(0).nonzero().squeeze(1)
            part = _part(rows, hits)
            of_hits = functional.pad(largest[hits], (0, part.padding))
            inside = torch.cat([*_integers(head, part, ranges[number], of_hits, room)])
            cumulative = inside[: hits.shape[0]].cumsum(-1, dtype=torch.float64)
            # Where products of other shapes round differently, the sum may have changed.
            wanted = torch.minimum((target - below)[:, hits], cumulative[:, -1] - 1)
            found = first_above(cumulative, wanted) + head.offset + ranges[number].start
            token[:, hits] = torch.where(block[:, hits] == number, found, token[:, hits])
        chosen[rows.chosen] = token.T[: rows.size]
    return chosen


def _part(rows: Rows, hits: Tensor) -> Rows:
    """Return some of the rows of a block."""
    count = hits.shape[0]
    padding = -count % UNIT
    hidden = functional.pad(rows.hidden[hits], (0, 0, 0, padding))
    temperature = rows.temperature
    if temperature.numel():
        temperature = functional.pad(temperature[hits], (0, padding), value=1.0)
    return Rows(hits, count, hidden, temperature)


def _fake_sums(*arguments: Any) -> Tensor:
    return _new_sums(head_of(arguments[:4], 0.0, span=arguments[-2:]))


def _fake_choice(*arguments: Any) -> Tensor:
    return arguments[6].new_empty(arguments[6].shape, dtype=torch.int64)


_sums: Callable[..., Any] = torch.ops.functional_dists.linear_sums.default
_choose: Callable[..., Any] = torch.ops.functional_dists.linear_choice.default
for _name, _op, _function, _fake in (
    ("linear_sums", _sums, _sums_by_tiles, _fake_sums),
    ("linear_choice", _choose, _choose_by_tiles, _fake_choice),
):
    _library.impl(_name, _function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"functional_dists::{_name}", _fake, lib=_library)
    torch.library.register_vmap(f"functional_dists::{_name}", lanes(_op, (1, 2)), lib=_library)
