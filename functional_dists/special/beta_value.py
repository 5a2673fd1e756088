"""Values of a Beta distribution on an interval: draws, and what is known at a value."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special.beta_local import beta_local
from functional_dists.special.beta_offset import beta_offset, log_ratio
from functional_dists.special.beta_quantile import beta_quantile
from functional_dists.special.beta_score import beta_score, carried_log_density
from functional_dists.special.constant import is_constant
from functional_dists.special.elementary import nan_of
from functional_dists.special.implicit import carried_point, carried_quantile, carried_tails
from functional_dists.special.interval import log_growth, log_growth_of_distances, squash, strictly_inside
from functional_dists.special.vectorized import sum_event

__all__ = [
    "Draw",
    "ValueAt",
    "between",
    "draw_of",
    "mode_shares",
    "quantile_of",
    "tails",
    "value_at",
    "value_of",
    "with_ends",
]
__dir__ = __all__.copy  # what tab completion shows


class Draw(NamedTuple):
    """A draw, in float64."""

    a: Tensor
    b: Tensor
    offset: Tensor  # its logit less log(a / b), without derivatives
    is_precise: bool

    def constant_logit(self) -> Tensor:
        return log_ratio(self.a.detach(), self.b.detach()) + self.offset

    def logit(self) -> Tensor:
        """Return the logit with its pathwise derivatives."""
        logit = self.constant_logit()
        if is_constant(self.a, self.b):
            return logit
        return carried_point(logit, beta_local(self.offset, self.a, self.b, self.is_precise), [self.a, self.b])

    def log_density(self, logit: Tensor, low: Tensor, high: Tensor, event_dims: int) -> Tensor:
        """Return the log-density of the value, summed over an event, from the logit with the derivatives it has."""
        found = carried_log_density(beta_score(self.offset, self.a, self.b), logit, self.a, self.b)
        return sum_event(found - torch.log(high.double() - low.double()), event_dims).to(low.dtype)

    def log_density_of_constant(self, logit: Tensor, low: Tensor, high: Tensor, event_dims: int) -> Tensor:
        """Return the log-density of the value, held constant, so that its logit depends on the bounds alone."""
        if not is_constant(low, high):
            below, above, _ = log_growth_of_distances(0.5 * logit, low, high)
            logit = logit + (below - above)
        return self.log_density(logit, low, high, event_dims)


def draw_of(below: Tensor, above: Tensor, concentration1: Tensor, concentration0: Tensor) -> Draw:
    a, b, is_precise = concentration1.double(), concentration0.double(), concentration1.dtype == torch.float64
    return Draw(a, b, beta_quantile(below, above, a, b, is_precise), is_precise)


def value_of(logit: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return low + (high - low) sigmoid(logit), of the dtype of the bounds.

    The results of float32 need no formula for the centre, which takes as long as all else.
    """
    if low.dtype == torch.float64:
        return squash(0.5 * logit, low, high)
    wide_low, wide_high, is_low = low.double(), high.double(), logit < 0
    decay = torch.exp(torch.where(is_low, logit, -logit))
    distance = (wide_high - wide_low) * (decay / (1 + decay))
    found = torch.where(is_low, wide_low + distance, wide_high - distance)
    return strictly_inside(found.to(low.dtype), low, high)


def quantile_of(value: Tensor, concentration1: Tensor, concentration0: Tensor) -> Tensor:
    """Return the logit of the quantile of a probability; NaN outside [0, 1], and a number of large size at 0 and 1."""
    p = value.double()
    p = torch.where((p >= 0) & (p <= 1), p, math.nan)
    is_end = (p == 0) | (p == 1)
    below = torch.where(is_end, 0.5, p)
    draw = draw_of(below, 1 - below, concentration1, concentration0)
    local = beta_local(draw.offset, draw.a, draw.b, draw.is_precise)
    logit = carried_quantile(draw.constant_logit(), local, [draw.a, draw.b], below, 1 - below)
    return torch.where(is_end, torch.where(p == 1, 1e30, -1e30) + 0 * logit.detach(), logit)


# ------------------------------------------------------------------------------------------------------------- values
class ValueAt(NamedTuple):
    """A value, in float64; the middle where it is not inside the bounds."""

    is_low: Tensor  # where it is at the lower bound or below
    is_high: Tensor  # where it is at the upper bound or above
    a: Tensor
    b: Tensor
    offset: Tensor  # its logit less log(a / b), without derivatives
    logit: Tensor  # 0, with the derivatives of the logit by the value and the bounds
    log_width: Tensor


def value_at(concentration1: Tensor, concentration0: Tensor, low: Tensor, high: Tensor, value: Tensor) -> ValueAt:
    tiny = torch.finfo(value.dtype).tiny
    a, b, low, high, value = (t.double() for t in (concentration1, concentration0, low, high, value))
    is_low, is_high = value <= low, value >= high
    value = torch.where(is_low | is_high, (low + 0.5 * (high - low)).detach(), value)
    below, above = value - low, high - value
    # the derivatives by the logarithm of a smaller distance overflow
    below, above = (torch.where(distance.detach() < tiny, distance.detach(), distance) for distance in (below, above))
    logit = log_growth(below) - log_growth(above)
    return ValueAt(is_low, is_high, a, b, beta_offset(value, low, high, a, b), logit, torch.log(high - low))


def tails(*arguments: Tensor) -> tuple[ValueAt, Tensor, Tensor]:
    """Return what is known of a value, and the logs of the masses below and above it."""
    at = value_at(*arguments)
    local = beta_local(at.offset, at.a, at.b, arguments[-1].dtype == torch.float64)
    return at, *carried_tails(at.logit, local, [at.a, at.b])


def with_ends(at: ValueAt, low: float, high: float, inside: Tensor, like: Tensor) -> Tensor:
    found = torch.where(at.is_low, low, torch.where(at.is_high, high, inside))
    return nan_of(found, inside.detach()).to(like.dtype)


def between(share: Tensor, rest: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the value at a share of the interval above `low` and the rest below `high`, from the nearer bound."""
    wide_low, wide_high = low.double(), high.double()
    width = wide_high - wide_low
    found = torch.where(share < rest, wide_low + width * share, wide_high - width * rest)
    return strictly_inside(found.to(low.dtype), low, high)


def mode_shares(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the density is largest, as a share of the interval, and 1 less that.

    >>> mode_shares(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 0.5]))[0]
    tensor([0.6667, 1.0000])
    """
    is_inner = (a > 1) & (b > 1)
    more_a, more_b = torch.where(is_inner, a - 1, 1.0), torch.where(is_inner, b - 1, 1.0)
    end = nan_of(torch.where((a == 1) & (b == 1), 0.5, torch.where(a < b, 0.0, 1.0)).to(a.dtype), a, b)
    share, rest = more_a / (more_a + more_b), more_b / (more_a + more_b)
    return torch.where(is_inner, share, end), torch.where(is_inner, rest, 1 - end)
