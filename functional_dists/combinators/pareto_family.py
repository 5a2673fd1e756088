"""Pareto distribution of every element: `transformed(exponential, chain(exp, affine))`, with moments in closed form.

See Johnson, Kotz & Balakrishnan, "Continuous univariate distributions" (1994), chapter 20.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.bijectors import affine, chain, exp
from functional_dists.combinators.named import NamedFamily, expression
from functional_dists.combinators.transforms import transformed
from functional_dists.continuous import exponential
from functional_dists.family import Real, require, sum_event
from functional_dists.family.protocol import MadeFamily
from functional_dists.special import nan_of
from functional_dists.special.constant import scalar
from functional_dists.special.deviance import ratio_excess

__all__ = ["pareto"]


class ParetoParams(NamedTuple):
    """Parameters of a Pareto distribution, which broadcast: that of scale exp(E / alpha) for a standard exponential E.

    scale: The lower end, positive, of shape (*batch, *event).
    alpha: The power of the tail, positive, of shape (*batch, *event).
    """

    scale: Real
    alpha: Real


_scaled_growth = transformed(exponential, chain(exp, affine))
_pareto = expression(
    "pareto", ParetoParams, _scaled_growth, lambda scale, alpha: _scaled_growth.Params(alpha, scalar(0.0, scale), scale)
)


@_pareto
def check(scale: Real, alpha: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only."""
    require((scale > 0) & scale.isfinite(), "scale", "must be positive and finite")
    require((alpha > 0) & alpha.isfinite(), "alpha", "must be positive and finite")


@_pareto
def entropy(scale: Real, alpha: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, log(scale / alpha) + 1 + 1 / alpha."""
    wide = alpha.double()
    return sum_event(scale.double().log() - wide.log() + 1 + 1 / wide, event_dims).to(scale.dtype)


@_pareto
def kl(p: ParetoParams, q: ParetoParams, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; infinite where the support of q begins later.

    It is r - 1 - log r + q.alpha log(p.scale / q.scale) with r = q.alpha / p.alpha.
    """
    p_scale, p_alpha, q_scale, q_alpha = (tensor.double() for tensor in (*p, *q))
    is_later = q_scale > p_scale
    growth = torch.log1p((p_scale - torch.where(is_later, p_scale, q_scale)) / torch.where(is_later, p_scale, q_scale))
    found = ratio_excess(q_alpha, p_alpha) + q_alpha * growth
    return sum_event(torch.where(is_later, math.inf, found), event_dims).to(p.scale.dtype)


@_pareto
def mean(scale: Real, alpha: Real) -> Tensor:
    """Return the mean, elementwise: scale alpha / (alpha - 1); infinite where alpha <= 1."""
    wide, is_heavy = alpha.double(), alpha <= 1
    safe = torch.where(is_heavy, 2.0, wide)
    found = torch.where(is_heavy, math.inf, scale.double() * (safe / (safe - 1)))
    return nan_of(found, scale).to(scale.dtype)


@_pareto
def variance(scale: Real, alpha: Real) -> Tensor:
    """Return the variance, elementwise: scale^2 alpha / ((alpha - 1)^2 (alpha - 2)); infinite where alpha <= 2."""
    wide, is_heavy = alpha.double(), alpha <= 2
    safe = torch.where(is_heavy, 3.0, wide)
    found = torch.where(is_heavy, math.inf, (scale.double() / (safe - 1)).square() * (safe / (safe - 2)))
    return nan_of(found, scale).to(scale.dtype)


_pareto.stddev(variance)


@_pareto
def mode(scale: Real, alpha: Real) -> Tensor:
    """Return the mode, elementwise: `scale`, the lower end."""
    return nan_of(scale, alpha)


pareto: MadeFamily = NamedFamily(_pareto)
