"""Logits of a head, `linear_head`, of the kept tokens alone: only their rows of the weight are multiplied.

`index` lists the kept tokens of each of N rows, int64 of shape (N, K), ascending, and -1 in unused slots. The products
form a trilinear function of hidden vectors, weight and slopes, sum of slope_nk <hidden_n, weight_index_nk>. Each of
its three derivatives is an operation here, so the gradients of all orders are the same three operations. Each holds one
tile of products. Forward mode gathers all rows of the weight; so does compiled code, where the compiler fuses them.

Where a process has a part of the vocabulary, it makes the logits of the listed tokens that it has. Their sum over the
processes, one collective, is the table of all of them.
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor

from functional_dists.special import linear_head, softmax
from functional_dists.special.axis import summed
from functional_dists.special.choice import choose_by_logits
from functional_dists.special.constant import is_forward_mode
from functional_dists.special.lanes import lanes
from functional_dists.special.linear_head import Head
from functional_dists.special.softmax_divergence import softmax_kl

_TILE, _TILE_ELSEWHERE = 2**19, 2**22  # products at a time


def logits(head: Head, index: Tensor) -> Tensor:
    """Return the logits ``(N, K)`` of the listed tokens, with all derivatives; those of unused slots are arbitrary.

    >>> hidden, weight = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    >>> logits(Head(hidden, weight, torch.zeros(2), torch.empty(0), 0.0), torch.tensor([[1, -1]]))[0, 0]
    tensor(8.)
    """
    if head.cut is not None:
        place = index - head.cut.offset
        is_mine = (index >= 0) & (place >= 0) & (place < head.weight.shape[0])
        table = logits(head._replace(cut=None), torch.where(is_mine, place, -1))
        return summed(torch.where(is_mine, table, 0.0), [head.cut])
    dtype, token = head.dtype, index.clamp(min=0)
    if _is_plain_formula() and index.shape[1] >= head.weight.shape[0]:  # to gather would take more memory
        return linear_head.logits(head).gather(-1, token)
    table = _products(head.hidden, head.weight, index, dtype)
    if head.bias.numel():
        table = table + head.bias.to(dtype)[token]
    return linear_head.finished(table, head.temperature.to(dtype), head.softcap)


def log_prob_and_entropy(head: Head, value: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of tokens ``(N, S)``, -inf for one that is not listed, and entropies ``(N,)``.

    >>> head = Head(torch.zeros(1, 2), torch.zeros(4, 2), torch.zeros(4), torch.empty(0), 0.0)
    >>> log_prob_and_entropy(head, torch.tensor([[3, 1]]), torch.tensor([[0, 3]]))
    (tensor([[-0.6931,    -inf]]), tensor([0.6931]))
    """
    table, is_used = logits(head, index), index >= 0
    is_match = (index[:, None] == value[..., None]) & is_used[:, None]
    slot = torch.where(is_match.any(-1), is_match.long().argmax(-1), -1)
    scores, entropy = softmax.log_prob_and_entropy(table, is_used, slot.T)
    return scores.T, entropy


def choose(head: Head, uniform: Tensor, index: Tensor) -> Tensor:
    """Return a listed token of each row for uniform numbers ``(N, S)``; 0 in a row without listed tokens."""
    slot = choose_by_logits(logits(head, index).detach(), index >= 0, uniform.T).T
    return index.gather(-1, slot).clamp(min=0)


def mode(head: Head, index: Tensor) -> Tensor:
    """Return the most probable listed token ``(N,)`` of each row; 0 in a row without listed tokens."""
    slot = softmax.mode(logits(head, index).detach(), index >= 0)
    return index.gather(-1, slot[:, None]).squeeze(-1).clamp(min=0)


def kl(p: Head, q: Head, index: Tensor) -> Tensor:
    """Return the divergence KL(p || q) of two heads on the listed tokens of each row."""
    return softmax_kl(logits(p, index), index >= 0, logits(q, index), index >= 0)


# ------------------------------------------------------------------------------------------------------------- products
def _products(hidden: Tensor, weight: Tensor, index: Tensor, dtype: torch.dtype) -> Tensor:
    if _is_plain_formula():
        rows = weight[index.clamp(min=0)].to(dtype)
        return torch.where(index >= 0, (rows * hidden.to(dtype)[:, None]).sum(-1), 0.0)
    return cast(Tensor, cast(Any, _Products).apply(hidden, weight, index, dtype))


def _is_plain_formula() -> bool:
    return is_forward_mode() or torch.compiler.is_compiling()


class _Products(torch.autograd.Function):
    """By slopes: the products ``(N, K)``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(hidden: Tensor, weight: Tensor, index: Tensor, dtype: torch.dtype) -> Tensor:
        return _by_slopes(hidden.to(dtype), weight, index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, index = ctx.saved_tensors
        of_hidden, of_weight = ctx.needs_input_grad[:2]
        by_hidden = cast(Any, _ByHidden).apply(slope, weight, index) if of_hidden else None
        by_weight = cast(Any, _ByWeight).apply(slope, hidden, index, weight.shape[0]) if of_weight else None
        cast_to = [(by_hidden, hidden.dtype), (by_weight, weight.dtype)]
        return *(g if g is None else g.to(dtype) for g, dtype in cast_to), None, None


class _ByHidden(torch.autograd.Function):
    """By hidden vectors: the sum ``(N, H)`` of the rows of the weight, by their slopes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(slope: Tensor, weight: Tensor, index: Tensor) -> Tensor:
        return _by_hidden(slope, weight, index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, move: Tensor) -> tuple[Tensor | None, ...]:
        slope, weight, index = ctx.saved_tensors
        by_weight = cast(Any, _ByWeight).apply(slope, move, index, weight.shape[0])
        return _products(move, weight, index, slope.dtype), by_weight.to(weight.dtype), None


class _ByWeight(torch.autograd.Function):
    """By the weight: the sum ``(V, H)`` of the hidden vectors, by their slopes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(slope: Tensor, hidden: Tensor, index: Tensor, count: int) -> Tensor:
        return _by_weight(slope, hidden.to(slope.dtype), index, count)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])

    @staticmethod
    def backward(ctx: Any, move: Tensor) -> tuple[Tensor | None, ...]:
        slope, hidden, index = ctx.saved_tensors
        by_hidden = cast(Any, _ByHidden).apply(slope, move, index)
        return _products(hidden, move, index, slope.dtype), by_hidden.to(hidden.dtype), None, None


# --- The operations --------------------------------------------------------------------------------------------------
def _pairs(index: Tensor, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the places in the list and the rows of its used slots, a tile of products at a time."""
    size = max(1, (_TILE if index.is_cpu else _TILE_ELSEWHERE) // max(1, width))
    for place in (index.flatten() >= 0).nonzero().squeeze(1).split(size):
        yield place, place // index.shape[1]


def _by_slopes_of_pairs(hidden: Tensor, weight: Tensor, index: Tensor) -> Tensor:
    products = hidden.new_zeros(index.numel())
    for place, row in _pairs(index, hidden.shape[1]):
        token = index.flatten()[place]
        products[place] = (weight[token].to(hidden.dtype) * hidden[row]).sum(-1)
    return products.view(index.shape)


def _by_hidden_of_pairs(slope: Tensor, weight: Tensor, index: Tensor) -> Tensor:
    total = slope.new_zeros(index.shape[0], weight.shape[1])
    for place, row in _pairs(index, weight.shape[1]):
        token = index.flatten()[place]
        total.index_add_(0, row, slope.flatten()[place][:, None] * weight[token].to(slope.dtype))
    return total


def _by_weight_of_pairs(slope: Tensor, hidden: Tensor, index: Tensor, count: int) -> Tensor:
    total = slope.new_zeros(count, hidden.shape[1])
    for place, row in _pairs(index, hidden.shape[1]):
        token = index.flatten()[place]
        total.index_add_(0, token, slope.flatten()[place][:, None] * hidden[row])
    return total


def _each_lane(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
    """Run the operation lane by lane, as each lane has its own sum."""
    lanes_of = (
        [a if dim is None else a.select(dim, i) for a, dim in zip(arguments, in_dims, strict=True)]
        for i in range(info.batch_size)
    )
    return torch.stack([_by_weight(*of_lane) for of_lane in lanes_of]), 0


_library = torch.library.Library("functional_dists", "FRAGMENT")
_library.define("linear_kept(Tensor hidden, Tensor weight, Tensor index) -> Tensor")
_library.define("linear_kept_by_hidden(Tensor slope, Tensor weight, Tensor index) -> Tensor")
_library.define("linear_kept_by_weight(Tensor slope, Tensor hidden, Tensor index, SymInt count) -> Tensor")
_by_slopes: Callable[..., Tensor] = torch.ops.functional_dists.linear_kept.default
_by_hidden: Callable[..., Tensor] = torch.ops.functional_dists.linear_kept_by_hidden.default
_by_weight: Callable[..., Tensor] = torch.ops.functional_dists.linear_kept_by_weight.default
for _name, _function, _fake, _rule in (
    ("linear_kept", _by_slopes_of_pairs, lambda h, w, i: h.new_empty(i.shape), lanes(_by_slopes, (1,))),
    (
        "linear_kept_by_hidden",
        _by_hidden_of_pairs,
        lambda s, w, i: s.new_empty(i.shape[0], w.shape[1]),
        lanes(_by_hidden, (1,)),
    ),
    ("linear_kept_by_weight", _by_weight_of_pairs, lambda s, h, i, n: s.new_empty(n, h.shape[1]), _each_lane),
):
    _library.impl(_name, _function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"functional_dists::{_name}", _fake, lib=_library)
    torch.library.register_vmap(f"functional_dists::{_name}", _rule, lib=_library)
