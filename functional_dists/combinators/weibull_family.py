"""Weibull distribution of every element: `transformed(exponential, chain(power, affine))`, with its moments.

See Johnson, Kotz & Balakrishnan, "Continuous univariate distributions" (1994), chapter 21.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from functional_dists.bijectors import affine, chain, power
from functional_dists.combinators.named import NamedFamily, expression
from functional_dists.combinators.transforms import transformed
from functional_dists.continuous import exponential
from functional_dists.family import Real, require, sum_event
from functional_dists.family.protocol import MadeFamily
from functional_dists.special import nan_of
from functional_dists.special.constant import scalar
from functional_dists.special.deviance import exp_excess
from functional_dists.special.log_gamma import EULER_GAMMA, log_gamma_curvature, log_gamma_excess
from functional_dists.special.polygamma import log_gamma

__all__ = ["weibull"]


class WeibullParams(NamedTuple):
    """Parameters of a Weibull distribution, which broadcast: that of scale E^(1 / k) for a standard exponential E.

    scale: The scale, positive, of shape (*batch, *event).
    concentration: The power k of the logarithm of the survival, positive, of shape (*batch, *event).
    """

    scale: Real
    concentration: Real


_scaled_power = transformed(exponential, chain(power, affine))


def _as_scaled_power(scale: Tensor, concentration: Tensor) -> Any:
    one = scalar(1.0, scale)
    return _scaled_power.Params(one, 1 / concentration, scalar(0.0, scale), scale)


_weibull = expression("weibull", WeibullParams, _scaled_power, _as_scaled_power)


@_weibull
def check(scale: Real, concentration: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only."""
    require((scale > 0) & scale.isfinite(), "scale", "must be positive and finite")
    require((concentration > 0) & concentration.isfinite(), "concentration", "must be positive and finite")


@_weibull
def entropy(scale: Real, concentration: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, log(scale / k) + 1 + gamma (1 - 1 / k)."""
    k = concentration.double()
    return sum_event(scale.double().log() - k.log() + 1 + EULER_GAMMA * (1 - 1 / k), event_dims).to(scale.dtype)


@_weibull
def kl(p: WeibullParams, q: WeibullParams, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats, that of the Gumbel distributions of -log x.

    With the ratio r of the powers of q and p, and b = q.concentration log(p.scale / q.scale) + log Gamma(1 + r), it is
    exp(b) - 1 - b + log Gamma(r) + gamma (r - 1).
    """
    p_scale, p_power, q_scale, q_power = (tensor.double() for tensor in (*p, *q))
    change = (p_scale - q_scale) / q_scale
    is_near = change.abs() < 0.5
    near = torch.log1p(torch.where(is_near, change, 0.0))
    log_ratio = torch.where(is_near, near, p_scale.log() - q_scale.log())
    excess, log_factor = log_gamma_excess(q_power, p_power)
    found = exp_excess(q_power * log_ratio + log_factor) + excess
    return sum_event(found, event_dims).to(p.scale.dtype)


@_weibull
def mean(scale: Real, concentration: Real) -> Tensor:
    """Return the mean, elementwise: scale Gamma(1 + 1 / k)."""
    return (scale.double() * log_gamma(1 + 1 / concentration.double()).exp()).to(scale.dtype)


@_weibull
def variance(scale: Real, concentration: Real) -> Tensor:
    """Return the variance, elementwise: scale^2 (Gamma(1 + 2 / k) - Gamma(1 + 1 / k)^2), without cancellation."""
    c = 1 / concentration.double()
    is_small = c < 0.2
    safe = torch.where(is_small, 1.0, c)
    plain = log_gamma(1 + 2 * safe) - 2 * log_gamma(1 + safe)
    ratio = torch.where(is_small, log_gamma_curvature(torch.where(is_small, c, 0.1), 1e300 + 0 * c), plain)
    square = (scale.double() * log_gamma(1 + c).exp()).square()
    return (square * (exp_excess(ratio) + ratio)).to(scale.dtype)


_weibull.stddev(variance)


@_weibull
def mode(scale: Real, concentration: Real) -> Tensor:
    """Return the mode, elementwise: scale ((k - 1) / k)^(1 / k), and 0 where k <= 1."""
    k, is_end = concentration.double(), concentration <= 1
    safe = torch.where(is_end, 2.0, k)
    inner = torch.exp(torch.log((safe - 1) / safe) / safe)
    return (scale.double() * nan_of(torch.where(is_end, 0.0, inner), k)).to(scale.dtype)


weibull: MadeFamily = NamedFamily(_weibull)
