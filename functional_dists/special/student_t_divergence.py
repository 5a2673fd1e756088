"""The divergence of two Student's t distributions, by quadrature.

With v = log q(x) - log p(x) it is -E_p v, and also E_p (exp(v) - 1 - v) since E_p exp(v) = 1. The terms of the second
form are not negative, so that it keeps its digits where p and q are close.

The variable is w, x = p.loc + p.scale sqrt(p.df) sinh(w). The line is cut at the centres of p and of q. Rules of
Takahasi and Mori (1974) resolve every scale at these two points: that of the peak of p, and that of a much narrower q.
"""

import math

import torch
from torch import Tensor

from functional_dists.special.constant import table_of
from functional_dists.special.deviance import exp_excess
from functional_dists.special.quadrature import half_line_rule
from functional_dists.special.student_t import energy, normaliser_rest

__all__ = ["student_t_divergence"]
__dir__ = __all__.copy  # what tab completion shows


def _segment_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return 96 nodes and weights on (0, 1), which are dense at both ends."""
    t = torch.linspace(-3.1, 3.1, 96, dtype=like.dtype, device=like.device)
    u, rest = torch.sigmoid(math.pi * torch.sinh(t)), torch.sigmoid(-math.pi * torch.sinh(t))
    return u, (6.2 / 95 * math.pi) * torch.cosh(t) * u * rest


def _nodes(df: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes w on a leading axis, and weights; `centre` >= 0 is the w of the centre of q."""
    axes = [-1] + [1] * df.ndim
    far, far_weight = (numbers.reshape(axes) for numbers in table_of(half_line_rule, df))
    near, near_weight = (numbers.reshape(axes) for numbers in table_of(_segment_rule, df))
    scale = 1.5 / torch.sqrt(df) + 2 / df
    nodes = torch.cat([-scale * far, centre * near, centre + scale * far])
    nodes = nodes.clamp(-600.0, 600.0)  # sinh(w) is finite; the tails beyond have no digits
    return nodes, torch.cat([scale * far_weight, centre * near_weight, scale * far_weight])


def student_t_divergence(p_df: Tensor, q_df: Tensor, shift: Tensor, p_scale: Tensor, q_scale: Tensor) -> Tensor:
    """Return KL(p || q) of float64 parameters, where `shift` is the distance of the two locations.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> student_t_divergence(one, one, one, one, one)  # log(1 + 1/4)
    tensor(0.2231, dtype=torch.float64)
    """
    tensors = torch.broadcast_tensors(p_df, q_df, shift, p_scale, q_scale)
    p_df, q_df, shift, p_scale, q_scale = tensors
    df, _, gap, p_size, q_size = (tensor.detach() for tensor in tensors)
    ratio = q_df.detach() / df
    is_near = ((ratio - 1).abs() < 0.2) & ((q_size / p_size - 1).abs() < 0.2) & (gap.abs() < 0.3 * p_size)
    shift = torch.where(shift < 0, -shift, shift)  # both densities are even
    w, weight = _nodes(df, torch.asinh(gap.abs() / p_size / df.sqrt()))
    y = df.sqrt() * torch.sinh(w)  # x = p.loc + p.scale y
    density = torch.exp(normaliser_rest(p_df) - energy(y, p_df)) / math.sqrt(2 * math.pi)
    z = (p_scale * y - shift) / q_scale
    normalisers = normaliser_rest(q_df) - normaliser_rest(p_df) + torch.log(p_scale / q_scale)
    v = normalisers + (energy(y, p_df) - energy(z, q_df))
    terms = torch.where(is_near, exp_excess(torch.where(is_near, v, 0.0)), -v)
    return (weight * (df.sqrt() * torch.cosh(w)) * density * terms).sum(0)
