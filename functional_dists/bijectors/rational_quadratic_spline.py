"""The monotonic rational-quadratic spline of every element: of (-bound, bound) onto itself, the identity outside.

It is that of Durkan, Bekasov, Murray, Papamakarios, "Neural Spline Flows" (2019). The parameters are any real numbers.
Of K bins, numbered from the left, bin k has

- the width 2 bound (0.999 softmax(widths)_k + 0.001 / K),
- the height 2 bound (0.999 softmax(heights)_k + 0.001 / K).

The first knot is (-bound, -bound), and a bin leads from each knot to the next; the last one is (bound, bound). The
slope at the inner knot k is 0.001 + 0.999 softplus(derivatives_k + c) with c = log(e - 1), so that softplus(c) = 1. It
is 1 at the two outer knots. Parameters that are all 0 give the identity.

The root of the inverse is written without cancellation. With the slope s = height / width of the bin, the slopes d and
e at its left and right knots, and the fractions u and v = 1 - u of the height below and above y, the fraction of the
width left of x is 2 s u / (2 s u + q), where q = g + r, g = d v - e u, r = sqrt(g^2 + 4 s^2 u v).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from functional_dists.family import Matrix, Real, define
from functional_dists.special import nan_of
from functional_dists.special.positive import log1p_exp


class Params(NamedTuple):
    """Parameters of a spline of K bins.

    widths: What gives the widths of the bins, of shape (*batch, *event, K).
    heights: What gives the heights of the bins, of shape (*batch, *event, K).
    derivatives: What gives the slopes at the inner knots, of shape (*batch, *event, K - 1).
    bound: Half the width of the interval, positive, of shape (*batch, *event).
    value: Where to evaluate, of shape (*sample, *batch, *event).
    sample: A tensor of shape (*sample_shape, *batch, *event), in the parameters' dtype.
    """

    widths: Matrix
    heights: Matrix
    derivatives: Matrix
    bound: Real = 5.0


_LEAST = 0.001
_AT_1 = math.log(math.e - 1.0)  # softplus is 1 here


def _fit(widths: torch.Size, heights: torch.Size, derivatives: torch.Size, bound: torch.Size) -> torch.Size:
    if not (widths and heights and derivatives and widths[-1] == heights[-1] == derivatives[-1] + 1):
        raise ValueError("of K bins, widths and heights must have K numbers on their last axis, and derivatives K - 1")
    try:
        return torch.broadcast_shapes(widths[:-1], heights[:-1], derivatives[:-1], bound)
    except RuntimeError:
        raise ValueError("the shapes of the parameters do not broadcast") from None


verb = define(Params)


class _Bin(NamedTuple):
    """The bin of each value, in float64."""

    left: Tensor  # the knots
    right: Tensor
    bottom: Tensor
    top: Tensor
    slope_left: Tensor  # at the knots
    slope_right: Tensor

    @property
    def slope(self) -> Tensor:
        """The mean slope."""
        return (self.top - self.bottom) / (self.right - self.left)


def _knots(raw: Tensor, bound: Tensor) -> Tensor:
    """Return the K + 1 knots of one axis; the first and the last are the bounds, exactly."""
    count = int(raw.shape[-1])  # a size is a tensor for `jit.trace`, and its quotients are float32
    fraction = (1.0 - _LEAST) * torch.softmax(raw, -1) + _LEAST / count
    inner = bound * (2.0 * torch.cumsum(fraction, -1)[..., :-1] - 1.0)
    shape = (*torch.broadcast_shapes(raw.shape[:-1], bound.shape[:-1]), 1)
    return torch.cat((-bound.expand(shape), inner, bound.expand(shape)), -1)


def _bin_of(value: Tensor, params: Params, axis: int) -> tuple[_Bin, Tensor, Tensor]:
    """Return the bins of values on an axis, 0 or 1; the values in float64, 0 outside; and which of them are outside."""
    widths, heights, derivatives, bound = (tensor.double() for tensor in params)
    wide = value.double()
    is_outside = wide.abs() >= bound  # False for NaN
    wide = torch.where(is_outside, 0.0, wide)
    knots = [_knots(raw, bound[..., None]) for raw in (widths, heights)]
    slopes = _LEAST + (1.0 - _LEAST) * log1p_exp(derivatives + _AT_1)
    one = torch.ones_like(knots[0][..., :1])
    slopes = torch.cat((one.expand(*slopes.shape[:-1], 1), slopes, one.expand(*slopes.shape[:-1], 1)), -1)
    index = (wide[..., None] >= knots[axis][..., 1:-1]).sum(-1, keepdim=True)

    def at(table: Tensor, index: Tensor) -> Tensor:
        return table.expand(*index.shape[:-1], table.shape[-1]).gather(-1, index).squeeze(-1)

    found = [at(table, index + step) for table in (*knots, slopes) for step in (0, 1)]
    return _Bin(*found), wide, is_outside


def _log_slope(part: _Bin, before: Tensor, after: Tensor) -> Tensor:
    """Return log(dy / dx) at the fractions of the width left and right of x."""
    slope, product = part.slope, before * after
    top = part.slope_right * before * before + 2.0 * slope * product + part.slope_left * after * after
    return top.log() - 2.0 * _bottom(part, before, after).log()


def _bottom(part: _Bin, before: Tensor, after: Tensor) -> Tensor:
    """Return the denominator of the spline divided by the mean slope."""
    both = (part.slope_left + part.slope_right) / part.slope
    return before * before + after * after + both * before * after


def _fractions(part: _Bin, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the fractions of the width left and right of x."""
    width = part.right - part.left
    return (x - part.left) / width, (part.right - x) / width


def _fractions_at(part: _Bin, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the fractions of the width left and right of the x whose value is y."""
    height, slope = part.top - part.bottom, part.slope
    below, above = (y - part.bottom) / height, (part.top - y) / height
    difference = part.slope_left * above - part.slope_right * below
    product = 4.0 * slope * slope * below * above
    root = (difference * difference + product).sqrt()
    is_positive = difference >= 0
    apart = torch.where(is_positive, 1.0, root - difference)
    after = torch.where(is_positive, difference + root, product / apart)
    before = 2.0 * slope * below
    return before / (before + after), after / (before + after)


def _where_inside(inside: Tensor, outside: Tensor, is_outside: Tensor, value: Tensor, params: Params) -> Tensor:
    """Return a result of the spline, or that of the identity; NaN where an argument has NaN."""
    raw = (tensor.double().sum(-1) for tensor in params[:3])
    return nan_of(torch.where(is_outside, outside, inside), *raw, params.bound.double()).to(value.dtype)


@verb(fit=_fit)
def forward(params: Params, value: Real) -> Tensor:
    """Return the value of the spline; x itself outside (-bound, bound).

    >>> raw = torch.tensor([2.0, 0.0]), torch.zeros(2), torch.zeros(1)
    >>> forward(*raw, value=torch.tensor([0.0, 9.0]), bound=1.0)
    tensor([-0.4506,  9.0000])
    """
    return _evaluated(params, value)[0]


@verb(fit=_fit)
def forward_and_log_det(params: Params, value: Real) -> tuple[Tensor, Tensor]:
    """Return the value of the spline, and the logarithm of its slope.

    >>> raw = torch.tensor([2.0, 0.0]), torch.zeros(2), torch.zeros(1)
    >>> forward_and_log_det(*raw, value=torch.tensor([0.0, 9.0]))[1]
    tensor([-0.8729,  0.0000])
    """
    return _evaluated(params, value)


def _evaluated(params: Params, value: Tensor) -> tuple[Tensor, Tensor]:
    part, x, is_outside = _bin_of(value, params, 0)
    before, after = _fractions(part, x)
    rise = before * (before + part.slope_left / part.slope * after) / _bottom(part, before, after)
    y = part.bottom + (part.top - part.bottom) * rise
    log_slope = _log_slope(part, before, after)
    return (
        _where_inside(y, value.double(), is_outside, value, params),
        _where_inside(log_slope, torch.zeros_like(log_slope), is_outside, value, params),
    )


@verb(fit=_fit)
def forward_log_det(params: Params, value: Real) -> Tensor:
    """Return log |dy / dx|, elementwise: 0 outside (-bound, bound).

    >>> raw = torch.tensor([2.0, 0.0]), torch.zeros(2), torch.zeros(1)
    >>> forward_log_det(*raw, value=torch.tensor([0.0, 9.0]))
    tensor([-0.8729,  0.0000])
    """
    return _evaluated(params, value)[1]


@verb(fit=_fit)
def inverse(params: Params, value: Real) -> Tensor:
    """Return the x whose value this is; y itself outside (-bound, bound).

    >>> raw = torch.tensor([2.0, 0.0]), torch.zeros(2), torch.zeros(1)
    >>> inverse(*raw, value=torch.tensor([-0.5, 9.0]))
    tensor([3.2434, 9.0000])
    """
    part, y, is_outside = _bin_of(value, params, 1)
    before, _ = _fractions_at(part, y)
    x = part.left + (part.right - part.left) * before
    return _where_inside(x, value.double(), is_outside, value, params)


@verb(fit=_fit)
def inverse_log_det(params: Params, value: Real) -> Tensor:
    """Return log |dx / dy|, elementwise: 0 outside (-bound, bound).

    >>> raw = torch.tensor([2.0, 0.0]), torch.zeros(2), torch.zeros(1)
    >>> inverse_log_det(*raw, value=torch.tensor([-0.5, 9.0]))
    tensor([0.2267, 0.0000])
    """
    part, y, is_outside = _bin_of(value, params, 1)
    log_slope = -_log_slope(part, *_fractions_at(part, y))
    return _where_inside(log_slope, torch.zeros_like(log_slope), is_outside, value, params)


@verb(fit=_fit)
def is_increasing(params: Params) -> Tensor:
    """Return whether the map increases, elementwise: true.

    >>> is_increasing(torch.zeros(3, 4), torch.zeros(3, 4), torch.zeros(3, 3))
    tensor([True, True, True])
    """
    shape = _fit(*(tensor.shape for tensor in params))
    return torch.ones(shape, dtype=torch.bool, device=params.widths.device)


@verb(fit=_fit)
def domain(params: Params) -> Constraint:
    """Return the set that `forward` takes as a constraint: the real numbers.

    >>> domain(torch.zeros(4), torch.zeros(4), torch.zeros(3)).check(torch.tensor([0.0, torch.nan]))
    tensor([ True, False])
    """
    return constraints.real


@verb(fit=_fit)
def image(params: Params) -> Constraint:
    """Return the set of the values of `forward` as a constraint: the real numbers.

    >>> image(torch.zeros(4), torch.zeros(4), torch.zeros(3)).check(torch.tensor([0.0, torch.nan]))
    tensor([ True, False])
    """
    return constraints.real
