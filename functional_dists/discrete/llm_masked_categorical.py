"""Categorical distribution of language-model tokens: many positions, and a vocabulary of a hundred thousand.

Probabilities are proportional to exp(logits), as in `masked_categorical`. The mask is of positions, (*batch, T), or of
tokens, (*batch, T, V). Its number of axes decides which, and nothing broadcasts. Masked logits, even NaN and infinity,
affect neither values nor gradients.

A position whose mask is False, such as padding or a prompt, is ignored. Its sample and mode are `ignore_index`; its
log-prob (of any value), entropy, KL and probabilities are 0. Elsewhere the log-prob of `ignore_index` is also 0, as in
`torch.nn.functional.cross_entropy`. A position without an allowed token is invalid (`check` raises), but does not
affect other positions: its sample, entropy and probabilities are 0, its log-probs -inf.

Logits become `softcap` tanh(logits / `softcap`), and are then divided by the `temperature`, a number or a tensor of
shape (*batch, T). A `support` is a kept set, in any form of the module `kept`, that the mask restricts further.

In eager code the only tensor as large as the logits is their gradient. The forward and the backward pass work on one
chunk of rows at a time, half precision in float32, and the backward pass recomputes each chunk. `torch.func` transforms
and second derivatives store what their formulas need; `torch.compile` fuses the operations itself. Log-probs are as
accurate as PyTorch's log_softmax, to one ulp of 1. `masked_categorical` is more accurate for a token that is almost
certain, at several times the cost.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.discrete.kept import Kept
from functional_dists.discrete.token_options import Options
from functional_dists.family import Index, Mask, Real, define, require
from functional_dists.random import Shape, Source
from functional_dists.special import choose_by_logits, softmax, vectorized
from functional_dists.special import support as supports
from functional_dists.special.chunks import by_chunks


class Params(NamedTuple):
    """Parameters of a distribution of tokens, which do not broadcast against each other.

    logits: Log-probabilities up to a constant, of shape (*batch, T, V).
    mask: Bool, of shape (*batch, T), True at the positions that count, or (*batch, T, V), True for the allowed tokens.
    value: Tokens, integers of shape (*sample, *batch, T): they may add leading axes to the positions.
    sample: Tokens, int64, of shape (*sample_shape, *batch, T).
    """

    logits: Real
    mask: Mask


verb = define(Params)


def _fit(logits: torch.Size, mask: torch.Size) -> torch.Size:
    if len(logits) == 0:
        raise ValueError("logits must have an axis of tokens")
    if mask not in (logits, logits[:-1]):
        raise ValueError(
            "mask must have the shape of the logits or that without its last axis, as they do not broadcast"
        )
    return logits


_verb = verb(fit=_fit, keeps_dtypes=True)


@_verb
def check(logits: Real, mask: Mask) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(2, 3), torch.tensor([[True, False, True], [False, False, False]]))
    Traceback (most recent call last):
    ...
    ValueError: mask must allow a token at every position; it is not at position (1,)
    """
    allowed, position = _allowed(logits, mask), _position(logits, mask)
    if position is None:
        require(mask.any(-1), "mask", "must allow a token at every position")
        position = torch.ones((), dtype=torch.bool, device=mask.device)
    require(~allowed | (logits < math.inf), "logits", "must be numbers below infinity where they count")
    require((allowed & (logits != -math.inf)).any(-1) | ~position, "logits", "must leave a token at every position")


# -------------------------------------------------------------------------------------------------------------- draws
@_verb
def sample(
    key: Source,
    logits: Real,
    mask: Mask,
    *,
    sample_shape: Shape = (),
    ignore_index: int = -100,
    temperature: Tensor | float | None = None,
    softcap: float | None = None,
    support: Kept | None = None,
) -> Tensor:
    """Draw tokens by the inverse cdf; `ignore_index` at an ignored position.

    >>> sample(random.key(42), torch.zeros(3, 50_000), torch.tensor([True, True, False]))
    tensor([17091, 48929,  -100])
    """
    options = Options.checked("llm_masked_categorical.sample", logits, mask, temperature, softcap, support)
    return _draw(key, logits, mask, sample_shape, ignore_index, options)


@_verb
def sample_and_log_prob(
    key: Source,
    logits: Real,
    mask: Mask,
    *,
    sample_shape: Shape = (),
    ignore_index: int = -100,
    temperature: Tensor | float | None = None,
    softcap: float | None = None,
    support: Kept | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which has the score-function gradient.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(2, 4), torch.tensor([True, False]))
    >>> log_prob
    tensor([-1.3863,  0.0000])
    """
    options = Options.checked("llm_masked_categorical.sample_and_log_prob", logits, mask, temperature, softcap, support)
    given: dict[str, Any] = {"temperature": temperature, "softcap": softcap, "support": support}
    given = {name: option for name, option in given.items() if option is not None}  # a kernel takes no options
    value = sample(key, logits, mask, sample_shape=sample_shape, ignore_index=ignore_index, **given)
    return value, _score(logits, mask, value, ignore_index, options)


def _draw(
    key: Source, logits: Tensor, mask: Tensor, sample_shape: Shape, ignore_index: int, options: Options
) -> Tensor:
    # All uniform draws come first, so that the size of the chunks does not change a token.
    batch = logits.shape[:-1]
    uniforms = random.draw_entries(random.uniform, key, sample_shape, batch, dtype=torch.float64, device=logits.device)
    columns = _samples_last(uniforms, logits.ndim - 1)
    tokens = _samples_first(options.detached().by_chunks(_choose_tokens, logits.detach(), columns), uniforms.shape)
    return _where_counted(_position(logits, mask), tokens, ignore_index)


def _choose_tokens(logits: Tensor, mask: Tensor, uniforms: Tensor) -> Tensor:
    # Tokens drawn at ignored positions are replaced by the caller.
    full, allowed = _full(logits), mask if mask.ndim == logits.ndim else None
    if uniforms.shape[-1] == 1:  # without an axis of samples this compiles to one kernel
        return choose_by_logits(full, allowed, uniforms.squeeze(-1)).unsqueeze(-1)
    return choose_by_logits(full, allowed, uniforms.movedim(-1, 0)).movedim(0, -1)


# -------------------------------------------------------------------------------------------------------- probability
@_verb
def log_prob(
    logits: Real,
    mask: Mask,
    value: Index,
    *,
    ignore_index: int = -100,
    temperature: Tensor | float | None = None,
    softcap: float | None = None,
    support: Kept | None = None,
) -> Tensor:
    """Return the log-probability of every token; -inf for one that is masked or does not exist.

    >>> logits, tokens = torch.zeros(3, 4), torch.tensor([3, 1, -100])
    >>> log_prob(logits, torch.tensor([True, False, True]), tokens)
    tensor([-1.3863,  0.0000,  0.0000])
    >>> log_prob(logits, torch.tensor([True, False, True, True]).expand(3, 4), tokens)
    tensor([-1.0986,    -inf,  0.0000])
    """
    options = Options.checked("llm_masked_categorical.log_prob", logits, mask, temperature, softcap, support)
    return _score(logits, mask, value.long(), ignore_index, options)


def _score(logits: Tensor, mask: Tensor, value: Tensor, ignore_index: int, options: Options) -> Tensor:
    value = value.expand(torch.broadcast_shapes(value.shape, logits.shape[:-1]))
    is_token = value != ignore_index
    columns = _samples_last(torch.where(is_token, value, -1), logits.ndim - 1)
    scores = _samples_first(options.by_chunks(_log_prob_of, logits, columns), value.shape)
    return _where_counted(_position(logits, mask), torch.where(is_token, scores, 0.0), 0.0)


def _log_prob_of(logits: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    """Return the log-probs of tokens ``(*B, S)``, -inf for those that do not exist; at -1 the result is not used."""
    exists = (value >= 0) & (value < logits.shape[-1])
    token, has_value = torch.where(exists, value, 0), value != -1
    if torch.compiler.is_compiling() and logits.is_cpu and value.shape[-1] == 1:
        picked, is_scored = _log_softmax_at(logits, mask, token, has_value.squeeze(-1))
    else:
        table, is_scored = _log_softmax(logits, mask, has_value.any(-1))
        picked = table.gather(-1, token)
    return torch.where((exists | picked.isnan()) & is_scored[..., None] & (picked != -math.inf), picked, -math.inf)


def _log_softmax_at(logits: Tensor, mask: Tensor, token: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the entries of `_log_softmax` at tokens ``(*B, 1)``, and the mask of the rows in which they are valid.

    Compiled, this takes two passes over the logits and one over their gradient, instead of four and two.
    """
    if mask.ndim == logits.ndim:
        logits = softmax.masked(logits, mask)
    else:
        rows = mask & rows
    top = logits.detach().amax(-1, keepdim=True)
    # A row of only -inf stays in the table. A mask computed from floats would be recomputed for every 16 tokens: C++
    # assumes that writing the gradient in between may change them.
    has_token = top != -math.inf
    logits, top = (
        _full(torch.where(rows[..., None], logits, 0.0)),
        _full(torch.where(has_token & rows[..., None], top, 0.0)),
    )
    position = vectorized.positions(logits)
    picked = vectorized.entry_at(logits, token, position == token.to(position.dtype))
    total = torch.exp(logits - top).sum(-1, keepdim=True)
    return (picked - top) - torch.where(has_token, total, 1.0).log(), has_token.squeeze(-1) & rows


@_verb
def probs(logits: Real, mask: Mask) -> Tensor:
    """Return the probabilities of all tokens: 0 for the masked ones, and at an ignored position.

    >>> probs(torch.zeros(2, 4), torch.tensor([True, False]))
    tensor([[0.2500, 0.2500, 0.2500, 0.2500],
            [0.0000, 0.0000, 0.0000, 0.0000]])
    """
    return by_chunks(lambda logits, mask: softmax.probs(_softmax_terms(logits, mask)).to(logits.dtype), logits, mask)


@_verb
def normalized_logits(logits: Real, mask: Mask) -> Tensor:
    """Return the log-probabilities of all tokens.

    >>> normalized_logits(torch.zeros(2, 4), torch.tensor([True, False]))
    tensor([[-1.3863, -1.3863, -1.3863, -1.3863],
            [   -inf,    -inf,    -inf,    -inf]])
    """
    return by_chunks(
        lambda logits, mask: softmax.log_probs(_softmax_terms(logits, mask)).to(logits.dtype), logits, mask
    )


@_verb
def entropy(
    logits: Real,
    mask: Mask,
    *,
    temperature: Tensor | float | None = None,
    softcap: float | None = None,
    support: Kept | None = None,
) -> Tensor:
    """Return the entropy of every position in nats.

    >>> entropy(torch.zeros(2, 4), torch.tensor([True, False]))
    tensor([1.3863, 0.0000])
    """
    options = Options.checked("llm_masked_categorical.entropy", logits, mask, temperature, softcap, support)
    entropies = options.by_chunks(lambda logits, mask: softmax.entropy(_full(logits), _allowed(logits, mask)), logits)
    return entropies if support is None else _where_counted(_position(logits, mask), entropies, 0.0)


@_verb
def support(logits: Real, mask: Mask, *, ignore_index: int = -100) -> Constraint:
    """Return the support as a constraint: the tokens of finite log-probability, and any token at an ignored position.

    >>> support(torch.zeros(2, 4), torch.tensor([True, False])).check(torch.tensor([[3, 9], [4, 0]]))
    tensor([[ True,  True],
            [False,  True]])
    """
    allowed = _allowed(logits, mask) & (logits > -math.inf)
    return supports.tokens(allowed, _position(logits, mask), ignore_index)


@_verb
def kl(p: Params, q: Params) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) of every position in nats; 0 where p or q ignores it.

    It is +inf where p allows a token that q does not. The logits of p and q must have one shape, the masks need not.

    >>> logits, positions = torch.zeros(2, 3), torch.tensor([True, False])
    >>> kl(Params(logits, positions), Params(logits + torch.tensor([0.0, 0.0, 1.0]), positions))
    tensor([0.1195, 0.0000])
    """
    divergence = by_chunks(_kl, p.logits, p.mask, q.logits, q.mask)
    return _where_counted(_position(*q), _where_counted(_position(*p), divergence, 0.0), 0.0)


def _kl(p_logits: Tensor, p_mask: Tensor, q_logits: Tensor, q_mask: Tensor) -> Tensor:
    """Return the sum of p (exp(-r) - 1 + r), r = log p - log q, and of q outside p's support; no term is negative."""
    (log_p, p_counts), (log_q, q_counts) = _log_softmax(p_logits, p_mask), _log_softmax(q_logits, q_mask)
    in_p, in_q = (log_p != -math.inf) & p_counts[..., None], (log_q != -math.inf) & q_counts[..., None]
    in_both = in_p & in_q
    log_ratio = torch.where(in_both, log_p, 0.0) - torch.where(in_both, log_q, 0.0)
    p, q = log_p.exp(), log_q.exp()
    is_near = log_ratio.detach().abs() < 1
    near = torch.where(is_near, log_ratio, 0.0)
    terms = torch.where(is_near, p * (torch.expm1(-near) + near), q - p + p * log_ratio)
    divergence = torch.where(in_both, terms, torch.where(in_q, q, 0.0)).sum(-1)
    is_missed = (in_p & ~in_q).any(-1) & ~divergence.isnan()
    return torch.where(is_missed, math.inf, torch.where(p_counts & q_counts, divergence, 0.0))


@_verb
def mode(logits: Real, mask: Mask, *, ignore_index: int = -100) -> Tensor:
    """Return the most probable token of every position, the first among equals.

    >>> mode(torch.tensor([[1.0, 3.0, 3.0], [0.0, 0.0, 2.0]]), torch.tensor([True, False]))
    tensor([   1, -100])
    """
    position = _position(logits, mask)
    if position is not None:
        return _where_counted(position, logits.argmax(-1), ignore_index)
    return by_chunks(lambda logits, mask: torch.where(mask, logits, -math.inf).argmax(-1), logits.detach(), mask)


deterministic = verb.deterministic(mode)


# --------------------------------------------------------------------------------------------------- masks and dtypes
def _position(logits: Tensor, mask: Tensor) -> Tensor | None:
    """Return the mask if it is of positions, else None."""
    return mask if mask.ndim < logits.ndim else None


def _allowed(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the mask with an axis of tokens."""
    return mask[..., None] if mask.ndim < logits.ndim else mask


def _where_counted(position: Tensor | None, result: Tensor, otherwise: float) -> Tensor:
    return result if position is None else torch.where(position, result, otherwise)


def _full(logits: Tensor) -> Tensor:
    """Return logits in the precision of the computation, at least float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _log_softmax(logits: Tensor, mask: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities ``(*B, V)``, and the mask of the rows in which they are valid.

    The softmax of ignored rows, and of rows without a token, is that of zeros, so it gives no NaN, forward or backward.
    """
    if mask.ndim == logits.ndim:
        logits = torch.where(mask, logits, -math.inf)
    else:
        rows = mask if rows is None else mask & rows
    has_token = logits.detach().amax(-1) != -math.inf
    rows = has_token if rows is None else has_token & rows
    return _full(torch.where(rows[..., None], logits, 0.0)).log_softmax(-1), rows


def _softmax_terms(logits: Tensor, mask: Tensor) -> softmax.Terms:
    return softmax.terms(_full(logits), _allowed(logits, mask))


# ------------------------------------------------------------------------------------------------------------ samples
def _samples_last(table: Tensor, batch_ndim: int) -> Tensor:
    """Return ``(*S, *B)`` as ``(*B, S)``, so that slices of the batch hold all samples of a row."""
    split = table.ndim - batch_ndim
    return table.reshape(math.prod(table.shape[:split]), *table.shape[split:]).movedim(0, -1)


def _samples_first(columns: Tensor, shape: Sequence[int]) -> Tensor:
    return columns.movedim(-1, 0).reshape(shape)
