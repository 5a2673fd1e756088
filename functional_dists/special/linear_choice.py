"""Draws from the rows of a head, `linear_head`, in the memory of a few tiles, equal to those of `choice.choose`.

The first pass finds the largest logit, the second the integer weights of every tile. The sum of these is exact in any
order. Only the tile in which the target lies is then multiplied once more.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from functional_dists.special import softmax
from functional_dists.special.choice import first_above, integers_of
from functional_dists.special.linear_head import UNIT, Head, Rows, lanes, room_of, row_blocks, tile_of, token_ranges
from functional_dists.special.linear_score import terms

_AT_ONCE = 128  # rows


def choose(head: Head, uniform: Tensor, counted: Tensor) -> Tensor:
    """Choose tokens ``(N, S)`` by uniform draws ``(N, S)``, float64; 0 in a row without support or not counted.

    >>> head = Head(torch.zeros(1, 2), torch.zeros(2, 2), torch.zeros(2), torch.empty(0), 0.0)
    >>> choose(head, torch.tensor([[0.2, 0.7]], dtype=torch.float64), torch.empty(0, dtype=torch.bool))
    tensor([[0, 1]])
    """
    maximum = terms(head, counted).maximum
    return _choose(*(t.detach() for t in head[:4]), maximum, uniform, counted, head.softcap)


# --- The operation ---------------------------------------------------------------------------------------------------
_library = torch.library.Library("functional_dists", "FRAGMENT")
_library.define(
    "linear_choice(Tensor hidden, Tensor weight, Tensor bias, Tensor temperature, Tensor maximum, Tensor uniform, "
    "Tensor counted, float softcap) -> Tensor"
)


def _integers(head: Head, rows: Rows, tokens: slice, maximum: Tensor, room: Tensor) -> Iterator[Tensor]:
    """Yield the integer weights of a tile, some rows at a time: tables of a tile's size would fragment the memory."""
    table = tile_of(head, rows, tokens, room).logits
    for logits, largest in zip(table.split(_AT_ONCE), maximum.split(_AT_ONCE), strict=True):
        yield integers_of(softmax.relative_weights(logits, largest[:, None]), head.weight.shape[0])


def _choose_by_tiles(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    temperature: Tensor,
    maximum: Tensor,
    uniform: Tensor,
    counted: Tensor,
    softcap: float,
) -> Tensor:
    head = Head(hidden, weight, bias, temperature, softcap)
    chosen = torch.zeros(uniform.shape, dtype=torch.int64, device=hidden.device)
    ranges, room = list(token_ranges(head)), room_of(head)
    for rows in row_blocks(head, counted):
        largest = rows.padded(maximum)
        sums_of_tiles = [
            torch.cat([part.sum(-1, dtype=torch.float64) for part in _integers(head, rows, tokens, largest, room)])
            for tokens in ranges
        ]
        sums = torch.stack(sums_of_tiles, -1).cumsum(-1)
        target = rows.padded(uniform).T * sums[:, -1]  # (S, rows)
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
            found = first_above(cumulative, wanted) + ranges[number].start
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


_choose: Callable[..., Any] = torch.ops.functional_dists.linear_choice.default
_library.impl("linear_choice", _choose_by_tiles, "CompositeExplicitAutograd")
torch.library.register_fake(
    "functional_dists::linear_choice",
    lambda *arguments: arguments[5].new_empty(arguments[5].shape, dtype=torch.int64),
    lib=_library,
)
torch.library.register_vmap("functional_dists::linear_choice", lanes(_choose, (1, 2)), lib=_library)
