"""The divergence KL(p || q) of the rows of two heads, `linear_head`, in the memory of a few tiles.

The first pass finds the normalisers of p and q. The second adds up p (exp(-r) - 1 + r), r = log p - log q, of which no
term is negative. The backward pass multiplies each tile again. Its slopes are p (r - KL) by a logit of p, and q - p =
p (exp(-r) - 1) by one of q. Second derivatives and forward mode use the whole tables.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from functional_dists.special import softmax_parts
from functional_dists.special.axis import Cut, reduced
from functional_dists.special.constant import is_forward_mode
from functional_dists.special.elementary import expm1_minus
from functional_dists.special.lanes import lanes
from functional_dists.special.linear_head import (
    Head,
    Rows,
    Terms,
    Tile,
    add_slopes,
    head_of,
    logits,
    new_slopes,
    room_of,
    row_blocks,
    span_of,
    tile_of,
    token_ranges,
)
from functional_dists.special.linear_score import terms_and_logits
from functional_dists.special.row_parts import has_support
from functional_dists.special.softmax_divergence import softmax_kl


def kl(p: Head, q: Head, counted: Tensor) -> Tensor:
    """Return KL(p || q) of N rows ``(N,)``; 0 in a row that is not counted.

    It is +inf where p has a token that q has not. The hidden sizes of p and q may differ.

    >>> def head(bias):
    ...     return Head(torch.zeros(1, 2), torch.zeros(2, 2), torch.tensor(bias), torch.empty(0), 0.0)
    >>> kl(head([0.0, 0.0]), head([0.0, 1.0]), torch.empty(0, dtype=torch.bool))
    tensor([0.1201])
    """
    if is_forward_mode():
        return _of_tables(p, q, counted)
    if torch.compiler.is_compiling():
        _prepare_compiler()
    return _apply(*p, *q, counted)


def _of_tables(p: Head, q: Head, counted: Tensor) -> Tensor:
    """Return the divergence by whole tables, with all derivatives."""
    tables = logits(p, counted), logits(q, counted)
    if p.cut is None:
        divergence = softmax_kl(tables[0], None, tables[1], None)
    else:
        divergence = softmax_parts.kl(tables[0], None, tables[1], None, p.cut)
    return torch.where(counted, divergence, 0.0) if counted.numel() else divergence


# ---------------------------------------------------------------------------------------------------------- derivatives
def _apply(*arguments: Any) -> Tensor:
    *of_p, p_softcap, cut = arguments[:6]
    *of_q, q_softcap, _ = arguments[6:12]
    return cast(Tensor, cast(Any, _Divergence).apply(*of_p, *of_q, arguments[-1], p_softcap, q_softcap, cut)[0])


def _prepare_compiler() -> None:
    torch.compiler.allow_in_graph(_apply)  # as in `linear_score`


_prepare_compiler._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _heads(arguments: Any, softcaps: Any, cut: Cut | None = None, span: Sequence[int] = (0, 0)) -> tuple[Head, Head]:
    return head_of(arguments[:4], softcaps[0], cut, span), head_of(arguments[4:8], softcaps[1], cut, span)


class _Divergence(torch.autograd.Function):
    """The divergence, and the normalisers that the backward pass needs."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        *tensors, counted, p_softcap, q_softcap, cut = arguments
        p, q = _heads(tensors, (p_softcap, q_softcap), cut)
        no_value = torch.empty((p.hidden.shape[0], 0), dtype=torch.int64, device=p.hidden.device)
        of_both = (Terms(*results[:4]) for results in terms_and_logits([p, q], no_value, counted))
        normalisers = tuple(t for terms in of_both for t in (terms.maximum, torch.log1p(terms.rest)))
        divergence = _sums(*tensors, counted, *normalisers, p_softcap, q_softcap, *span_of(cut))
        divergence = divergence if cut is None else reduced(divergence, "sum", [cut])
        dtype = torch.promote_types(p.dtype, q.dtype)
        return divergence.to(dtype, copy=True), divergence, *normalisers

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, p_softcap, q_softcap, ctx.cut = inputs
        ctx.softcaps = (p_softcap, q_softcap)
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*tensors, *output[1:])

    @staticmethod
    def backward(ctx: Any, slope: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        saved, needed = ctx.saved_tensors, ctx.needs_input_grad[:8]
        if is_forward_mode():
            results = _slopes_of_tables(saved[:9], ctx.softcaps, ctx.cut, slope)
        else:
            results = cast(Any, _Slopes).apply(*saved, slope, *ctx.softcaps, ctx.cut, needed)
        return *(r if is_needed else None for r, is_needed in zip(results, needed, strict=True)), *[None] * 4


class _Slopes(torch.autograd.Function):
    """The gradients of the divergence."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        *tensors, cut, needed = arguments
        return cast(tuple[Tensor, ...], _slopes(*tensors, *span_of(cut), list(needed)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, p_softcap, q_softcap, ctx.cut, ctx.needed = inputs
        ctx.softcaps = (p_softcap, q_softcap)
        ctx.save_for_backward(*tensors[:9], tensors[-1])

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Any, ...]:
        *inputs, slope = ctx.saved_tensors

        def function(*moving: Tensor) -> tuple[Tensor, ...]:
            gradients = _slopes_of_tables((*moving[:8], inputs[8]), ctx.softcaps, ctx.cut, moving[8])
            return tuple(g for g, is_needed in zip(gradients, ctx.needed, strict=True) if is_needed)

        pull = torch.func.vjp(function, *inputs[:8], slope)[1]
        results = pull(tuple(s for s, is_needed in zip(slopes, ctx.needed, strict=True) if is_needed))
        return (*results[:8], *[None] * 6, results[8], None, None, None, None)


def _slopes_of_tables(tensors: Any, softcaps: Any, cut: Cut | None, slope: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients by whole tables."""
    pull = torch.func.vjp(lambda *moving: _of_tables(*_heads(moving, softcaps, cut), tensors[8]), *tensors[:8])[1]
    return cast(tuple[Tensor, ...], pull(slope))


# --- The operations --------------------------------------------------------------------------------------------------
_library = torch.library.Library("functional_dists", "FRAGMENT")
_HEADS = ", ".join(f"Tensor {side}_{name}" for side in "pq" for name in ("hidden", "weight", "bias", "temperature"))
_NORMALISERS = "Tensor p_maximum, Tensor p_log_total, Tensor q_maximum, Tensor q_log_total"
_OPTIONS = "float p_softcap, float q_softcap, int offset, int count"
_library.define(f"linear_kl({_HEADS}, Tensor counted, {_NORMALISERS}, {_OPTIONS}) -> Tensor")
_library.define(
    f"linear_kl_slopes({_HEADS}, Tensor counted, Tensor divergence, {_NORMALISERS}, Tensor slope, {_OPTIONS}, "
    f"bool[] needed) -> ({', '.join(['Tensor'] * 8)})"
)


def _ratios(
    p: Tile, q: Tile, p_rows: Rows, q_rows: Rows, normalisers: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return r, p, q, and the masks of both supports and of that of q, in float64."""
    p_maximum, p_log_total, q_maximum, q_log_total = (p_rows.padded(t)[:, None] for t in normalisers)
    log_p = p.logits.double() - p_maximum - p_log_total
    log_q = q.logits.double() - q_maximum - q_log_total
    in_p, in_q = log_p > -torch.inf, log_q > -torch.inf
    both = in_p & in_q
    ratio = torch.where(both, log_p, 0.0).sub_(torch.where(both, log_q, 0.0))
    return ratio, log_p.exp(), log_q.exp(), both, in_q


def _sums_by_tiles(*arguments: Any) -> Tensor:
    """Return the divergences of all rows in float64."""
    *tensors, p_softcap, q_softcap, offset, count = arguments
    p, q = _heads(tensors, (p_softcap, q_softcap), span=(offset, count))
    counted, normalisers, rooms = tensors[8], tensors[9:], (room_of(p), room_of(q))
    divergence = torch.zeros(p.hidden.shape[:1], dtype=torch.float64, device=p.hidden.device)
    for p_rows, q_rows in zip(row_blocks(p, counted), row_blocks(q, counted), strict=True):
        total = torch.zeros(p_rows.hidden.shape[:1], dtype=torch.float64, device=divergence.device)
        for tokens in token_ranges(p):
            tiles = tile_of(p, p_rows, tokens, rooms[0]), tile_of(q, q_rows, tokens, rooms[1])
            ratio, of_p, of_q, both, in_q = _ratios(*tiles, p_rows, q_rows, normalisers)
            is_near = ratio.abs() < 1
            near = of_p * expm1_minus(-torch.where(is_near, ratio, 0.0))
            inside = torch.where(both, torch.where(is_near, near, of_q - of_p + of_p * ratio), 0.0)
            outside = torch.where(in_q & ~both, of_q, 0.0)
            is_missed = ~both & (of_p > 0)
            total += (inside + outside).sum(-1) + torch.where(is_missed.any(-1), torch.inf, 0.0)
        divergence[p_rows.chosen] = total[: p_rows.size]
    is_defined = has_support(normalisers[0]) & has_support(normalisers[2])
    return torch.where(is_defined, divergence, 0.0) + 0.0 * (normalisers[1] + normalisers[3])  # NaN beside a NaN


def _slopes_by_tiles(*arguments: Any) -> tuple[Tensor, ...]:
    *tensors, slope, p_softcap, q_softcap, offset, count, needed = arguments
    p, q = _heads(tensors, (p_softcap, q_softcap), span=(offset, count))
    counted, divergence, normalisers, rooms = tensors[8], tensors[9], tensors[10:], (room_of(p), room_of(q))
    results = (*new_slopes(p, needed[:4]), *new_slopes(q, needed[4:]))
    is_flat = ~(has_support(normalisers[0]) & has_support(normalisers[2])) | (divergence == torch.inf)
    slope = torch.where(is_flat, 0.0, slope.double())
    divergence = torch.where(is_flat, 0.0, divergence)
    for tokens in token_ranges(p):
        for p_rows, q_rows in zip(row_blocks(p, counted), row_blocks(q, counted), strict=True):
            tiles = tile_of(p, p_rows, tokens, rooms[0]), tile_of(q, q_rows, tokens, rooms[1])
            ratio, of_p, of_q, both, in_q = _ratios(*tiles, p_rows, q_rows, normalisers)
            factor = p_rows.padded(slope)[:, None]
            by_p = torch.where(both, factor * of_p * (ratio - p_rows.padded(divergence)[:, None]), 0.0)
            is_near = ratio.abs() < 1
            near = of_p * torch.expm1(-torch.where(is_near, ratio, 0.0))
            by_q = torch.where(both & is_near, near, torch.where(both, of_q - of_p, of_q))
            by_q = torch.where(in_q, factor * by_q, 0.0)
            add_slopes(results[:4], needed[:4], p_rows, tiles[0], normalisers[0], by_p.to(p.dtype))
            add_slopes(results[4:], needed[4:], q_rows, tiles[1], normalisers[2], by_q.to(q.dtype))
    return tuple(r.to(t.dtype) for r, t in zip(results, (*p[:4], *q[:4]), strict=True))


def _fake_sums(*arguments: Any) -> Tensor:
    hidden = arguments[0]
    return hidden.new_empty(hidden.shape[:1], dtype=torch.float64)


def _fake_slopes(*arguments: Any) -> tuple[Tensor, ...]:
    p, q = _heads(arguments, (0.0, 0.0))
    slopes = (*new_slopes(p, arguments[-1][:4]), *new_slopes(q, arguments[-1][4:]))
    return tuple(s.to(t.dtype) for s, t in zip(slopes, arguments, strict=False))


_sums: Callable[..., Any] = torch.ops.functional_dists.linear_kl.default
_slopes: Callable[..., Any] = torch.ops.functional_dists.linear_kl_slopes.default
for _name, _op, _function, _fake, _flags in (
    ("linear_kl", _sums, _sums_by_tiles, _fake_sums, None),
    ("linear_kl_slopes", _slopes, _slopes_by_tiles, _fake_slopes, 19),
):
    _library.impl(_name, _function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"functional_dists::{_name}", _fake, lib=_library)
    torch.library.register_vmap(f"functional_dists::{_name}", lanes(_op, (1, 2, 5, 6), _flags), lib=_library)
