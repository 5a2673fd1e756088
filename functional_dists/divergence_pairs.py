"""Divergences KL(p || q) of two families that differ. `divergence.kl` takes them from `PAIRS`.

Each is minus the entropy of p, plus the mean of -log q under p. They are computed in float64 and rounded once.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from functional_dists.continuous import (
    beta,
    cauchy,
    chi2,
    exponential,
    gamma,
    gumbel,
    laplace,
    logistic,
    low_rank_normal,
    multivariate_normal,
    normal,
    uniform,
)
from functional_dists.discrete import bernoulli, geometric, poisson
from functional_dists.family import broadcast_shape, sum_event
from functional_dists.special import HALF_LOG_2PI, nan_of, softplus
from functional_dists.special.beta_divergence import divergence_of_intervals
from functional_dists.special.deviance import one_minus_exp, ratio_excess
from functional_dists.special.elementary import LOG_2
from functional_dists.special.gamma_density import gamma_divergence
from functional_dists.special.log_gamma import EULER_GAMMA

__all__ = ["PAIRS"]

#: The families of p and q, and `f(p_params, q_params, *, event_dims=0)`.
PAIRS: list[tuple[Any, Any, Callable[..., Tensor]]] = []
_SQRT_2 = math.sqrt(2)


def _pair(p_family: Any, q_family: Any) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Add a function of the float64 parameters of p, then of q, to `PAIRS`."""

    def add(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def kl(p: Any, q: Any, *, event_dims: int = 0) -> Tensor:
            given = [t for t in (*p, *q) if isinstance(t, Tensor)] or [torch.empty(())]
            dtype = given[0].dtype
            for tensor in given[1:]:
                dtype = torch.promote_types(dtype, tensor.dtype)
            wide = [torch.as_tensor(t, device=given[0].device).double() for t in (*p, *q)]
            found = function(*wide).expand(broadcast_shape(*wide))
            return sum_event(found, event_dims).to(dtype)

        PAIRS.append((p_family, q_family, kl))
        return function

    return add


# ------------------------------------------------------------------------------------------------- values without mass
def _infinite(*params: Tensor) -> Tensor:
    """Return +inf: p has mass where q has none, or the mean of -log q does not exist."""
    return nan_of(torch.full_like(params[0], math.inf), *params)


for _real in (cauchy, gumbel, laplace, logistic, normal):
    for _bounded in (chi2, exponential, gamma, uniform):
        _pair(_real, _bounded)(_infinite)
for _light in (gumbel, laplace, logistic, normal):
    _pair(cauchy, _light)(_infinite)
for _half in (chi2, exponential, gamma):
    _pair(_half, uniform)(_infinite)


@_pair(uniform, beta)
def _(p_low: Tensor, p_high: Tensor, a: Tensor, b: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return divergence_of_intervals([torch.ones_like(p_low), torch.ones_like(p_low), p_low, p_high], [a, b, low, high])


@_pair(beta, uniform)
def _(a: Tensor, b: Tensor, low: Tensor, high: Tensor, q_low: Tensor, q_high: Tensor) -> Tensor:
    return divergence_of_intervals([a, b, low, high], [torch.ones_like(q_low), torch.ones_like(q_low), q_low, q_high])


@_pair(poisson, bernoulli)
def _(rate: Tensor, logits: Tensor) -> Tensor:
    return nan_of(torch.where(rate > 0, math.inf, softplus(torch.where(rate > 0, 0.0, logits))), rate, logits)


@_pair(geometric, bernoulli)
def _(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    is_certain = p_logits == math.inf
    score = softplus(torch.where(is_certain, q_logits, 0.0))
    return nan_of(torch.where(is_certain, score, math.inf), p_logits, q_logits)


# ------------------------------------------------------------------------------------------- positive numbers: gammas
_AS_GAMMA: list[tuple[Any, Callable[..., tuple[Tensor, Tensor]]]] = [
    (exponential, lambda rate: (torch.ones_like(rate), rate)),
    (gamma, lambda a, rate: (a, rate)),
    (chi2, lambda df: (0.5 * df, torch.full_like(df, 0.5))),
]


def _add_gammas(p_family: Any, as_p: Callable[..., Any], q_family: Any, as_q: Callable[..., Any]) -> None:
    size = len(p_family.Params._fields)

    @_pair(p_family, q_family)
    def _(*params: Tensor) -> Tensor:
        return gamma_divergence(*as_p(*params[:size]), *as_q(*params[size:]))


for _p in _AS_GAMMA:
    for _q in _AS_GAMMA:
        if _p is not _q:
            _add_gammas(*_p, *_q)


# ------------------------------------------------------------------------------------------------------------- counts
@_pair(bernoulli, poisson)
def _(logits: Tensor, rate: Tensor) -> Tensor:
    # p (r - 1 - log r) with r = rate / p, plus the same for 1 - p and 1: neither is negative.
    one, zero = bernoulli.probs(logits), bernoulli.probs(-logits)
    is_excluded = (rate == 0) & (one > 0)
    safe = torch.where(rate == 0, 1.0, rate)
    of_one = torch.where(one == 0, rate, one * ratio_excess(safe, torch.where(one == 0, 1.0, one)))
    of_zero = torch.where(zero == 0, 1.0, zero * ratio_excess(torch.ones_like(zero), torch.where(zero == 0, 1.0, zero)))
    return torch.where(is_excluded, math.inf, of_one + of_zero)


# -------------------------------------------------------------------------------------------------------- from q normal
def _from_normal(entropy: Tensor, mean: Tensor, variance: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    shift = (mean - loc) / scale
    return HALF_LOG_2PI + scale.log() + 0.5 * (variance / scale / scale + shift * shift) - entropy


@_pair(exponential, normal)
def _(rate: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return _from_normal(1 - rate.log(), 1 / rate, rate**-2, loc, scale)


@_pair(gumbel, normal)
def _(p_loc: Tensor, p_scale: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    variance = math.pi**2 / 6 * p_scale.square()
    return _from_normal(1 + EULER_GAMMA + p_scale.log(), p_loc + EULER_GAMMA * p_scale, variance, loc, scale)


@_pair(laplace, normal)
def _(p_loc: Tensor, p_scale: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return _from_normal(1 + LOG_2 + p_scale.log(), p_loc, 2 * p_scale.square(), loc, scale)


@_pair(logistic, normal)
def _(p_loc: Tensor, p_scale: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return _from_normal(2 + p_scale.log(), p_loc, math.pi**2 / 3 * p_scale.square(), loc, scale)


@_pair(uniform, normal)
def _(low: Tensor, high: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    width = high - low
    return _from_normal(width.log(), 0.5 * (low + high), width.square() / 12, loc, scale)


# -------------------------------------------------------------------------------------------------------- from q gumbel
@_pair(exponential, gumbel)
def _(rate: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    product = rate * scale
    return product.log() - 1 + 1 / product - loc / scale + torch.exp(loc / scale) * product / (1 + product)


@_pair(normal, gumbel)
def _(p_loc: Tensor, p_scale: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    shift, ratio = (p_loc - loc) / scale, p_scale / scale
    return -0.5 - HALF_LOG_2PI - ratio.log() + shift + torch.exp(0.5 * ratio.square() - shift)


@_pair(uniform, gumbel)
def _(low: Tensor, high: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    start, width = (low - loc) / scale, (high - low) / scale
    return start + 0.5 * width - width.log() + torch.exp(-start) * one_minus_exp(width) / width


# -------------------------------------------------------------------------------------------------------------- others
@_pair(normal, laplace)
def _(p_loc: Tensor, p_scale: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    shift, ratio = (p_loc - loc) / p_scale, p_scale / scale
    distance = math.sqrt(2 / math.pi) * torch.exp(-0.5 * shift.square()) + shift * torch.erf(shift / _SQRT_2)
    return ratio * distance + LOG_2 - ratio.log() - 0.5 - HALF_LOG_2PI


@_pair(uniform, exponential)
def _(low: Tensor, high: Tensor, rate: Tensor) -> Tensor:
    is_outside = low < 0
    width = torch.where(is_outside, 1.0, rate * (high - low))
    found = torch.where(is_outside, 0.0, rate * low) + 0.5 * width - width.log()
    return torch.where(is_outside, math.inf, found)


# ------------------------------------------------------------------------------------------------------------- vectors
def _with_scale(params: Any) -> Any:
    """Return the parameters of a multivariate normal with a scale matrix, given those of one of low rank."""
    loc, factor, diagonal = params
    return multivariate_normal.Params(loc, torch.linalg.cholesky(factor @ factor.mT + torch.diag_embed(diagonal)))


PAIRS += [
    (low_rank_normal, multivariate_normal, lambda p, q: multivariate_normal.kl(_with_scale(p), q)),
    (multivariate_normal, low_rank_normal, lambda p, q: multivariate_normal.kl(p, _with_scale(q))),
]
