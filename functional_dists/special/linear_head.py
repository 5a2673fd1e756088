"""Logits ``hidden @ weight.T + bias`` of a vocabulary, a tile of rows and tokens at a time.

A tile has `TOKENS` tokens, whatever the number of rows. It has `ROWS` rows, or fewer: the last rows are padded with
zeros to a multiple of `UNIT`. So a product is one of few shapes, and its rounding does not depend on other rows as far
as the matrix product of the platform allows.

Where processes have parts of the vocabulary, tiles begin where those of the whole vocabulary do. A tile that belongs to
several processes has zeros in place of the tokens of the others. So its products have the bits of those of one process.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from functional_dists.special.axis import Cut
from functional_dists.special.row_parts import has_support, lifted

ROWS, TOKENS = 512, 2048  # 4 MiB of float32: smaller products are slower, larger tiles take more memory
ROWS_ELSEWHERE, TOKENS_ELSEWHERE = 4096, 4096  # on other devices kernel launches decide the cost
UNIT = 16  # with fewer rows the libraries choose other kernels, which round differently


class Head(NamedTuple):
    """What makes the logits of N rows.

    `bias` is empty where it is 0, `temperature` is empty where it is 1, and `softcap` is 0 where there is none. With a
    cut, weight and bias are this process's part of those of the vocabulary.
    """

    hidden: Tensor  # (N, H)
    weight: Tensor  # (V, H)
    bias: Tensor  # (V,) or (0,)
    temperature: Tensor  # (N,) or (0,)
    softcap: float
    cut: Cut | None = None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the computation, at least float32."""
        dtypes = (t.dtype for t in self[:4] if isinstance(t, Tensor))
        result = torch.float32
        for dtype in dtypes:
            result = torch.promote_types(result, dtype)
        return result

    @property
    def offset(self) -> int:
        """The first token of this process."""
        return 0 if self.cut is None else self.cut.offset

    @property
    def num_tokens(self) -> int:
        """The size of the whole vocabulary."""
        return self.weight.shape[0] if self.cut is None else self.cut.length


def span_of(cut: Cut | None) -> tuple[int, int]:
    """Return what operations need of a cut: the first token and the size of the whole, which is 0 without a cut."""
    return (0, 0) if cut is None else (cut.offset, cut.length)


def head_of(tensors: Sequence[Any], softcap: float, cut: Cut | None = None, span: Sequence[int] = (0, 0)) -> Head:
    """Return the head of four tensors and a soft cap, with a cut or the span of one."""
    hidden, weight, bias, temperature = tensors
    offset, count = span
    return Head(hidden, weight, bias, temperature, softcap, Cut((), (), 0, offset, count) if count else cut)


def logits(head: Head, counted: Tensor | None = None) -> Tensor:
    """Return the whole table ``(N, V)``; a row that is not counted is that of zeros.

    >>> hidden, weight = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    >>> logits(Head(hidden, weight, torch.zeros(2), torch.tensor([0.5]), 0.0))
    tensor([[ 6., 16.]])
    """
    hidden, temperature = head.hidden, head.temperature
    if counted is not None and counted.numel():
        hidden = torch.where(counted[:, None], hidden, 0.0)
        temperature = torch.where(counted, temperature, 1.0) if temperature.numel() else temperature
    dtype = head.dtype
    tensors = (t.to(dtype) for t in (hidden, head.weight, head.bias, temperature))
    hidden, weight, bias, temperature = tensors
    table = torch.addmm(bias, hidden, weight.t()) if bias.numel() else hidden @ weight.t()
    return finished(table, temperature, head.softcap)


def finished(table: Tensor, temperature: Tensor, softcap: float) -> Tensor:
    """Return the logits of products ``(N, K)``: with the soft cap, divided by the temperature.

    >>> finished(torch.tensor([[6.0, -math.inf]]), torch.tensor([2.0]), 0.0)
    tensor([[3., -inf]])
    """
    if softcap != 0:
        return _finished(table, temperature, softcap)[0]
    is_excluded = table == -math.inf  # where the derivative by the temperature would be 0 times infinity
    table = _finished(torch.where(is_excluded, 0.0, table), temperature, softcap)[0]
    return torch.where(is_excluded, -math.inf, table)


def _finished(table: Tensor, temperature: Tensor, softcap: float) -> tuple[Tensor, Tensor | None]:
    """Return the logits of a product, and the tanh of the soft cap."""
    tanh = None
    if softcap != 0:
        tanh = torch.tanh(table / softcap)
        table = softcap * tanh
    if temperature.numel():
        table = table / temperature[:, None]
    return table, tanh


# -------------------------------------------------------------------------------------------------------------- tiles
class Rows(NamedTuple):
    """A block of rows of a head."""

    chosen: slice | Tensor  # where they stand among all rows
    size: int
    hidden: Tensor  # (size and padding, H), in the dtype of the computation
    temperature: Tensor

    @property
    def padding(self) -> int:
        """The number of rows of zeros at the end."""
        return self.hidden.shape[0] - self.size

    def padded(self, table: Tensor, value: float = 0.0) -> Tensor:
        """Return the block's entries of a table of all rows, with the padding."""
        entries, padding = table[self.chosen], self.padding
        return functional.pad(entries, (*[0, 0] * (table.ndim - 1), 0, padding), value=value) if padding else entries


class Tile(NamedTuple):
    """The logits of a block of rows and a range of tokens."""

    tokens: slice
    weight: Tensor  # of these tokens, in the dtype of the computation
    logits: Tensor
    tanh: Tensor | None  # of the soft cap


def row_blocks(head: Head, counted: Tensor) -> Iterator[Rows]:
    """Yield blocks of the rows that are counted; of all rows if `counted` is empty."""
    chosen = counted.nonzero().squeeze(1) if counted.numel() else None
    size = ROWS if head.hidden.is_cpu else ROWS_ELSEWHERE
    count = head.hidden.shape[0] if chosen is None else chosen.shape[0]
    chosen = None if count == head.hidden.shape[0] else chosen  # views instead of copies
    for first in range(0, count, size):
        end = min(first + size, count)
        index = slice(first, end) if chosen is None else chosen[first:end]
        hidden, temperature = head.hidden[index].to(head.dtype), head.temperature
        padding = -(end - first) % UNIT
        if padding:
            hidden = functional.pad(hidden, (0, 0, 0, padding))
        if temperature.numel():
            temperature = functional.pad(temperature[index].to(head.dtype), (0, padding), value=1.0)
        yield Rows(index, end - first, hidden, temperature)


def token_ranges(head: Head) -> Iterator[slice]:
    """Yield the ranges of tokens of all tiles, in the part that this process has."""
    count, size = head.weight.shape[0], tokens_of_tile(head)
    for first in range(-(head.offset % size), count, size) if count else ():
        yield slice(max(first, 0), min(first + size, count))


def num_tiles(head: Head) -> int:
    """Return the number of tiles."""
    count, size = head.weight.shape[0], tokens_of_tile(head)
    return -(-(head.offset % size + count) // size) if count else 0


def in_whole(head: Head, tokens: slice) -> slice:
    """Return where tokens of this process lie in the whole vocabulary."""
    return slice(tokens.start + head.offset, tokens.stop + head.offset)


def tokens_of_tile(head: Head) -> int:
    """Return how many tokens a tile has."""
    return TOKENS if head.weight.is_cpu else TOKENS_ELSEWHERE


def room_of(head: Head) -> Tensor:
    """Return memory for the products of tiles: to ask the system for a new megabyte takes as long as to fill it."""
    rows = ROWS if head.hidden.is_cpu else ROWS_ELSEWHERE
    size = min(rows, head.hidden.shape[0] + UNIT) * min(tokens_of_tile(head), head.num_tokens)
    return torch.empty(size, dtype=head.dtype, device=head.hidden.device)


def tile_of(head: Head, rows: Rows, tokens: slice, room: Tensor) -> Tile:
    """Return a tile, whose logits may lie in the memory `room`."""
    weight, bias = head.weight[tokens].to(head.dtype), head.bias
    if bias.numel():
        bias = bias[tokens].to(head.dtype)
    before, after = (0, 0) if head.cut is None else _tokens_of_others(head, tokens)
    if not before and not after:
        table = _product(rows, weight, bias, room)
    else:
        bias = functional.pad(bias, (before, after)) if bias.numel() else bias
        table = _product(rows, functional.pad(weight, (0, 0, before, after)), bias, room)
        table = table.narrow(1, before, weight.shape[0]).contiguous()
    return Tile(tokens, weight, *_finished(table, rows.temperature, head.softcap))


def _product(rows: Rows, weight: Tensor, bias: Tensor, room: Tensor) -> Tensor:
    table = room[: rows.hidden.shape[0] * weight.shape[0]].view(-1, weight.shape[0])
    if bias.numel():
        return torch.addmm(bias, rows.hidden, weight.t(), out=table)
    return torch.mm(rows.hidden, weight.t(), out=table)


def _tokens_of_others(head: Head, tokens: slice) -> tuple[int, int]:
    """Return how many tokens of a tile other processes have, before and after those of this process."""
    place, size = in_whole(head, tokens), tokens_of_tile(head)
    first = place.start // size * size
    return place.start - first, min(first + size, head.num_tokens) - place.stop


def new_slopes(head: Head, needed: Sequence[bool]) -> tuple[Tensor, ...]:
    """Return zeros for the gradients of hidden, weight, bias and temperature; empty where they are not needed."""
    return tuple(
        torch.zeros(t.shape if is_needed else (0,), dtype=head.dtype, device=t.device)
        for t, is_needed in zip(head[:4], needed, strict=True)
    )


def add_slopes(
    slopes: Sequence[Tensor], needed: Sequence[bool], rows: Rows, tile: Tile, maximum: Tensor, slope: Tensor
) -> None:
    """Add to the gradients of `new_slopes` what comes from a tile, by the gradient of its logits.

    The slope of a row sums to 0 over all tokens, so the temperature may see the logits less their maximum.
    """
    if needed[3]:
        shifted = lifted(tile.logits - rows.padded(maximum)[:, None])
        slopes[3][rows.chosen] -= (slope * shifted).sum(-1)[: rows.size] / rows.temperature[: rows.size]
    if rows.temperature.numel():
        slope = slope / rows.temperature[:, None]
    if tile.tanh is not None:
        slope = slope * (1 - tile.tanh) * (1 + tile.tanh)
    if needed[0] and isinstance(rows.chosen, slice):
        slopes[0][rows.chosen].addmm_(slope[: rows.size], tile.weight)
    elif needed[0] and isinstance(rows.chosen, Tensor):
        slopes[0].index_add_(0, rows.chosen, slope[: rows.size] @ tile.weight)
    if needed[1]:
        slopes[1][tile.tokens].addmm_(slope.t(), rows.hidden)
    if needed[2]:
        slopes[2][tile.tokens] += slope.sum(0)


# ------------------------------------------------------------------------------------------------------ sums over tiles
class Terms(NamedTuple):
    """The terms of a softmax of each row, relative to its largest logit."""

    maximum: Tensor  # the largest logit; NaN if it is NaN or +inf, the lowest float in a row without support
    argmax: Tensor  # its first position
    rest: Tensor  # the sum of exp(logit - maximum) of the others, float64
    tilt: Tensor  # the sum of exp(logit - maximum) (logit - maximum), float64


def terms_of_tile(table: Tensor, first: int) -> Terms:
    """Return the terms of a tile whose first token is `first`.

    >>> terms_of_tile(torch.tensor([[1.0, 3.0]]), 512).argmax
    tensor([513])
    """
    top, index = table.max(-1)
    maximum = top.nan_to_num(math.nan, math.nan, torch.finfo(top.dtype).min)
    shifted = table - maximum[:, None]
    weights = shifted.exp().scatter(-1, index[:, None], 0.0 * maximum[:, None])  # NaN if the maximum is
    tilt = (weights * lifted(shifted)).sum(-1, dtype=torch.float64)
    return Terms(maximum, index + first, weights.sum(-1, dtype=torch.float64), tilt)


def joined(before: Terms, after: Terms) -> Terms:
    """Return the terms of a row from those of its two parts."""
    is_after = (after.maximum > before.maximum) | (after.maximum.isnan() & ~before.maximum.isnan())
    high, low = (
        Terms(*(torch.where(is_after, *pair) for pair in zip(a, b, strict=True)))
        for a, b in ((after, before), (before, after))
    )
    shift = low.maximum.double() - high.maximum
    factor = shift.exp()
    total = low.rest + has_support(low.maximum)  # the maximum of the lower part is one of the others now
    return Terms(high.maximum, high.argmax, high.rest + factor * total, high.tilt + factor * (low.tilt + total * shift))


# --- The operations on a tile, for which `kernels` has others --------------------------------------------------------
def new_terms(count: int, like: Tensor) -> Terms:
    """Return the terms of rows without support."""
    maximum = torch.full((count,), torch.finfo(like.dtype).min, dtype=like.dtype, device=like.device)
    index = torch.zeros(count, dtype=torch.int64, device=like.device)
    return Terms(maximum, index, *(torch.zeros(count, dtype=torch.float64, device=like.device) for _ in range(2)))


def add_terms_by_tensors(
    logits: Tensor,
    first: int,
    maximum: Tensor,
    index: Tensor,
    rest: Tensor,
    tilt: Tensor,
    tokens: Tensor,
    picked: Tensor,
) -> None:
    """Join the terms of a tile, whose first token is `first`, with those before, and pick logits, in place.

    Args:
        logits: The tile, of shape (N, K).
        first: Its first token.
        maximum: The field of `Terms`, as the next three.
        index: The field `argmax`.
        rest: The same.
        tilt: The same.
        tokens: Tokens of any tile, of shape (N, S).
        picked: The logits of those that are in this tile or one before, of shape (N, S).
    """
    before = Terms(maximum, index, rest, tilt)
    for into, result in zip(before, joined(before, terms_of_tile(logits, first)), strict=True):
        into.copy_(result)
    place, is_inside = places(tokens, slice(first, first + logits.shape[-1]))
    picked.copy_(torch.where(is_inside, logits.gather(-1, place), picked))


def places(token: Tensor, of_tile: slice) -> tuple[Tensor, Tensor]:
    """Return the columns of tokens in a tile, and which tokens are in it.

    >>> places(torch.tensor([3, 9]), slice(2, 6))
    (tensor([1, 3]), tensor([ True, False]))
    """
    size = of_tile.stop - of_tile.start
    place = token - of_tile.start
    return place.clamp(0, size - 1), (place >= 0) & (place < size)


def weigh_by_tensors(logits: Tensor, maximum: Tensor, constant: Tensor, factor: Tensor) -> None:
    """Replace logits by exp(x) (constant + factor x), x = logit - maximum, in place."""
    shifted = logits - maximum[:, None]
    torch.addcmul(constant[:, None], factor[:, None], lifted(shifted), out=logits)
    logits.mul_(shifted.exp())


library = torch.library.Library("functional_dists", "FRAGMENT")
library.define(
    "linear_add_terms(Tensor logits, int first, Tensor(a!) maximum, Tensor(b!) index, Tensor(c!) rest, "
    "Tensor(d!) tilt, Tensor tokens, Tensor(e!) picked) -> ()"
)
library.define("linear_weigh(Tensor(a!) logits, Tensor maximum, Tensor constant, Tensor factor) -> ()")
library.impl("linear_add_terms", add_terms_by_tensors, "CompositeExplicitAutograd")
library.impl("linear_weigh", weigh_by_tensors, "CompositeExplicitAutograd")
add_terms: Callable[..., None] = torch.ops.functional_dists.linear_add_terms.default
weigh: Callable[..., None] = torch.ops.functional_dists.linear_weigh.default
