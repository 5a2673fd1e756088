"""Categorical distribution whose logits are ``hidden @ weight.T + bias``, without a table of logits.

This is the last layer of a language model with the distribution of its tokens, in the memory of one tile of logits.
With `softcap` c the logits are c tanh(logits / c); then they are divided by the `temperature`. Results are those of
`categorical` with these logits. A bias of -inf excludes a token, unless there is a soft cap.

`mask` is bool, of shape (*batch): rows where it is False are ignored, and are not multiplied, also in compiled code.
Their sample and mode are `ignore_index`; their log-prob, entropy and KL are 0. The log-prob of `ignore_index` is 0, and
`log_prob` does not multiply its rows either. Elsewhere than on the CPU this selection waits for the device.
A row whose tokens are all excluded is invalid, but does not affect other rows, as in `categorical`.

`support` is a kept set in any form of the module `kept`, such as the tokens of top-p that a rollout drew from. Only the
kept rows of the weight are multiplied. In eager code all forms give the same bits. Compiled code multiplies the whole
weight for a mask, and needs padded indices in place of `KeptTokens`, whose number of slots depends on the data.

Memory: beside inputs, results and gradients there is one tile of 512 rows and 2048 tokens, in the forward and in the
backward pass, in eager code, in `torch.func.grad` and in compiled code. Each backward pass multiplies the tiles again.
Half precision is computed in float32, a tile of weights at a time. `kl` holds a few tiles in float64. Second
derivatives and forward mode use the whole table.

Rounding: a matrix product may round a row differently if the number of rows changes. Here it is a multiple of 16 and at
most 512. On the CPU with one thread, float32 rows then have the same bits whatever their neighbours are; tests check
it. With several threads and long hidden vectors, and in float64, the last bits may depend on the number of rows.

DTensors: the weight and the bias may be cut along the vocabulary, `Shard(0)`, and other tensors along the batch, by
other dims of the mesh. Each process multiplies the tiles of its part; a tile at its edge is filled up with zeros, so
that products have the bits of those of one process, and draws too. No logits and no weights are sent, but a few float64
numbers a row: in one collective for log-probs, entropies and modes, two for `kl`, three for draws. With `support` the
sum over processes of the logits of the kept tokens is sent, of shape (rows, K). Gradients need no collective. That by
the weight is cut as the weight is. That by hidden vectors is left `Partial`; in half precision each process rounds its
part. If one dim of the mesh cuts the vocabulary and the batch, the hidden vectors are gathered, and results are
replicated along it. Second derivatives use the table of the part that a process has.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.discrete.kept import Kept
from functional_dists.discrete.linear_rows import Rows
from functional_dists.discrete.token_options import DESCRIBED, Temperature
from functional_dists.family import Index, Real, define, require
from functional_dists.random import Shape, Source
from functional_dists.special import support as supports
from functional_dists.special.axis import cuts_of, reduced


class Params(NamedTuple):
    """Parameters of a head, which do not broadcast against each other.

    hidden: Hidden vectors, of shape (*batch, H).
    weight: The weight of a linear layer, of shape (V, H).
    bias: Its bias, of shape (V,), or a number.
    value: Tokens, integers of shape (*sample, *batch): they may add leading axes to the batch.
    sample: Tokens, int64, of shape (*sample_shape, *batch).
    """

    hidden: Real
    weight: Real
    bias: Real = 0.0


verb = define(Params, takes_dtype=True, values_of=Index, knows_cut_rows=True, **DESCRIBED)


def _fit(hidden: torch.Size, weight: torch.Size, bias: torch.Size) -> torch.Size:
    if len(hidden) == 0 or len(weight) != 2 or (weight[0] == 0 and not cuts_of([-1])):
        raise ValueError("hidden must have shape (*batch, H), and weight (V, H), and they do not broadcast")
    if hidden[-1] != weight[1]:
        raise ValueError("hidden and weight must have one size of their last axis, as they do not broadcast")
    if len(bias) and bias != weight[:1]:
        raise ValueError("bias must be a number or have one entry for each row of weight, as they do not broadcast")
    return torch.Size((*hidden[:-1], weight[0]))


_verb = verb(fit=_fit, keeps_dtypes=True)


@_verb
def check(
    hidden: Real,
    weight: Real,
    bias: Real,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    mask: Tensor | None = None,
    support: Kept | None = None,
) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(2), torch.zeros(3, 2), torch.tensor([0.0, math.nan, 0.0]))
    Traceback (most recent call last):
    ...
    ValueError: bias must hold numbers below infinity; this fails at position (1,)
    """
    rows = Rows("check", Params(hidden, weight, bias), temperature, softcap, mask, support)
    is_counted = torch.ones(rows.batch, dtype=torch.bool, device=hidden.device) if mask is None else mask
    require(hidden.isfinite() | ~is_counted[..., None], "hidden", "must be finite")
    require(weight.isfinite().all(-1), "weight", "must be finite")
    require(bias < math.inf, "bias", "must hold numbers below infinity")
    require(reduced((bias > -math.inf).any().long(), "max", cuts_of([-1])) > 0, "bias", "must leave a token")
    if rows.index is not None:
        keeps = (rows.index >= 0).any(-1).reshape(rows.batch)
        require(keeps | ~is_counted, "support", "must keep a token in every row that counts")


# -------------------------------------------------------------------------------------------------------------- draws
@_verb
def sample(
    key: Source,
    hidden: Real,
    weight: Real,
    bias: Real,
    *,
    sample_shape: Shape = (),
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    ignore_index: int = -100,
    mask: Tensor | None = None,
    support: Kept | None = None,
) -> Tensor:
    """Draw tokens by the inverse cdf: what `categorical.sample` draws from equal logits.

    >>> sample(random.key(42), torch.zeros(3, 8), torch.zeros(50_000, 8), mask=torch.tensor([True, True, False]))
    tensor([17091, 48929,  -100])
    """
    rows = Rows("sample", Params(hidden, weight, bias), temperature, softcap, mask, support)
    return _draw(key, rows, sample_shape, ignore_index)


@_verb
def sample_and_log_prob(
    key: Source,
    hidden: Real,
    weight: Real,
    bias: Real,
    *,
    sample_shape: Shape = (),
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    ignore_index: int = -100,
    mask: Tensor | None = None,
    support: Kept | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which has the score-function gradient.

    >>> sample_and_log_prob(random.key(42), torch.zeros(8), torch.zeros(4, 8))
    (tensor(1), tensor(-1.3863))
    """
    rows = Rows("sample_and_log_prob", Params(hidden, weight, bias), temperature, softcap, mask, support)
    value = _draw(key, rows, sample_shape, ignore_index)
    return value, _score(rows, value, ignore_index)


def _draw(key: Source, rows: Rows, sample_shape: Shape, ignore_index: int) -> Tensor:
    device = rows.head.hidden.device
    uniform = random.draw_entries(random.uniform, key, sample_shape, rows.batch, dtype=torch.float64, device=device)
    token = rows.choose(rows.as_columns(uniform))
    return rows.where_counted(rows.from_columns(token, uniform.shape), ignore_index)


# -------------------------------------------------------------------------------------------------------- probability
@_verb
def log_prob(
    hidden: Real,
    weight: Real,
    bias: Real,
    value: Index,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    ignore_index: int = -100,
    mask: Tensor | None = None,
    support: Kept | None = None,
) -> Tensor:
    """Return the log-probability of every token; -inf for one that is excluded or does not exist.

    >>> log_prob(torch.zeros(3, 2), torch.zeros(4, 2), 0.0, torch.tensor([3, 4, -100]))
    tensor([-1.3863,    -inf,  0.0000])
    """
    rows = Rows("log_prob", Params(hidden, weight, bias), temperature, softcap, mask, support)
    return _score(rows, value, ignore_index)


@_verb
def entropy(
    hidden: Real,
    weight: Real,
    bias: Real,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    mask: Tensor | None = None,
    support: Kept | None = None,
) -> Tensor:
    """Return the entropy in nats.

    >>> entropy(torch.zeros(2), torch.zeros(4, 2))
    tensor(1.3863)
    """
    rows = Rows("entropy", Params(hidden, weight, bias), temperature, softcap, mask, support)
    no_value = torch.empty((rows.head.hidden.shape[0], 0), dtype=torch.int64, device=hidden.device)
    return rows.score(no_value, rows.counted())[1].reshape(rows.batch)


@_verb
def log_prob_and_entropy(
    hidden: Real,
    weight: Real,
    bias: Real,
    value: Index,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    ignore_index: int = -100,
    mask: Tensor | None = None,
    support: Kept | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what `log_prob` and `entropy` return, from one pass over the tiles.

    >>> log_prob_and_entropy(torch.zeros(2), torch.zeros(4, 2), 0.0, torch.tensor(3))
    (tensor(-1.3863), tensor(1.3863))
    """
    rows = Rows("log_prob_and_entropy", Params(hidden, weight, bias), temperature, softcap, mask, support)
    columns, is_token = rows.tokens(value, ignore_index)
    scores, result = rows.score(columns, rows.counted())
    log_prob = torch.where(is_token, rows.from_columns(scores, is_token.shape), 0.0)
    return log_prob, result.reshape(rows.batch)


def _score(rows: Rows, value: Tensor, ignore_index: int) -> Tensor:
    columns, is_token = rows.tokens(value, ignore_index)
    counted = rows.counted(rows.as_columns(is_token).any(-1))
    scores, _ = rows.score(columns, counted)
    return torch.where(is_token, rows.from_columns(scores, is_token.shape), 0.0)


@_verb
def kl(
    p: Params,
    q: Params,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    mask: Tensor | None = None,
    support: Kept | None = None,
) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; +inf where p has a token that q excludes.

    The options hold for both. Hidden sizes may differ, as for a teacher.

    >>> teacher = Params(torch.zeros(1), torch.zeros(2, 1), torch.tensor([0.0, 1.0]))
    >>> kl(Params(torch.zeros(8), torch.zeros(2, 8)), teacher)
    tensor(0.1201)
    """
    of_p, of_q = (Rows("kl", params, temperature, softcap, mask, support) for params in (p, q))
    return of_p.kl(of_q).reshape(of_p.batch)


@_verb
def mode(
    hidden: Real,
    weight: Real,
    bias: Real,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    ignore_index: int = -100,
    mask: Tensor | None = None,
    support: Kept | None = None,
) -> Tensor:
    """Return the most probable token, the first among equals.

    >>> mode(torch.ones(1), torch.tensor([[1.0], [3.0], [3.0]]))
    tensor(1)
    """
    rows = Rows("mode", Params(hidden, weight, bias), temperature, softcap, mask, support)
    return rows.where_counted(rows.mode().reshape(rows.batch), ignore_index)


deterministic = verb.deterministic(mode)


@_verb
def support(
    hidden: Real,
    weight: Real,
    bias: Real,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    ignore_index: int = -100,
    mask: Tensor | None = None,
    support: Kept | None = None,
) -> Constraint:
    """Return the support as a constraint: the tokens of finite log-probability, and all where the mask is False.

    >>> support(torch.zeros(2), torch.zeros(4, 2)).check(torch.tensor([0, 3, 4]))
    tensor([ True,  True, False])
    """
    rows = Rows("support", Params(hidden, weight, bias), temperature, softcap, mask, support)
    return supports.scored(lambda value: _score(rows, value, ignore_index), rows.head.num_tokens)
