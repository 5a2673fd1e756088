"""Log-probabilities and entropies of a head, `linear_head`, in the memory of one tile, forward and backward.

The forward pass multiplies each tile once, and keeps the terms of a softmax relative to the largest logit so far. The
backward pass multiplies each tile again. Second derivatives and forward mode use the whole table.

The passes are operations of `torch.library`, which `torch.compile` leaves as they are. With those, compiled code takes
the memory of one tile too.

Where a process has a part of the vocabulary, the operations are of that part, with the numbers of tokens of the whole.
One collective joins the terms, the backward pass needs none. Second derivatives use a table of that part.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from functional_dists.special import linear_parts, softmax, softmax_parts
from functional_dists.special.axis import Cut
from functional_dists.special.constant import is_forward_mode
from functional_dists.special.lanes import lanes
from functional_dists.special.linear_head import (
    Head,
    Terms,
    add_slopes,
    add_terms,
    head_of,
    in_whole,
    logits,
    new_slopes,
    new_terms,
    places,
    room_of,
    row_blocks,
    span_of,
    tile_of,
    token_ranges,
    weigh,
)
from functional_dists.special.row_parts import has_support


def log_prob_and_entropy(head: Head, value: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of tokens ``(N, S)`` and entropies ``(N,)`` of a head's N rows.

    A token that does not exist has log-probability -inf, with gradient 0.

    Args:
        head: The head.
        value: Tokens, int64, of shape (N, S).
        counted: Bool, of shape (N,), or empty to count all. Rows that are not counted are not multiplied; they give 0.

    >>> head = Head(torch.zeros(1, 2), torch.zeros(4, 2), torch.zeros(4), torch.empty(0), 0.0)
    >>> log_prob_and_entropy(head, torch.tensor([[3, 4]]), torch.empty(0, dtype=torch.bool))
    (tensor([[-1.3863,    -inf]]), tensor([1.3863]))
    """
    if is_forward_mode():
        return _of_table(head, value, counted)
    if torch.compiler.is_compiling():
        _prepare_compiler()
    return _apply(*head, value, counted)


def terms(head: Head, counted: Tensor) -> Terms:
    """Return the terms of a softmax of each row, without derivatives; 0 in a row that is not counted."""
    value = torch.empty((head.hidden.shape[0], 0), dtype=torch.int64, device=head.hidden.device)
    head = head_of([t.detach() for t in head[:4]], head.softcap, head.cut)
    return Terms(*terms_and_logits([head], value, counted)[0][:4])


def terms_and_logits(heads: Sequence[Head], value: Tensor, counted: Tensor) -> list[tuple[Tensor, ...]]:
    """Return for each head the terms of whole rows, as a tuple, and the logits of tokens ``(N, S)``."""
    parts = [_terms(*head[:4], value, counted, head.softcap, *span_of(head.cut)) for head in heads]
    cut = heads[0].cut
    return parts if cut is None else linear_parts.joined_terms(parts, counted, cut)


def _of_table(head: Head, value: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the results by the whole table, with all derivatives."""
    table = logits(head, counted)
    if head.cut is None:
        log_prob, entropy = softmax.log_prob(table, None, value.T).T, softmax.entropy(table, None)
    else:
        log_prob, entropy = softmax_parts.log_prob_and_entropy(table, None, value.T, head.cut)
        log_prob = log_prob.T
    if counted.numel():
        log_prob, entropy = torch.where(counted[:, None], log_prob, 0.0), torch.where(counted, entropy, 0.0)
    return log_prob, entropy


# ---------------------------------------------------------------------------------------------------------- derivatives
def _apply(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    temperature: Tensor,
    softcap: float,
    cut: Cut | None,
    value: Tensor,
    counted: Tensor,
) -> tuple[Tensor, Tensor]:
    arguments = (hidden, weight, bias, temperature, value, counted, softcap, cut)
    log_prob, entropy, *_ = cast(Any, _Score).apply(*arguments)
    return log_prob, entropy


def _prepare_compiler() -> None:
    # The compiler would trace the forward pass of an autograd.Function inside `torch.func.grad` without its derivative.
    torch.compiler.allow_in_graph(_apply)


# The effect of `torch.compiler.assume_constant_result`, whose import takes as long as that of PyTorch.
_prepare_compiler._dynamo_marked_constant = True  # type: ignore[attr-defined]


class _Score(torch.autograd.Function):
    """Log-probabilities, entropies, and the terms that the backward pass needs."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        *tensors, value, counted, softcap, cut = arguments
        head = head_of(tensors, softcap, cut)
        maximum, index, rest, tilt, picked = terms_and_logits([head], value, counted)[0]
        log_total = torch.log1p(rest)
        # At the maximum the difference is 0, also where the maximum is not finite.
        difference = torch.where(value == index[:, None], 0.0 * maximum[:, None], picked - maximum[:, None])
        log_prob = (difference.double() - log_total[:, None]).to(picked.dtype)
        entropy = (log_total - tilt / (1 + rest)).to(picked.dtype)
        return log_prob, entropy, maximum, index, rest, tilt

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.softcap, ctx.cut = inputs
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(*tensors, output[0], *output[2:])

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor | None, ...]:
        saved, needed = ctx.saved_tensors, ctx.needs_input_grad[:4]
        inputs, forward = saved[:6], saved[6:]
        if is_forward_mode():
            results = _slopes_of_table(inputs[:4], inputs[4], inputs[5], ctx.softcap, ctx.cut, slopes[:2])
        else:
            results = cast(Any, _Slopes).apply(*inputs, *forward, *slopes[:2], ctx.softcap, ctx.cut, needed)
        return *(r if is_needed else None for r, is_needed in zip(results, needed, strict=True)), *[None] * 4


class _Slopes(torch.autograd.Function):
    """The gradients of log-probabilities and entropies."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        *tensors, softcap, cut, needed = arguments
        return cast(tuple[Tensor, ...], _slopes(*tensors, softcap, *span_of(cut), list(needed)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.softcap, ctx.cut, ctx.needed = inputs
        ctx.save_for_backward(*tensors[:6], *tensors[-2:])

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Any, ...]:
        *inputs, by_log_prob, by_entropy = ctx.saved_tensors
        value, counted = inputs[4:]

        def function(*moving: Tensor) -> tuple[Tensor, ...]:
            gradients = _slopes_of_table(moving[:4], value, counted, ctx.softcap, ctx.cut, moving[4:])
            return tuple(g for g, is_needed in zip(gradients, ctx.needed, strict=True) if is_needed)

        pull = torch.func.vjp(function, *inputs[:4], by_log_prob, by_entropy)[1]
        results = pull(tuple(s for s, is_needed in zip(slopes, ctx.needed, strict=True) if is_needed))
        return (*results[:4], *[None] * 7, *results[4:], None, None, None)


def _slopes_of_table(
    tensors: Any, value: Tensor, counted: Tensor, softcap: float, cut: Cut | None, slopes: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return the gradients of the four tensors of a head by the whole table."""

    def function(*moving: Tensor) -> tuple[Tensor, Tensor]:
        return _of_table(head_of(moving, softcap, cut), value, counted)

    return cast(tuple[Tensor, ...], torch.func.vjp(function, *tensors)[1](slopes))


# --- The operations --------------------------------------------------------------------------------------------------
_library = torch.library.Library("functional_dists", "FRAGMENT")
_HEAD = "Tensor hidden, Tensor weight, Tensor bias, Tensor temperature"
_OPTIONS = "float softcap, int offset, int count"  # the last two are the `span` of the head
_library.define(
    f"linear_terms({_HEAD}, Tensor value, Tensor counted, {_OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_library.define(
    f"linear_slopes({_HEAD}, Tensor value, Tensor counted, Tensor log_prob, Tensor maximum, Tensor index, Tensor rest, "
    f"Tensor tilt, Tensor by_log_prob, Tensor by_entropy, {_OPTIONS}, bool[] needed) "
    "-> (Tensor, Tensor, Tensor, Tensor)"
)


def _terms_by_tiles(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    temperature: Tensor,
    value: Tensor,
    counted: Tensor,
    softcap: float,
    *span: int,
) -> tuple[Tensor, ...]:
    """Return the `Terms` of all rows and the logits of `value`, -inf for tokens that are not there."""
    head = head_of((hidden, weight, bias, temperature), softcap, span=span)
    results, room = _new_terms(head, value), room_of(head)
    for rows in row_blocks(head, counted):
        tokens = rows.padded(value, -1).contiguous()
        logit = torch.full(tokens.shape, -torch.inf, dtype=head.dtype, device=hidden.device)
        total = new_terms(len(rows.hidden), logit)
        for of_tile in token_ranges(head):
            table = tile_of(head, rows, of_tile, room).logits
            add_terms(table, head.offset + of_tile.start, *total, tokens, logit)
        for result, part in zip(results, (*total, logit), strict=True):
            result[rows.chosen] = part[: rows.size]
    return results


def _new_terms(head: Head, value: Tensor) -> tuple[Tensor, ...]:
    count = head.hidden.shape[:1]
    kinds = (head.dtype, torch.int64, torch.float64, torch.float64)
    terms = (torch.zeros(count, dtype=dtype, device=value.device) for dtype in kinds)
    return *terms, torch.zeros(value.shape, dtype=head.dtype, device=value.device)


def _slopes_by_tiles(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    temperature: Tensor,
    value: Tensor,
    counted: Tensor,
    log_prob: Tensor,
    maximum: Tensor,
    index: Tensor,
    rest: Tensor,
    tilt: Tensor,
    by_log_prob: Tensor,
    by_entropy: Tensor,
    softcap: float,
    offset: int,
    count: int,
    needed: list[bool],
) -> tuple[Tensor, ...]:
    """Return the gradients of hidden, weight, bias and temperature; empty where they are not needed.

    By logit j the slope is p_j (c + d (logit_j - maximum)), plus that of the log-probability where j is the token. The
    slope at the maximum is computed apart, from the rest, since 1 - p cancels there.
    """
    head = head_of((hidden, weight, bias, temperature), softcap, span=(offset, count))
    results, room = new_slopes(head, needed), room_of(head)
    by_log_prob = torch.where(log_prob == -torch.inf, 0.0, by_log_prob).double()
    by_total, by_top = by_log_prob.sum(-1), torch.where(value == index[:, None], by_log_prob, 0.0).sum(-1)
    scale = has_support(maximum) / (1 + rest)
    by_mean = by_entropy * tilt * scale
    constant = (scale * (by_mean - by_total)).to(head.dtype)
    factor = (-scale * by_entropy).to(head.dtype)
    at_top = (scale * (by_top * rest - (by_total - by_top) + by_mean)).to(head.dtype)
    by_other = torch.where(value == index[:, None], 0.0, by_log_prob).to(head.dtype)
    for of_tile in token_ranges(head):
        for rows in row_blocks(head, counted):
            tile = tile_of(head, rows, of_tile, room)
            slope = tile.logits.clone() if needed[3] else tile.logits
            weigh(slope, rows.padded(maximum), rows.padded(constant), rows.padded(factor))
            place, is_inside = places(rows.padded(value, -1), in_whole(head, of_tile))
            slope.scatter_add_(-1, place, torch.where(is_inside, rows.padded(by_other), 0.0))
            place, is_inside = places(rows.padded(index)[:, None], in_whole(head, of_tile))
            top = torch.where(is_inside, rows.padded(at_top)[:, None], slope.gather(-1, place))
            slope.scatter_(-1, place, top)
            add_slopes(results, needed, rows, tile, maximum, slope)
    return tuple(r.to(t.dtype) for r, t in zip(results, head[:4], strict=True))


def _fake_terms(*arguments: Any) -> tuple[Tensor, ...]:
    return _new_terms(head_of(arguments[:4], 0.0), arguments[4])


def _fake_slopes(*arguments: Any) -> tuple[Tensor, ...]:
    slopes = new_slopes(head_of(arguments[:4], 0.0), arguments[-1])
    return tuple(s.to(t.dtype) for s, t in zip(slopes, arguments, strict=False))


_terms: Callable[..., Any] = torch.ops.functional_dists.linear_terms.default
_slopes: Callable[..., Any] = torch.ops.functional_dists.linear_slopes.default
for _name, _op, _function, _fake, _flags in (
    ("linear_terms", _terms, _terms_by_tiles, _fake_terms, None),
    ("linear_slopes", _slopes, _slopes_by_tiles, _fake_slopes, 16),
):
    _library.impl(_name, _function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"functional_dists::{_name}", _fake, lib=_library)
    torch.library.register_vmap(f"functional_dists::{_name}", lanes(_op, (1, 2), _flags), lib=_library)
