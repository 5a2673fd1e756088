"""Softmax rows whose last axis is cut among processes: log-probs, entropies, divergences and draws.

Every process holds a part of each row. Results are those of `softmax` for the whole row, the same on all processes. The
sums over a row are in float64, so they hardly depend on the cut, and are rounded once. Log-probs and entropies need two
collectives of one number a row, a divergence and a draw three. Their gradients need none, second derivatives some.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from functional_dists.special import row_parts, softmax
from functional_dists.special.axis import Cut, gathered, reduced, shared, summed
from functional_dists.special.elementary import expm1_minus
from functional_dists.special.row_parts import has_support, lifted, shifted

__all__ = ["Top", "choose", "choose_and_score", "entropy", "kl", "log_prob", "log_prob_and_entropy", "mode", "terms"]


class Top(NamedTuple):
    """The largest logit of each row, over all processes."""

    maximum: Tensor  # (*B): NaN if it is NaN or +inf, the lowest float in a row without support
    argmax: Tensor  # (*B): its first position in the whole row


def log_prob(logits: Tensor, mask: Tensor | None, index: Tensor, cut: Cut) -> Tensor:
    """Return the log-probabilities of outcomes ``(*S, *B)``: -inf if they do not exist, NaN in a row with a NaN.

    >>> log_prob(torch.zeros(2), None, torch.tensor([0, 1, 2]), Cut((), (), 0, 0, 2))
    tensor([-0.6931, -0.6931,    -inf])
    """
    return log_prob_and_entropy(logits, mask, index, cut)[0]


def entropy(logits: Tensor, mask: Tensor | None, cut: Cut) -> Tensor:
    """Return the entropy ``(*B)`` in nats.

    >>> entropy(torch.zeros(2), None, Cut((), (), 0, 0, 2))
    tensor(0.6931)
    """
    batch = torch.broadcast_shapes(logits.shape, () if mask is None else mask.shape)[:-1]
    nothing = torch.zeros((0, *batch), dtype=torch.int64, device=logits.device)
    return log_prob_and_entropy(logits, mask, nothing, cut)[1]


def log_prob_and_entropy(logits: Tensor, mask: Tensor | None, index: Tensor, cut: Cut) -> tuple[Tensor, Tensor]:
    """Return what `log_prob` and `entropy` return.

    >>> log_prob_and_entropy(torch.zeros(2), None, torch.tensor(1), Cut((), (), 0, 0, 2))
    (tensor(-0.6931), tensor(0.6931))
    """
    table = _part(logits, mask)
    index = index.long()
    index = index.expand(torch.broadcast_shapes(index.shape, table.shape[:-1]))
    top = _top(table, cut)
    rest, tilt, picked = _sums(table.detach(), top, index, cut)
    result = cast(Any, _Score).apply(table, index, *top, rest, tilt, picked, cut)
    return cast(tuple[Tensor, Tensor], result)


def mode(logits: Tensor, mask: Tensor | None, cut: Cut) -> Tensor:
    """Return the index ``(*B)`` of the largest logit of the support, the first of equals.

    >>> mode(torch.tensor([1.0, 3.0, 3.0]), None, Cut((), (), 0, 0, 3))
    tensor(1)
    """
    return _top(_part(logits, mask), cut).argmax


def terms(logits: Tensor, mask: Tensor | None, cut: Cut) -> "softmax.Terms":
    """Return the terms of this process's part. The largest logit is no exception here: its weight is 1.

    >>> terms(torch.tensor([1.0, 3.0]), None, Cut((), (), 0, 0, 2)).shifted
    tensor([-2.,  0.])
    """
    table = softmax.masked(logits, mask)
    support = table != -math.inf
    top = _top(_part(table, None), cut)
    maximum = top.maximum[..., None]
    differences = torch.where(support, table - maximum, 0.0)
    weights = torch.exp(differences) * support
    is_top = (torch.arange(table.shape[-1], device=table.device) + cut.offset) == top.argmax[..., None]
    of_others, of_top = torch.where(is_top, 0.0, weights), torch.where(is_top, weights, 0.0)
    parts = torch.stack([part.sum(-1, dtype=torch.float64) for part in (of_others, of_top)])
    others, one = shared(summed(parts, [cut]), [cut])
    rest = others + torch.where(has_support(top.maximum), one - 1, 0.0) + 0.0 * top.maximum
    return softmax.Terms(
        support, torch.zeros_like(support), maximum, differences, weights, rest.to(table.dtype)[..., None]
    )


def kl(p_logits: Tensor, p_mask: Tensor | None, q_logits: Tensor, q_mask: Tensor | None, cut: Cut) -> Tensor:
    """Return the divergence KL(p || q) ``(*B)`` in nats, +inf where p has an outcome that q has not.

    With r = log p - log q, in float64, it is the sum of p (exp(-r) - 1 + r) over both supports, and of q outside p's.

    >>> kl(torch.zeros(2), None, torch.tensor([0.0, 1.0]), None, Cut((), (), 0, 0, 2))
    tensor(0.1201)
    """
    p, q = torch.broadcast_tensors(_part(p_logits, p_mask), _part(q_logits, q_mask))
    tops = gathered(torch.stack([_local_maximum(p), _local_maximum(q)]), cut)
    maxima = _finite_or_nan(tops.amax(0).to(p.dtype))
    differences = [shifted(table.detach(), maximum).double() for table, maximum in zip((p, q), maxima, strict=True)]
    totals = reduced(torch.stack([x.exp().sum(-1) for x in differences]), "sum", [cut])
    log_p, log_q = (x - total.log()[..., None] for x, total in zip(differences, totals, strict=True))
    ratio, in_both, in_q = _ratio(log_p, log_q)
    near, far = log_p.exp() * expm1_minus(-torch.where(ratio.abs() < 1, ratio, 0.0)), log_q.exp() - log_p.exp()
    inside = torch.where(ratio.abs() < 1, near, far + log_p.exp() * ratio)
    terms = torch.where(in_both, inside, torch.where(in_q, log_q.exp(), 0.0)).sum(-1)
    is_missed = ((log_p > -math.inf) & ~in_q).any(-1)
    divergence, missed = reduced(torch.stack([terms, is_missed.double()]), "sum", [cut])
    is_defined = has_support(maxima).all(0)
    divergence = torch.where(missed > 0, math.inf, torch.where(is_defined, divergence, 0.0)) + (0.0 * maxima).sum(0)
    return cast(Tensor, cast(Any, _Divergence).apply(p, q, divergence, *maxima, *totals, cut))


# --------------------------------------------------------------------------------------------------------------- draws
def choose(logits: Tensor, mask: Tensor | None, uniform: Tensor, cut: Cut) -> Tensor:
    """Choose an outcome in each row by uniform draws ``(*S, *B)``, float64, as `choice.choose_by_logits` does.

    >>> choose(torch.zeros(2), None, torch.tensor([0.2, 0.7], dtype=torch.float64), Cut((), (), 0, 0, 2))
    tensor([0, 1])
    """
    table = _part(logits, mask).detach()
    token, _ = _chosen(table, _top(table, cut), uniform, [], cut)
    return token


def choose_and_score(logits: Tensor, mask: Tensor | None, uniform: Tensor, cut: Cut) -> tuple[Tensor, Tensor]:
    """Return the choice of `choose` and its log-probability.

    >>> choose_and_score(torch.zeros(2), None, torch.tensor(0.7, dtype=torch.float64), Cut((), (), 0, 0, 2))
    (tensor(1), tensor(-0.6931))
    """
    table = _part(logits, mask)
    top = _top(table, cut)
    token, (rest, tilt, picked) = _chosen(table.detach(), top, uniform, _row_sums(table.detach(), top, cut), cut)
    log_prob, _ = cast(Any, _Score).apply(table, token, *top, rest, tilt, picked, cut)
    return token, log_prob


def _chosen(
    table: Tensor, top: Top, uniform: Tensor, sums: Sequence[Tensor], cut: Cut
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the choices, the totals of further sums of rows, and the logits of the choices."""
    units = row_parts.units(table, top.maximum, cut.length)
    of_parts = gathered(torch.stack([units, *sums]), cut)  # (world, 1 + sums, *B)
    ends = of_parts[:, 0].cumsum(0)
    batch = math.prod(table.shape[:-1])
    target = (uniform * ends[-1]).reshape(math.prod(uniform.shape) // max(batch, 1), *table.shape[:-1])
    before = ends[cut.rank - 1] if cut.rank else torch.zeros_like(ends[0])
    is_mine = (target >= before) & (target < ends[cut.rank])
    inside = torch.where(is_mine, target - before, -1.0).movedim(0, -1)
    place = row_parts.places(table, top.maximum, inside, cut.length).movedim(-1, 0)
    logit = _gather(table, place)
    found = torch.stack([torch.where(is_mine, place + cut.offset, 0).double(), torch.where(is_mine, logit, 0.0)])
    token, picked = reduced(found, "sum", [cut])
    picked = torch.where(ends[-1] > 0, picked, -math.inf)
    return token.long().reshape(uniform.shape), (*of_parts[:, 1:].sum(0), picked)


# ---------------------------------------------------------------------------------------------------------------- rows
def _part(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return the logits, -inf outside the support; a process without any has one that is outside."""
    table = softmax.masked(logits, mask)
    return table if table.shape[-1] else functional.pad(table, (0, 1), value=-math.inf)


def _local_maximum(table: Tensor) -> Tensor:
    return table.detach().amax(-1).double()


def _finite_or_nan(maximum: Tensor) -> Tensor:
    return maximum.nan_to_num(math.nan, math.nan, torch.finfo(maximum.dtype).min)


def _top(table: Tensor, cut: Cut) -> Top:
    largest, place = row_parts.tops(table.detach())
    tops, places = gathered(torch.stack([largest.double(), (place + cut.offset).double()]), cut).unbind(1)
    maximum = tops.amax(0)
    is_top = (tops == maximum) | tops.isnan()
    index = torch.where(is_top, places, math.inf).amin(0).long()
    return Top(_finite_or_nan(maximum.to(table.dtype)), index)


def _row_sums(table: Tensor, top: Top, cut: Cut) -> tuple[Tensor, Tensor]:
    """Return this process's sums of exp(x) and exp(x) x, x = logit - maximum, without the largest logit."""
    place, is_mine = _places(top.argmax, table, cut)
    return row_parts.sums(table, top.maximum, torch.where(is_mine, place, -1))


def _sums(table: Tensor, top: Top, index: Tensor, cut: Cut) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sums of rows over all processes, and the logits of outcomes ``(*S, *B)``."""
    place, is_mine = _places(index.reshape(-1, *table.shape[:-1]), table, cut)
    picked = torch.where(is_mine, _gather(table, place), 0.0).double()
    rest, tilt, *picks = reduced(torch.stack([*_row_sums(table, top, cut), *picked]), "sum", [cut])
    return rest, tilt, torch.stack(picks) if picks else picked


def _places(index: Tensor, table: Tensor, cut: Cut) -> tuple[Tensor, Tensor]:
    """Return the positions of outcomes in this process's part, and which it has."""
    size = table.shape[-1]
    place = index - cut.offset
    return place.clamp(0, size - 1), (place >= 0) & (place < size) & (index < cut.length)


def _gather(table: Tensor, place: Tensor) -> Tensor:
    """Return the entries of ``(*B, n)`` at ``(S, *B)``."""
    return table.gather(-1, place.movedim(0, -1)).movedim(-1, 0)


# --------------------------------------------------------------------------------------------------------- derivatives
class _Score(torch.autograd.Function):
    """Log-probabilities and entropies from the sums of rows."""

    @staticmethod
    def forward(
        table: Tensor,
        index: Tensor,
        maximum: Tensor,
        argmax: Tensor,
        rest: Tensor,
        tilt: Tensor,
        picked: Tensor,
        cut: Cut,
    ) -> tuple[Tensor, Tensor]:
        exists = (index >= 0) & (index < cut.length)
        difference = torch.where(exists, picked.reshape(index.shape) - maximum, -math.inf)
        difference = torch.where(maximum.isnan(), math.nan, difference)
        log_total = torch.log1p(rest)
        log_prob = (difference - log_total).to(table.dtype)
        return log_prob, (log_total - tilt / (1 + rest)).to(table.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        table, index, maximum, argmax, rest, tilt, _, ctx.cut = inputs
        ctx.save_for_backward(table, index, maximum, argmax, rest, tilt, output[0])

    @staticmethod
    def backward(ctx: Any, by_log_prob: Tensor, by_entropy: Tensor) -> tuple[Tensor | None, ...]:
        slope = cast(Any, _ScoreSlope).apply(*ctx.saved_tensors, by_log_prob, by_entropy, ctx.cut)
        return slope, *[None] * 7


class _ScoreSlope(torch.autograd.Function):
    """The gradient of log-probabilities and entropies by this process's part of the logits."""

    @staticmethod
    def forward(
        table: Tensor,
        index: Tensor,
        maximum: Tensor,
        argmax: Tensor,
        rest: Tensor,
        tilt: Tensor,
        log_prob: Tensor,
        by_log_prob: Tensor,
        by_entropy: Tensor,
        cut: Cut,
    ) -> Tensor:
        rows, dtype = table.shape[:-1], table.dtype
        index = index.reshape(-1, *rows)
        by_log_prob = torch.where(log_prob == -math.inf, 0.0, by_log_prob).double().reshape(-1, *rows)
        is_top = index == argmax
        by_total, by_top = by_log_prob.sum(0), torch.where(is_top, by_log_prob, 0.0).sum(0)
        scale = has_support(maximum) / (1 + rest)
        by_mean = by_entropy * tilt * scale
        constant, factor = scale * (by_mean - by_total), -scale * by_entropy
        at_top = scale * (by_top * rest - (by_total - by_top) + by_mean)  # 1 - p would cancel
        slope = row_parts.slopes(table, maximum, constant.to(dtype), factor.to(dtype))
        place, is_mine = _places(index, table, cut)
        by_others = torch.where(is_mine & ~is_top, by_log_prob, 0.0).to(dtype)
        slope.scatter_add_(-1, place.movedim(0, -1), by_others.movedim(0, -1))
        place, is_mine = (t[..., None] for t in _places(argmax, table, cut))
        return slope.scatter_(-1, place, torch.where(is_mine, at_top.to(dtype)[..., None], slope.gather(-1, place)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        table, index, maximum, *_, by_log_prob, by_entropy, ctx.cut = inputs
        ctx.save_for_backward(table, index, maximum, by_log_prob, by_entropy)

    @staticmethod
    def backward(ctx: Any, move: Tensor) -> tuple[Tensor | None, ...]:
        table, index, maximum, by_log_prob, by_entropy = ctx.saved_tensors
        cut = ctx.cut

        def slope(table: Tensor, *slopes: Tensor) -> Tensor:
            pull = torch.func.vjp(lambda moving: _by_formula(moving, index, maximum, cut), table)[1]
            return cast(Tensor, pull(slopes)[0])

        results = torch.func.vjp(slope, table, by_log_prob, by_entropy)[1](move)
        return results[0], *[None] * 6, *results[1:], None


def _by_formula(table: Tensor, index: Tensor, maximum: Tensor, cut: Cut) -> tuple[Tensor, Tensor]:
    """Return log-probabilities and entropies with all derivatives; a collective for each sum, and for each slope."""
    differences = shifted(table, maximum)
    weights = differences.exp()
    place, is_mine = _places(index.reshape(-1, *table.shape[:-1]), table, cut)
    picked = torch.where(is_mine, _gather(lifted(differences), place), 0.0)
    total = summed(weights.sum(-1), [cut])
    tilt, picked = summed((weights * lifted(differences)).sum(-1), [cut]), summed(picked, [cut])
    total = torch.where(has_support(maximum), total, 1.0)
    return picked.reshape(index.shape) - total.log(), total.log() - tilt / total


def _ratio(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    in_q = log_q > -math.inf
    in_both = (log_p > -math.inf) & in_q
    return torch.where(in_both, log_p, 0.0) - torch.where(in_both, log_q, 0.0), in_both, in_q


class _Divergence(torch.autograd.Function):
    """A divergence that is known, with its gradient."""

    @staticmethod
    def forward(p: Tensor, q: Tensor, divergence: Tensor, *rows_and_cut: Any) -> Tensor:
        return divergence.to(p.dtype, copy=True)  # an output must not be a saved input

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.cut = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        return *cast(Any, _DivergenceSlopes).apply(*ctx.saved_tensors, slope, ctx.cut), *[None] * 6


class _DivergenceSlopes(torch.autograd.Function):
    """The gradients of a divergence by the parts of both tables: p (r - KL) and q - p."""

    @staticmethod
    def forward(p: Tensor, q: Tensor, divergence: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
        *rows, slope, _ = others
        p_maximum, q_maximum, p_total, q_total = rows
        is_flat = ~(has_support(p_maximum) & has_support(q_maximum)) | (divergence == math.inf)
        slope = torch.where(is_flat, 0.0, slope.double())[..., None]
        log_p = (shifted(p, p_maximum) - p_total.log()[..., None]).double()
        log_q = (shifted(q, q_maximum) - q_total.log()[..., None]).double()
        ratio, in_both, in_q = _ratio(log_p, log_q)
        excess = ratio - torch.where(is_flat, 0.0, divergence)[..., None]
        by_p = torch.where(in_both, slope * log_p.exp() * excess, 0.0)
        near = log_p.exp() * torch.expm1(-torch.where(ratio.abs() < 1, ratio, 0.0))
        by_q = torch.where(in_both & (ratio.abs() < 1), near, log_q.exp() - torch.where(in_both, log_p.exp(), 0.0))
        return by_p.to(p.dtype), torch.where(in_q, slope * by_q, 0.0).to(q.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        p, q, _, p_maximum, q_maximum, *_, slope, ctx.cut = inputs
        ctx.save_for_backward(p, q, p_maximum, q_maximum, slope)

    @staticmethod
    def backward(ctx: Any, *moves: Tensor) -> tuple[Tensor | None, ...]:
        p, q, p_maximum, q_maximum, slope = ctx.saved_tensors
        cut = ctx.cut

        def divergence(p: Tensor, q: Tensor) -> Tensor:
            log_p, log_q = (
                part - shared(summed(part.exp().sum(-1), [cut]).log(), [cut])[..., None]
                for part in (shifted(p, p_maximum), shifted(q, q_maximum))
            )
            ratio, in_both, _ = _ratio(log_p, log_q)
            return summed(torch.where(in_both, log_p, -math.inf).exp().mul(ratio).sum(-1), [cut])

        def slopes(p: Tensor, q: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
            return cast(tuple[Tensor, ...], torch.func.vjp(divergence, p, q)[1](slope))

        by_p, by_q, by_slope = torch.func.vjp(slopes, p, q, slope)[1](tuple(moves))
        return by_p, by_q, *[None] * 5, by_slope, None
