"""Categorical distribution whose logits are ``hidden @ weight.T + bias``, without a table of logits.

This is the last layer of a language model with the distribution of its tokens, in the memory of one tile of logits.
With `softcap` c the logits are c tanh(logits / c); then they are divided by the `temperature`. Results are those of
`categorical` with these logits. A bias of -inf excludes a token, unless there is a soft cap.

`mask` is bool, of shape (*batch): rows where it is False are ignored, and are not multiplied, also in compiled code.
Their sample and mode are `ignore_index`; their log-prob, entropy and KL are 0. The log-prob of `ignore_index` is 0.
A row whose tokens are all excluded is invalid, but does not affect other rows, as in `categorical`.

Memory: beside inputs, results and gradients there is one tile of 512 rows and 1024 tokens, in the forward and in the
backward pass, in eager code, in `torch.func.grad` and in compiled code. Each backward pass multiplies the tiles again.
Half precision is computed in float32, a tile of weights at a time. `kl` holds a few tiles in float64. Second
derivatives and forward mode use the whole table.

Rounding: a matrix product may round a row differently if the number of rows changes. Here it is a multiple of 16 and at
most 512. On the CPU with one thread, float32 rows then have the same bits whatever their neighbours are; tests check
it. With several threads and long hidden vectors, and in float64, the last bits may depend on the number of rows.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.discrete.token_options import DESCRIBED, Temperature, check_softcap, row_temperature
from functional_dists.family import Index, Real, define, require
from functional_dists.random import Shape, Source
from functional_dists.special import linear_choice, linear_kl, linear_score
from functional_dists.special import support as supports
from functional_dists.special.linear_head import Head


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


verb = define(Params, takes_dtype=True, **DESCRIBED)


def _fit(hidden: torch.Size, weight: torch.Size, bias: torch.Size) -> torch.Size:
    if len(hidden) == 0 or len(weight) != 2 or weight[0] == 0:
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
) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(2), torch.zeros(3, 2), torch.tensor([0.0, math.nan, 0.0]))
    Traceback (most recent call last):
    ...
    ValueError: bias must hold numbers below infinity; it is not at position (1,)
    """
    head = _Rows("check", Params(hidden, weight, bias), temperature, softcap, mask)
    is_counted = True if head.mask is None else head.mask[..., None]
    require(hidden.isfinite() | ~torch.as_tensor(is_counted), "hidden", "must be finite")
    require(weight.isfinite().all(-1), "weight", "must be finite")
    require(bias < math.inf, "bias", "must hold numbers below infinity")
    require((bias > -math.inf).any(), "bias", "must leave a token")


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
) -> Tensor:
    """Draw tokens by the inverse cdf: what `categorical.sample` draws from equal logits.

    >>> sample(random.key(42), torch.zeros(3, 8), torch.zeros(50_000, 8), mask=torch.tensor([True, True, False]))
    tensor([17091, 48929,  -100])
    """
    rows = _Rows("sample", Params(hidden, weight, bias), temperature, softcap, mask)
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
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which has the score-function gradient.

    >>> sample_and_log_prob(random.key(42), torch.zeros(8), torch.zeros(4, 8))
    (tensor(1), tensor(-1.3863))
    """
    rows = _Rows("sample_and_log_prob", Params(hidden, weight, bias), temperature, softcap, mask)
    value = _draw(key, rows, sample_shape, ignore_index)
    return value, _as_dtype(_score(rows, value, ignore_index), dtype)


def _draw(key: Source, rows: "_Rows", sample_shape: Shape, ignore_index: int) -> Tensor:
    device = rows.head.hidden.device
    uniform = random.draw_entries(random.uniform, key, sample_shape, rows.batch, dtype=torch.float64, device=device)
    token = linear_choice.choose(rows.head, rows.as_columns(uniform), rows.counted())
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
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the log-probability of every token; -inf for one that is excluded or does not exist.

    >>> log_prob(torch.zeros(3, 2), torch.zeros(4, 2), 0.0, torch.tensor([3, 4, -100]))
    tensor([-1.3863,    -inf,  0.0000])
    """
    rows = _Rows("log_prob", Params(hidden, weight, bias), temperature, softcap, mask)
    return _as_dtype(_score(rows, value, ignore_index), dtype)


@_verb
def entropy(
    hidden: Real,
    weight: Real,
    bias: Real,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    mask: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the entropy in nats.

    >>> entropy(torch.zeros(2), torch.zeros(4, 2))
    tensor(1.3863)
    """
    rows = _Rows("entropy", Params(hidden, weight, bias), temperature, softcap, mask)
    no_value = torch.empty((rows.head.hidden.shape[0], 0), dtype=torch.int64, device=hidden.device)
    result = linear_score.log_prob_and_entropy(rows.head, no_value, rows.counted())[1]
    return _as_dtype(result.reshape(rows.batch), dtype)


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
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what `log_prob` and `entropy` return, from one pass over the tiles.

    >>> log_prob_and_entropy(torch.zeros(2), torch.zeros(4, 2), 0.0, torch.tensor(3))
    (tensor(-1.3863), tensor(1.3863))
    """
    rows = _Rows("log_prob_and_entropy", Params(hidden, weight, bias), temperature, softcap, mask)
    columns, is_token = rows.tokens(value, ignore_index)
    scores, result = linear_score.log_prob_and_entropy(rows.head, columns, rows.counted())
    log_prob = torch.where(is_token, rows.from_columns(scores, is_token.shape), 0.0)
    return _as_dtype(log_prob, dtype), _as_dtype(result.reshape(rows.batch), dtype)


def _score(rows: "_Rows", value: Tensor, ignore_index: int) -> Tensor:
    columns, is_token = rows.tokens(value, ignore_index)
    counted = rows.counted(is_token.reshape(-1, rows.head.hidden.shape[0]).any(0))
    scores, _ = linear_score.log_prob_and_entropy(rows.head, columns, counted)
    return torch.where(is_token, rows.from_columns(scores, is_token.shape), 0.0)


@_verb
def kl(
    p: Params,
    q: Params,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    mask: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; +inf where p has a token that q excludes.

    The options hold for both. Hidden sizes may differ, as for a teacher.

    >>> teacher = Params(torch.zeros(1), torch.zeros(2, 1), torch.tensor([0.0, 1.0]))
    >>> kl(Params(torch.zeros(8), torch.zeros(2, 8)), teacher)
    tensor(0.1201)
    """
    of_p, of_q = (_Rows("kl", params, temperature, softcap, mask) for params in (p, q))
    return _as_dtype(linear_kl.kl(of_p.head, of_q.head, of_p.counted()).reshape(of_p.batch), dtype)


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
) -> Tensor:
    """Return the most probable token, the first among equals.

    >>> mode(torch.ones(1), torch.tensor([[1.0], [3.0], [3.0]]))
    tensor(1)
    """
    rows = _Rows("mode", Params(hidden, weight, bias), temperature, softcap, mask)
    token = linear_score.terms(rows.head, rows.counted()).argmax
    return rows.where_counted(token.reshape(rows.batch), ignore_index)


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
) -> Constraint:
    """Return the support as a constraint: the tokens of finite log-probability, and all where the mask is False.

    >>> support(torch.zeros(2), torch.zeros(4, 2)).check(torch.tensor([0, 3, 4]))
    tensor([ True,  True, False])
    """
    rows = _Rows("support", Params(hidden, weight, bias), temperature, softcap, mask)
    return supports.scored(lambda value: _score(rows, value, ignore_index), weight.shape[0])


# --------------------------------------------------------------------------------------------------------------- rows
class _Rows:
    """The parameters as the rows of a head, with the shape of their batch."""

    def __init__(
        self, function: str, params: Any, temperature: Temperature, softcap: float | None, mask: Tensor | None
    ) -> None:
        function = f"linear_categorical.{function}"
        hidden, weight, bias = params
        self.batch = hidden.shape[:-1]
        count = math.prod(self.batch)
        self.mask = mask if mask is None else _checked_mask(function, mask, self.batch)
        bias = bias.expand(weight.shape[0])
        if softcap is not None:
            check_softcap(function, softcap)
        cap = 0.0 if softcap is None else float(softcap)
        head = Head(hidden.reshape(count, hidden.shape[-1]), weight, bias, hidden.new_empty(0), cap)
        divisor = row_temperature(function, temperature, self.batch, head.dtype, hidden.device)
        self.head = head if divisor is None else head._replace(temperature=divisor.reshape(count))

    def counted(self, has_value: Tensor | None = None) -> Tensor:
        """Return which rows count, of shape (N,); an empty tensor if all do."""
        counted = has_value if self.mask is None else self.mask.reshape(-1)
        if counted is None:
            return torch.empty(0, dtype=torch.bool, device=self.head.hidden.device)
        return counted if has_value is None else counted & has_value

    def tokens(self, value: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
        """Return values as columns (N, S), -1 where they are ignored, and the values that are scored (*S, *B)."""
        value = value.long()
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch))
        is_token = value != ignore_index
        if self.mask is not None:
            is_token = is_token & self.mask
        return self.as_columns(torch.where(is_token, value, -1)), is_token

    def as_columns(self, table: Tensor) -> Tensor:
        """Return ``(*S, *B)`` as ``(N, S)``."""
        samples = table.shape[: table.ndim - len(self.batch)]
        return table.reshape(math.prod(samples), math.prod(self.batch)).T

    def from_columns(self, columns: Tensor, shape: torch.Size) -> Tensor:
        """Return ``(N, S)`` as ``(*S, *B)``."""
        return columns.T.reshape(shape)

    def where_counted(self, result: Tensor, otherwise: int) -> Tensor:
        """Return the result, with another value in ignored rows."""
        return result if self.mask is None else torch.where(self.mask, result, otherwise)


def _checked_mask(function: str, mask: Any, batch: torch.Size) -> Tensor:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else repr(mask)
        raise TypeError(f"{function}: mask must be a bool tensor, got {got}")
    if mask.shape != batch:
        raise ValueError(f"{function}: mask must have the shape {tuple(batch)} of the batch, got {tuple(mask.shape)}")
    return mask


def _as_dtype(result: Tensor, dtype: torch.dtype | None) -> Tensor:
    return result if dtype is None else result.to(dtype)
