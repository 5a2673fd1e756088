"""Rules whose nodes are made by arithmetic on the parameters' device: no table to copy, nothing to cache."""

import math

import torch
from torch import Tensor

from functional_dists.special.constant import table


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

    The trapezoidal rule in t with u = sigmoid(pi sinh(t)) (Takahasi & Mori 1974), 36 nodes for float64.

    >>> u, w = unit_interval_rule(torch.tensor(0.0, dtype=torch.float64))
    >>> (w * u**2).sum()
    tensor(0.3333, dtype=torch.float64)
    """
    last, count = 3.1, 36
    step = 2 * last / (count - 1)
    t = step * torch.arange(count, dtype=like.dtype, device=like.device) - last
    u = torch.sigmoid(math.pi * torch.sinh(t))
    return u, step * math.pi * torch.cosh(t) * u * torch.sigmoid(-math.pi * torch.sinh(t))


# Nodes in (0, 1/2) and weights of the rule of Gauss and Legendre with 24 nodes, correctly rounded.
_GAUSS_NODES = (
    0.00240639000148932,
    0.012635722014345251,
    0.030862723998633622,
    0.056792236497799485,
    0.08999900701304854,
    0.12993790421072282,
    0.17595317403151223,
    0.22728926430558022,
    0.2831032461869774,
    0.3424786601519183,
    0.40444056626319186,
    0.4679715535686972,
)
_GAUSS_WEIGHTS = (
    0.0061706148999936,
    0.014265694314466832,
    0.022138719408709904,
    0.02964929245771839,
    0.03667324070554015,
    0.04309508076597664,
    0.04880932605205694,
    0.05372213505798282,
    0.0577528340268628,
    0.060835236463901696,
    0.06291872817341415,
    0.06396909767337608,
)


def window_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes u < 1/2 and weights w, sum_i w_i (f(u_i) + f(1 - u_i)) = integral of f over (0, 1).

    For an entire f such as exp(-u^2). In float32 on the CPU it is the rule of Gauss and Legendre, from a table, with 24
    nodes. Elsewhere copying a table would wait for the device: there, and in float64, it is `fejer_rule`.

    >>> u, w = window_rule(torch.tensor(0.0))
    >>> (w * (u**2 + (1 - u) ** 2)).sum()
    tensor(0.3333)
    """
    if like.dtype == torch.float32 and like.device.type == "cpu":
        return table(_GAUSS_NODES, like), table(_GAUSS_WEIGHTS, like)
    return fejer_rule(like)


def fejer_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first rule of Fejer (1933) as `window_rule` does: 36 nodes in float32, 88 in float64.

    >>> u, w = fejer_rule(torch.tensor(0.0))
    >>> (w * (u**2 + (1 - u) ** 2)).sum()
    tensor(0.3333)
    """
    count = 36 if like.dtype == torch.float32 else 88
    odd = 2 * torch.arange(count // 2, device=like.device) + 1
    order = torch.arange(1, count // 2 + 1, device=like.device)
    # Whole turns of the angles are taken out in integers; in float64, as the sum cancels near the ends.
    turn = (odd[:, None] * order) % (2 * count)
    cosine = torch.cos(turn.double() * (math.pi / count))
    weight = (1 - 2 * (cosine / (4 * order * order - 1)).sum(-1)) / count
    u = torch.sin(odd.to(like.dtype) * (0.25 * math.pi / count)).square()
    return u, weight.to(like.dtype)
