"""Categorical distribution of language-model tokens: many positions, and a vocabulary of a hundred thousand.

Probabilities are proportional to exp(logits), as in `masked_categorical`. The mask is of positions, (*batch, T), or of
tokens, (*batch, T, V). Its number of axes decides which, and nothing broadcasts. Masked logits, even NaN and infinity,
affect neither values nor gradients.

A position whose mask is False, such as padding or a prompt, is ignored. Its sample and mode are `ignore_index`; its
log-prob (of any value), entropy, KL and probabilities are 0. Elsewhere the log-prob of `ignore_index` is also 0, as in
`torch.nn.functional.cross_entropy`. A position without an allowed token is invalid (`check` raises), but does not
affect other positions: its sample, entropy and probabilities are 0, its log-probs -inf.

With `softcap` c the logits are c tanh(logits / c); then they are divided by the `temperature`, of shape (*batch, T) or
a number. Both change a chunk of rows at a time, and no kernel knows them. A `support` restricts the mask to a kept set:
it becomes a mask of tokens, of one byte a logit. Results are those of logits and a mask that were changed before the
call; changed logits of half precision are not rounded.

In eager code the only tensor as large as the logits is their gradient. The forward and the backward pass work on one
chunk of rows at a time, half precision in float32, and the backward pass recomputes each chunk. `torch.func` transforms
and second derivatives store what their formulas need; `torch.compile` fuses the operations itself. Log-probs and
entropies are as accurate as those of `masked_categorical`. A row has the same bits in any batch and chunk.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.discrete.kept import Kept
from functional_dists.discrete.token_options import DESCRIBED, Temperature, adjustment_of, restricted
from functional_dists.family import Index, Mask, Real, define, require
from functional_dists.random import Shape, Source
from functional_dists.special import choose_by_logits, softmax, tokens
from functional_dists.special import support as supports
from functional_dists.special.adjustment import Adjustment


class Params(NamedTuple):
    """Parameters of a distribution of tokens, which do not broadcast against each other.

    logits: Log-probabilities up to a constant, of shape (*batch, T, V).
    mask: Bool, of shape (*batch, T), True at the positions that count, or (*batch, T, V), True for the allowed tokens.
    value: Tokens, integers of shape (*sample, *batch, T): they may add leading axes to the positions.
    sample: Tokens, int64, of shape (*sample_shape, *batch, T).
    """

    logits: Real
    mask: Mask


verb = define(Params, takes_dtype=True, values_of=Index, knows_cut_rows=True, **DESCRIBED)


def _fit(logits: torch.Size, mask: torch.Size) -> torch.Size:
    if len(logits) == 0:
        raise ValueError("logits must have an axis of tokens")
    if mask not in (logits, logits[:-1]):
        raise ValueError(
            "mask must have the shape of the logits or that without its last axis, as they do not broadcast"
        )
    return logits


_verb = verb(fit=_fit, keeps_dtypes=True)
_Options = dict[str, Any]


@_verb
def check(
    logits: Real,
    mask: Mask,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    support: Kept | None = None,
) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(2, 3), torch.tensor([[True, False, True], [False, False, False]]))
    Traceback (most recent call last):
    ...
    ValueError: mask must allow a token at every position; this fails at position (1,)
    """
    adjustment_of("llm_masked_categorical.check", logits, temperature, softcap)
    position = tokens.position_mask(logits, mask)
    if position is None:
        require(mask.any(-1), "mask", "must allow a token at every position")
        position = torch.ones((), dtype=torch.bool, device=mask.device)
    allowed = _allowed(logits, restricted(logits, mask, support))
    require(allowed.any(-1) | ~position, "support", "must keep an allowed token at every position")
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
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    support: Kept | None = None,
) -> Tensor:
    """Draw tokens by the inverse cdf; `ignore_index` at an ignored position.

    >>> sample(random.key(42), torch.zeros(3, 50_000), torch.tensor([True, True, False]))
    tensor([17091, 48929,  -100])
    """
    if support is not None:  # the call without it may use a kernel, which knows masks of tokens
        allowed = restricted(logits, mask, support)
        drawn = sample(key, logits, allowed, sample_shape=sample_shape, temperature=temperature, softcap=softcap)
        return _where_counted(logits, mask, drawn, ignore_index)
    adjustment = adjustment_of("llm_masked_categorical.sample", logits, temperature, softcap).detached()
    # All uniform draws come first, so that the size of the chunks does not change a token.
    batch = logits.shape[:-1]
    uniforms = random.draw_entries(random.uniform, key, sample_shape, batch, dtype=torch.float64, device=logits.device)
    columns = tokens.samples_last(uniforms, logits.ndim - 1)
    chosen = adjustment.by_chunks(_choose_tokens, logits.detach(), mask, columns)
    return _where_counted(logits, mask, tokens.samples_first(chosen, uniforms.shape), ignore_index)


def _choose_tokens(adjustment: Adjustment, logits: Tensor, mask: Tensor, uniforms: Tensor) -> Tensor:
    # Tokens drawn at ignored positions are replaced by the caller.
    allowed = mask if mask.ndim == logits.ndim else None
    table = adjustment.adjusted(logits, allowed)
    if uniforms.shape[-1] == 1:  # without an axis of samples this compiles to one kernel
        return choose_by_logits(table, allowed, uniforms.squeeze(-1)).unsqueeze(-1)
    return choose_by_logits(table, allowed, uniforms.movedim(-1, 0)).movedim(0, -1)


@_verb
def sample_and_log_prob(
    key: Source,
    logits: Real,
    mask: Mask,
    *,
    sample_shape: Shape = (),
    ignore_index: int = -100,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    support: Kept | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which has the score-function gradient.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(2, 4), torch.tensor([True, False]))
    >>> log_prob
    tensor([-1.3863,  0.0000])
    """
    options: _Options = {"ignore_index": ignore_index, "temperature": temperature, "softcap": softcap}
    allowed = restricted(logits, mask, support)
    value = sample(key, logits, allowed, sample_shape=sample_shape, **options)
    score = log_prob(logits, allowed, value, dtype=_precision(logits), **options)  # the verb rounds only its result
    if support is None:
        return value, score
    return _where_counted(logits, mask, value, ignore_index), _where_counted(logits, mask, score, 0.0)


# -------------------------------------------------------------------------------------------------------- probability
@_verb
def log_prob(
    logits: Real,
    mask: Mask,
    value: Index,
    *,
    ignore_index: int = -100,
    temperature: Temperature = 1.0,
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
    if support is not None:
        options: _Options = {"ignore_index": ignore_index, "temperature": temperature, "softcap": softcap}
        score = log_prob(logits, restricted(logits, mask, support), value, dtype=_precision(logits), **options)
        return _where_counted(logits, mask, score, 0.0)
    adjustment = adjustment_of("llm_masked_categorical.log_prob", logits, temperature, softcap)
    return tokens.log_prob(logits, mask, value.long(), ignore_index, adjustment)


@_verb
def log_prob_and_entropy(
    logits: Real,
    mask: Mask,
    value: Index,
    *,
    ignore_index: int = -100,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    support: Kept | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the log-probability of a token, as `log_prob` does, and the entropy of every position in nats.

    >>> log_prob_and_entropy(torch.zeros(2, 4), torch.tensor([True, False]), torch.tensor([3, 1]))
    (tensor([-1.3863,  0.0000]), tensor([1.3863, 0.0000]))
    """
    if support is not None:
        options: _Options = {"ignore_index": ignore_index, "temperature": temperature, "softcap": softcap}
        allowed, precision = restricted(logits, mask, support), _precision(logits)
        score, result = log_prob_and_entropy(logits, allowed, value, dtype=precision, **options)
        return _where_counted(logits, mask, score, 0.0), _where_counted(logits, mask, result, 0.0)
    adjustment = adjustment_of("llm_masked_categorical.log_prob_and_entropy", logits, temperature, softcap)
    return tokens.log_prob_and_entropy(logits, mask, value.long(), ignore_index, adjustment)


@_verb
def probs(
    logits: Real,
    mask: Mask,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    support: Kept | None = None,
) -> Tensor:
    """Return the probabilities of all tokens: 0 for the masked ones, and at an ignored position.

    >>> probs(torch.zeros(2, 4), torch.tensor([True, False]))
    tensor([[0.2500, 0.2500, 0.2500, 0.2500],
            [0.0000, 0.0000, 0.0000, 0.0000]])
    """
    adjustment = adjustment_of("llm_masked_categorical.probs", logits, temperature, softcap)
    return adjustment.by_chunks(
        lambda own, logits, mask: softmax.probs(_softmax_terms(own, logits, mask)).to(logits.dtype),
        logits,
        restricted(logits, mask, support),
    )


@_verb
def normalized_logits(
    logits: Real,
    mask: Mask,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    support: Kept | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the log-probabilities of all tokens.

    >>> normalized_logits(torch.zeros(2, 4), torch.tensor([True, False]))
    tensor([[-1.3863, -1.3863, -1.3863, -1.3863],
            [   -inf,    -inf,    -inf,    -inf]])
    """
    adjustment = adjustment_of("llm_masked_categorical.normalized_logits", logits, temperature, softcap)
    return adjustment.by_chunks(
        lambda own, logits, mask: softmax.log_probs(_softmax_terms(own, logits, mask)).to(dtype or logits.dtype),
        logits,
        restricted(logits, mask, support),
    )


@_verb
def entropy(
    logits: Real,
    mask: Mask,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    support: Kept | None = None,
) -> Tensor:
    """Return the entropy of every position in nats.

    >>> entropy(torch.zeros(2, 4), torch.tensor([True, False]))
    tensor([1.3863, 0.0000])
    """
    if support is not None:
        allowed, precision = restricted(logits, mask, support), _precision(logits)
        result = entropy(logits, allowed, temperature=temperature, softcap=softcap, dtype=precision)
        return _where_counted(logits, mask, result, 0.0)
    adjustment = adjustment_of("llm_masked_categorical.entropy", logits, temperature, softcap)
    return tokens.entropy(logits, mask, adjustment)


@_verb
def support(
    logits: Real,
    mask: Mask,
    *,
    ignore_index: int = -100,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    support: Kept | None = None,
) -> Constraint:
    """Return the support as a constraint: the tokens of finite log-probability, and any token at an ignored position.

    >>> support(torch.zeros(2, 4), torch.tensor([True, False])).check(torch.tensor([[3, 9], [4, 0]]))
    tensor([[ True,  True],
            [False,  True]])
    """
    adjustment_of("llm_masked_categorical.support", logits, temperature, softcap)  # they keep the support
    allowed = _allowed(logits, restricted(logits, mask, support)) & (logits > -math.inf)
    return supports.tokens(allowed, tokens.position_mask(logits, mask), ignore_index)


@_verb
def kl(
    p: Params,
    q: Params,
    *,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    support: Kept | None = None,
) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) of every position in nats; 0 where p or q ignores it.

    It is +inf where p allows a token that q does not. The logits of p and q must have one shape, the masks need not.
    The options hold for both.

    >>> logits, positions = torch.zeros(2, 3), torch.tensor([True, False])
    >>> kl(Params(logits, positions), Params(logits + torch.tensor([0.0, 0.0, 1.0]), positions))
    tensor([0.1195, 0.0000])
    """
    adjustment = adjustment_of("llm_masked_categorical.kl", p.logits, temperature, softcap)
    allowed = restricted(p.logits, p.mask, support), restricted(q.logits, q.mask, support)
    divergence = tokens.kl(p.logits, allowed[0], q.logits, allowed[1], adjustment)
    return _where_counted(*q, _where_counted(*p, divergence, 0.0), 0.0)


@_verb
def mode(
    logits: Real,
    mask: Mask,
    *,
    ignore_index: int = -100,
    temperature: Temperature = 1.0,
    softcap: float | None = None,
    support: Kept | None = None,
) -> Tensor:
    """Return the most probable token of every position, the first among equals.

    >>> mode(torch.tensor([[1.0, 3.0, 3.0], [0.0, 0.0, 2.0]]), torch.tensor([True, False]))
    tensor([   1, -100])
    """
    adjustment = adjustment_of("llm_masked_categorical.mode", logits, temperature, softcap).detached()
    allowed = restricted(logits, mask, support)
    if allowed.ndim < logits.ndim and adjustment == Adjustment():
        return _where_counted(logits, mask, softmax.mode(logits, None), ignore_index)
    tops = adjustment.by_chunks(_first_largest, logits.detach(), allowed)
    return _where_counted(logits, mask, tops, ignore_index)


def _first_largest(adjustment: Adjustment, logits: Tensor, mask: Tensor) -> Tensor:
    allowed = mask if mask.ndim == logits.ndim else None
    return softmax.mode(adjustment.adjusted(softmax.masked(logits, allowed), allowed), None)


deterministic = verb.deterministic(mode)


# --------------------------------------------------------------------------------------------------- masks and dtypes
def _allowed(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the mask with an axis of tokens."""
    return mask[..., None] if mask.ndim < logits.ndim else mask


def _softmax_terms(adjustment: Adjustment, logits: Tensor, mask: Tensor) -> softmax.Terms:
    allowed = _allowed(logits, mask)
    return softmax.terms(adjustment.adjusted(logits, allowed), allowed)


def _where_counted(logits: Tensor, mask: Tensor, result: Tensor, otherwise: float) -> Tensor:
    """Return the result, but a number at the positions that the mask ignores."""
    return tokens.where_counted(tokens.position_mask(logits, mask), result, otherwise)


def _precision(logits: Tensor) -> torch.dtype:
    """Return the dtype of the computation, at least float32."""
    return torch.promote_types(logits.dtype, torch.float32)
