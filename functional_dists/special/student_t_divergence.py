"""The divergence of two Student's t distributions, by quadrature, with its derivatives.

Let y be the standardised value under p, and z = ratio y - shift that under q. With v = log q - log p it is -E_p v, and
also E_p (exp(v) - 1 - v) since E_p exp(v) = 1. The terms of the second form are not negative, so that it keeps its
digits where p and q are close.

The variable is w, y = sqrt(p.df) sinh(w). The line is cut at the centres of p and of q. Rules of Takahasi and Mori
(1974) resolve every scale at these two points: that of the peak of p, and that of a much narrower q.
"""

import math

import torch
from torch import Tensor

from functional_dists.special.constant import table_of
from functional_dists.special.deviance import exp_excess
from functional_dists.special.elementary import expm1
from functional_dists.special.implicit import second_order
from functional_dists.special.operations import elementwise_operation, in_blocks
from functional_dists.special.quadrature import half_line_rule, sum_of_nodes
from functional_dists.special.student_t import HalfLine, score_at

__all__ = ["student_t_divergence"]
__dir__ = __all__.copy  # what tab completion shows


def _segment_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return 96 nodes and weights on (0, 1), which are dense at both ends."""
    t = torch.linspace(-3.1, 3.1, 96, dtype=like.dtype, device=like.device)
    u, rest = torch.sigmoid(math.pi * torch.sinh(t)), torch.sigmoid(-math.pi * torch.sinh(t))
    return u, (6.2 / 95 * math.pi) * torch.cosh(t) * u * rest


def _nodes(df: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes w on a leading axis, and weights; `centre` is the w of the centre of q."""
    axes = [-1] + [1] * df.ndim
    far, far_weight = (numbers.reshape(axes) for numbers in table_of(half_line_rule, df))
    near, near_weight = (numbers.reshape(axes) for numbers in table_of(_segment_rule, df))
    first, last = torch.minimum(centre, torch.zeros_like(centre)), torch.maximum(centre, torch.zeros_like(centre))
    scale = 1.5 / torch.sqrt(df) + 2 / df
    nodes = torch.cat([first - scale * far, first + (last - first) * near, last + scale * far])
    nodes = nodes.clamp(-600.0, 600.0)  # sinh(w) is finite; the tails beyond have no digits
    return nodes, torch.cat([scale * far_weight, (last - first) * near_weight, scale * far_weight])


def _divergence(p_df: Tensor, q_df: Tensor, ratio: Tensor, shift: Tensor, *constants: Tensor) -> tuple[Tensor, ...]:
    """Return the divergence, its slopes by (p_df, q_df, ratio, shift), and its curves by pairs of them."""
    tensors = torch.broadcast_tensors(p_df, q_df, ratio, shift, *constants)
    p_df, q_df, ratio, shift = tensors[:4]
    is_near = ((q_df / p_df - 1).abs() < 0.2) & ((ratio - 1).abs() < 0.2) & (shift.abs() < 0.3)
    w, weight = _nodes(p_df, torch.asinh(shift / ratio / p_df.sqrt()))
    y = p_df.sqrt() * torch.sinh(w)
    p, q = score_at(y, p_df, *tensors[4:7]), score_at(ratio * y - shift, q_df, *tensors[7:])
    weight = weight * torch.hypot(p_df.sqrt(), y) * torch.exp(p.value)
    v = q.value - p.value + torch.log(ratio)

    # The terms T(v), whose derivatives by v they are.
    inner = torch.where(is_near, v, 0.0)
    terms = torch.where(is_near, exp_excess(inner), -v)
    first, second = torch.where(is_near, expm1(inner), -1.0), torch.where(is_near, torch.exp(inner), 0.0)
    y_slope, y_curve = q.slope * y, q.curve * y
    by = [q.by_df, 1 / ratio + y_slope, -q.slope]  # of v by q_df, ratio, shift
    zero = torch.zeros_like(v)
    by_two = [[q.by_df_twice, q.by_df_and_z * y, -q.by_df_and_z], [zero, y_curve * y - 1 / ratio**2, -y_curve]]
    by_two.append([zero, zero, q.curve])

    def mean(values: Tensor) -> Tensor:
        return sum_of_nodes(weight * values)

    g = p.by_df
    slopes = [-mean(v * g), *(mean(first * slope) for slope in by)]
    curves = [mean(g * g - v * (g * g + p.by_df_twice)), *(-mean(g * slope) for slope in by)]
    curves += [mean(second * by[i] * by[j] + first * by_two[i][j]) for i in range(3) for j in range(i, 3)]
    return mean(terms), *slopes, *curves


_OPERANDS = ["p_df", "q_df", "ratio", "shift", "p_rest", "p_slope", "p_curve", "q_rest", "q_slope", "q_curve"]
_student_t_divergence = elementwise_operation("student_t_divergence", _OPERANDS, in_blocks(_divergence), num_results=15)


def student_t_divergence(p: HalfLine, q: HalfLine, shift: Tensor, p_scale: Tensor, q_scale: Tensor) -> Tensor:
    """Return KL(p || q), where `shift` is q.loc - p.loc.

    >>> from functional_dists.special.student_t import half_line
    >>> one = torch.ones((), dtype=torch.float64)
    >>> student_t_divergence(half_line(one), half_line(one), one, one, one)  # log(1 + 1/4)
    tensor(0.2231, dtype=torch.float64)
    """
    params = [p.df, q.df, p_scale / q_scale, shift / q_scale]
    constants = (p.rest, p.slope, p.curve, q.rest, q.slope, q.curve)
    value, *terms = _student_t_divergence(*(param.detach() for param in params), *constants)
    return value + second_order(terms[:4], terms[4:], params)
