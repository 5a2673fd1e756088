"""Rules whose nodes are made by arithmetic on the parameters' device: no table to copy, nothing to cache."""

import math

import torch
from torch import Tensor


def normal_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes z and weights w, sum_i w_i f(z_i) = E f(Z) for a standard normal Z.

    The trapezoidal rule, which converges exponentially for an analytic f (Trefethen & Weideman 2014): the error is
    exp(-2 pi d / step) where f is analytic within d of the real line. 40 nodes in float32, 112 in float64. They reach
    further down than up, since a tail of a saturated tanh weighs its integrand with exp(-4 z).

    >>> z, w = normal_rule(torch.tensor(0.0))
    >>> (w * z**2).sum()
    tensor(1.0000)
    """
    first, last, count = (-9.5, 6.5, 40) if like.dtype == torch.float32 else (-13.5, 9.5, 112)
    step = (last - first) / (count - 1)
    z = first + step * torch.arange(count, dtype=like.dtype, device=like.device)
    return z, step / math.sqrt(2 * math.pi) * torch.exp(-0.5 * z * z)


def fine_normal_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes z and weights w as `normal_rule` does, for an f that turns quickly: 261 in float32, 951 in float64.

    >>> z, w = fine_normal_rule(torch.tensor(0.0))
    >>> (w * torch.sigmoid(20 * z)).sum()
    tensor(0.5000)
    """
    last, count = (6.5, 261) if like.dtype == torch.float32 else (9.5, 951)
    step = 2 * last / (count - 1)
    z = step * torch.arange(count, dtype=like.dtype, device=like.device) - last
    return z, step / math.sqrt(2 * math.pi) * torch.exp(-0.5 * z * z)


def half_line_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes x and weights w, sum_i w_i f(x_i) = integral of f over x > 0, for f that decays like exp(-2 x).

    The trapezoidal rule in t with x = exp(t - exp(-t)) (Takahasi & Mori 1974, for integrands that decay exponentially).
    48 nodes in float32, 88 in float64.

    >>> x, w = half_line_rule(torch.tensor(0.0))
    >>> (w * torch.exp(-2 * x)).sum()
    tensor(0.5000)
    """
    first, last, count = (-3.0, 2.8, 48) if like.dtype == torch.float32 else (-3.6, 3.3, 88)
    step = (last - first) / (count - 1)
    t = first + step * torch.arange(count, dtype=like.dtype, device=like.device)
    e = torch.exp(-t)
    x = torch.exp(t - e)
    return x, step * x * (1 + e)


def unit_interval_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes u and weights w, sum_i w_i f(u_i) = integral of f over (0, 1), for a smooth f.

    The trapezoidal rule in t with u = sigmoid(pi sinh(t)) (Takahasi & Mori 1974). 16 nodes in float32, 36 in float64.

    >>> u, w = unit_interval_rule(torch.tensor(0.0))
    >>> (w * u**2).sum()
    tensor(0.3333)
    """
    last, count = (2.4, 16) if like.dtype == torch.float32 else (3.1, 36)
    step = 2 * last / (count - 1)
    t = step * torch.arange(count, dtype=like.dtype, device=like.device) - last
    u = torch.sigmoid(math.pi * torch.sinh(t))
    return u, step * math.pi * torch.cosh(t) * u * torch.sigmoid(-math.pi * torch.sinh(t))


def window_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes u and weights w, sum_i w_i f(u_i) = integral of f over (0, 1), for an entire f such as exp(-u^2).

    The first rule of Fejer (1933), which interpolates at the points of Chebyshev: almost as good as that of Gauss, and
    made by arithmetic. 36 nodes in float32, 88 in float64.

    >>> u, w = window_rule(torch.tensor(0.0))
    >>> (w * u**2).sum()
    tensor(0.3333)
    """
    count = 36 if like.dtype == torch.float32 else 88
    odd = 2 * torch.arange(count, device=like.device) + 1
    order = torch.arange(1, count // 2 + 1, device=like.device)
    # Whole turns of the angles are taken out in integers; in float64, as the sum cancels near the ends.
    turn = (odd[:, None] * order) % (2 * count)
    cosine = torch.cos(turn.double() * (math.pi / count))
    weight = (1 - 2 * (cosine / (4 * order * order - 1)).sum(-1)) / count
    u = torch.sin(odd.to(like.dtype) * (0.25 * math.pi / count)).square()
    return u, weight.to(like.dtype)
