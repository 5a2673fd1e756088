"""Quantiles of a normal cut to a window, without derivatives, as a library operation; Newton steps start from them.

For a window in the bulk they come from PyTorch's `ndtri`. A rare window, which is narrow or in a far tail, needs more
work. On the CPU the operation checks if there are rare windows, which traced code cannot do. It also gives the compiler
less code. Compiled code computes windows in the bulk itself, and a second operation repairs rare windows.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special.gaussian import SQRT_HALF, lower_quantile, twice_upper_tail
from functional_dists.special.operations import elementwise_operation, library

# In standard deviations. In narrower windows the density is exponential to 1e-9; farther out float64 has no cdf.
_NARROW, _FAR = 1e-4, 30.0
_DEEPEST, _LOG_TAIL_AT_FAR = 1e-280, -454.3212439955966
_WIDEST = 1e30  # stands for an infinite width
_PIECE, _PIECE_OF_MANY_THREADS = 2**15, 2**18  # threads wait for each other after each operation on a piece


def standard_quantile(
    below: Tensor, above: Tensor, slope: Tensor, start: Tensor, stop: Tensor, *, extreme: bool = False
) -> Tensor:
    """Return the offset with the fractions `below` and `above` of the mass on its two sides, in standard deviations.

    Offsets are relative to the anchor, the point of the window nearest to the mean. The anchor lies `slope` above the
    mean, and the window reaches from `start` <= 0 to `stop` >= 0. The fractions add up to 1, and are met to about 1e-9
    of their size. Set `extreme` if a fraction may be less than 1e-80.

    >>> half, one = torch.tensor(0.5), torch.ones(())
    >>> standard_quantile(half, half, 50 * one, 0 * one, one)
    tensor(0.0139)
    """
    operands = (below.detach(), above.detach(), slope.detach(), start.detach(), stop.detach())
    if torch.compiler.is_compiling() and slope.device.type != "cpu":
        return _quantile_elsewhere(*operands, extreme)
    if torch.compiler.is_compiling() and not extreme:
        return _quantile_in_compiled_code(*operands)
    return _operation(*operands, extreme)


def _quantile_on_cpu(below: Tensor, above: Tensor, slope: Tensor, start: Tensor, stop: Tensor, extreme: bool) -> Tensor:
    return _in_pieces(functools.partial(_quantile_of_piece, extreme), below, above, slope, start, stop)


def _quantile_of_piece(
    extreme: bool, below: Tensor, above: Tensor, slope: Tensor, start: Tensor, stop: Tensor
) -> Tensor:
    problem = _problem(below, above, slope, start, stop, extreme)
    offset = problem.offset_in_bulk(torch.special.ndtri)
    is_needed = extreme or problem.is_rare().any()
    return (_with_rare(problem, offset, extreme) if is_needed else offset).to(slope.dtype)


def _in_pieces(function: Callable[..., Tensor], *operands: Tensor) -> Tensor:
    """Return an elementwise function of tensors, computed in pieces whose intermediate results fit into the caches."""
    shape = torch.broadcast_shapes(*(operand.shape for operand in operands))
    threads = torch.get_num_threads()
    max_size = _PIECE if threads == 1 else _PIECE_OF_MANY_THREADS * threads
    if shape.numel() <= 2 * max_size:
        return function(*operands)
    longest = max(shape)
    axis = shape.index(longest) - len(shape)
    length = max(1, max_size * longest // shape.numel())

    def piece(operand: Tensor, first: int) -> Tensor:
        if operand.ndim < -axis or operand.shape[axis] == 1:
            return operand
        return operand.narrow(axis, first, min(length, longest - first))

    firsts = range(0, longest, length)
    return torch.cat([function(*[piece(operand, first) for operand in operands]) for first in firsts], axis)


def _quantile_elsewhere(
    below: Tensor, above: Tensor, slope: Tensor, start: Tensor, stop: Tensor, extreme: bool
) -> Tensor:
    problem = _problem(below, above, slope, start, stop, extreme)
    return _with_rare(problem, problem.offset_in_bulk(torch.special.ndtri), extreme).to(slope.dtype)


def _quantile_in_compiled_code(below: Tensor, above: Tensor, slope: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """Return quantiles; an operation computes those of rare windows, so that inductor need not compile that code."""
    problem = _problem(below, above, slope, start, stop, False, twice_upper_tail)
    # Mark rare windows by NaN, in float64 and in two steps: compiled code is slow to combine or convert masks.
    offset = torch.where(problem.width <= _NARROW, math.nan, problem.offset_in_bulk(lower_quantile))
    offset = torch.where(problem.a > _FAR, math.nan, offset).to(slope.dtype)
    return _repair(offset, below, above, slope, start, stop)


def _repaired_on_cpu(
    offset: Tensor, below: Tensor, above: Tensor, slope: Tensor, start: Tensor, stop: Tensor
) -> Tensor:
    if not math.isnan(offset.sum().item()):  # takes half the time of `isnan` and `any`
        return offset.clone()  # an operation must not return its argument
    return _in_pieces(_repaired_elsewhere, offset, below, above, slope, start, stop)


def _repaired_elsewhere(
    offset: Tensor, below: Tensor, above: Tensor, slope: Tensor, start: Tensor, stop: Tensor
) -> Tensor:
    return torch.where(offset.isnan(), _quantile_elsewhere(below, above, slope, start, stop, False), offset)


class _Problem(NamedTuple):
    """The equation Q(z) = after Q(a) + before Q(b) for z, where Q is the upper tail mass, and a and b are the ends.

    All terms are positive, and float64. The window is reflected if necessary, so that b is the end farther from 0.
    """

    flipped: Tensor  # bool: the window is reflected
    before: Tensor
    after: Tensor
    slope: Tensor  # not reflected
    width: Tensor
    a: Tensor
    tail_a: Tensor  # 2 Q(a)
    tail_b: Tensor
    lower: Tensor  # 2 - 2 Q(z)
    upper: Tensor  # 2 Q(z)

    def is_rare(self) -> Tensor:
        """Say which windows are narrow or in a far tail."""
        return (self.width <= _NARROW) | (self.a > _FAR)

    def offset_in_bulk(self, ndtri: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the offset, which is right unless the window is rare."""
        z = torch.copysign(ndtri(torch.minimum(self.lower, self.upper) * 0.5), self.lower - self.upper)
        return torch.where(self.flipped, -z, z) - self.slope


def _erfc_of_deviation(z: Tensor) -> Tensor:
    """Return 2 Q(z)."""
    return torch.special.erfc(z * SQRT_HALF)


def _problem(
    below: Tensor,
    above: Tensor,
    slope: Tensor,
    start: Tensor,
    stop: Tensor,
    extreme: bool,
    tails: Callable[[Tensor], Tensor] = _erfc_of_deviation,
) -> _Problem:
    is_float32 = slope.dtype == torch.float32
    below, above, slope, start, stop = (t.double() for t in (below, above, slope, start, stop))
    first, last = slope + start, slope + stop
    flipped = -last > first
    a, b = torch.maximum(first, -last), torch.maximum(last, -first)
    before, after = torch.where(flipped, above, below), torch.where(flipped, below, above)
    tail_a, tail_b = tails(a), tails(b)
    if extreme or not is_float32:
        head_a, head_b = tails(-a), tails(-b)
    else:  # fractions that are multiples of 2^-33 leave float64 digits to spare
        head_a, head_b = 2 - tail_a, 2 - tail_b
    lower, upper = after * head_a + before * head_b, after * tail_a + before * tail_b
    return _Problem(flipped, before, after, slope, stop - start, a, tail_a, tail_b, lower, upper)


def _with_rare(problem: _Problem, offset: Tensor, extreme: bool) -> Tensor:
    """Return the offset, corrected in rare windows and for `extreme` fractions."""
    from_end, distance = _from_end(problem, extreme)
    return torch.where(from_end, torch.where(problem.flipped, -distance, distance), offset)


def _from_end(problem: _Problem, extreme: bool) -> tuple[Tensor, Tensor]:
    """Return where the window is rare or `upper` underflows, and there the distance of z above the anchor."""
    before, after, a = problem.before, problem.after, problem.a
    anchor = torch.where(problem.flipped, -problem.slope, problem.slope)
    width = problem.width.clamp(max=_WIDEST)
    narrow = width <= _NARROW
    from_end = problem.is_rare()
    # In a narrow window the density is exponential, with the rate at its centre. A far window has the asymptotic tail.
    rate = torch.where(narrow, (a + 0.5 * width).clamp(min=1e-200), a.clamp(min=_FAR))
    fall = torch.where(narrow, rate * width, width * (rate + 0.5 * width) - _log_far_mills(rate, width))
    log_tail = _log_tail(before, after, fall)
    if not extreme:
        return from_end, torch.where(narrow, log_tail / rate, _far_distance(rate, log_tail)) + (a - anchor)
    # Too far out for ndtri: start from an end at _FAR.
    deep = ~from_end & (problem.upper < _DEEPEST)
    tail_a = problem.tail_a.clamp(min=_DEEPEST)
    log_upper = torch.log(0.5 * tail_a) + torch.log(after + before * (problem.tail_b / tail_a))
    log_tail = torch.where(deep, _LOG_TAIL_AT_FAR - log_upper, log_tail)
    distance = torch.where(narrow, log_tail / rate, _far_distance(rate, log_tail))
    return from_end | deep, torch.where(deep, rate - anchor, a - anchor) + distance


def _log_tail(before: Tensor, after: Tensor, fall: Tensor) -> Tensor:
    """Return -log(after + before exp(-fall)) = -log1p(-before (1 - exp(-fall)))."""
    half = 0.5 * fall.clamp(max=100.0)
    gap = before * 2 * torch.sinh(half) * torch.exp(-half)
    near = gap < 0.5
    tail = after + before * torch.exp(-fall)
    return torch.where(near, -torch.log1p(-torch.where(near, gap, 0.0)), -torch.log(torch.where(near, 1.0, tail)))


def _far_distance(a: Tensor, log_tail: Tensor) -> Tensor:
    """Return the t with Q(a + t) = Q(a) exp(-log_tail), for a large a."""
    t = 2 * log_tail / (a + torch.sqrt(a * a + 2 * log_tail)) * (a * _far_mills(a))
    for _ in range(2):
        excess = t * (a + 0.5 * t) - _log_far_mills(a, t) - log_tail
        t = t - excess * _far_mills(a + t)
    return t


def _log_far_mills(a: Tensor, t: Tensor) -> Tensor:
    """Return log(R(a + t) / R(a)), R the Mills ratio of a large argument."""
    return torch.log(_far_mills(a + t) / _far_mills(a))


def _far_mills(y: Tensor) -> Tensor:
    """Return the Mills ratio to 6 / y^6, a convergent of its continued fraction (Laplace 1805)."""
    square = y * y
    return (square + 2) / (y * (square + 3))


# --- The operations --------------------------------------------------------------------------------------------------
_OPERANDS = ("below", "above", "slope", "start", "stop")
_operation = elementwise_operation("truncated_quantile", _OPERANDS, _quantile_elsewhere, flags=["extreme"])
library.impl("truncated_quantile", _quantile_on_cpu, "CPU")
# `offset` is NaN where the window is rare.
_repair = elementwise_operation("truncated_quantile_repair", ("offset", *_OPERANDS), _repaired_elsewhere)
library.impl("truncated_quantile_repair", _repaired_on_cpu, "CPU")
