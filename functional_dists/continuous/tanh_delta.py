"""Point mass at tanh(param), mapped onto the open interval (low, high): the deterministic policy of a tanh-normal.

The point is low + (high - low) (tanh(param) + 1) / 2. The log-prob is that of `delta`: 0 within a tolerance of the
point and -inf elsewhere. Half precision rounds the point by more than the default tolerance.
"""

from typing import NamedTuple

import torch  # noqa: F401 (for the examples)
from torch import Tensor

import functional_dists.random as random  # noqa: F401 (for the examples)
import functional_dists.special as special
from functional_dists.continuous import delta
from functional_dists.family import Real, define, require


class Params(NamedTuple):
    """Parameters of a squashed point mass, which broadcast against each other.

    param: The point before the squashing, of shape (*batch, *event).
    low: The lower bound of the values, of shape (*batch, *event).
    high: The upper bound of the values, of shape (*batch, *event).
    """

    param: Real
    low: Real = -1.0
    high: Real = 1.0


verb = define(Params)


@verb
def check(param: Real, low: Real, high: Real) -> None:
    """Raise a ValueError that names the first bad position, in eager code only.

    >>> check(torch.tensor([0.0, torch.nan]), -2.0, 3.0)
    Traceback (most recent call last):
    ...
    ValueError: param must be finite; this fails at position (1,)
    """
    require(param.isfinite(), "param", "must be finite")
    require(low.isfinite(), "low", "must be finite")
    require(high.isfinite(), "high", "must be finite")
    require(special.next_above(low) < high, "low", "must leave a number between itself and high")


def _point(param: Tensor, low: Tensor, high: Tensor) -> delta.Params:
    return delta.Params(special.squash(param, low, high))


_at_point = verb.through(_point, {"torch.full((2,), 0.5)": "torch.zeros(2), -2.0, 3.0"})  # the point is 0.5

sample = _at_point(delta.sample, confine=special.strictly_inside)
rsample = _at_point(delta.rsample, confine=special.strictly_inside)
sample_and_log_prob = _at_point(delta.sample_and_log_prob, confine=special.strictly_inside)
rsample_and_log_prob = _at_point(delta.rsample_and_log_prob, confine=special.strictly_inside)

log_prob = _at_point(delta.log_prob)
entropy = _at_point(delta.entropy)
support = _at_point(delta.support)
kl = _at_point(delta.kl)
cdf = _at_point(delta.cdf)
log_cdf = _at_point(delta.log_cdf)
survival = _at_point(delta.survival)
log_survival = _at_point(delta.log_survival)
icdf = _at_point(delta.icdf, confine=special.strictly_inside)

mean = median = mode = deterministic = _at_point(delta.mean, confine=special.strictly_inside)
variance = _at_point(delta.variance)
stddev = _at_point(delta.stddev)
