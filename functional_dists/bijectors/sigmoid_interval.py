"""The bijector y = low + (high - low) sigmoid(x) of every element, from the real line onto (low, high).

It is the bijector `interval` at x / 2. `forward` rounds to numbers strictly inside.
"""

import torch  # noqa: F401 (for the examples)
from torch import Tensor

import functional_dists.special as special
from functional_dists.bijectors import interval
from functional_dists.bijectors.interval import Params
from functional_dists.family import Real, define
from functional_dists.special.elementary import LOG_2

verb = define(Params, "sigmoid_interval")


@verb(confine=special.strictly_inside)
def forward(low: Real, high: Real, value: Real) -> Tensor:
    """Return the value in (low, high), strictly inside.

    >>> forward(torch.zeros(2), 10.0, torch.tensor([0.0, 100.0])) < 10
    tensor([True, True])
    """
    return special.squash(0.5 * value, low, high)


@verb
def inverse(low: Real, high: Real, value: Real) -> Tensor:
    """Return the x with this value; -inf at `low`, inf at `high`, NaN beyond.

    >>> inverse(torch.zeros(3), 10.0, torch.tensor([5.0, 10.0, 11.0]))
    tensor([0., inf, nan])
    """
    return 2.0 * interval.pre_image_of(value, low, high)


@verb
def forward_log_det(low: Real, high: Real, value: Real) -> Tensor:
    """Return log |dy / dx|, elementwise.

    >>> forward_log_det(torch.zeros(2), 10.0, torch.tensor([0.0, 100.0]))
    tensor([  0.9163, -97.6974])
    """
    return (special.log_squash_slope(0.5 * value.double(), low, high) - LOG_2).to(value.dtype)


@verb
def inverse_log_det(low: Real, high: Real, value: Real) -> Tensor:
    """Return log |dx / dy|, elementwise: inf at the bounds, NaN beyond.

    >>> inverse_log_det(torch.zeros(3), 10.0, torch.tensor([5.0, 10.0, 11.0]))
    tensor([-0.9163,     inf,     nan])
    """
    return LOG_2 - interval.log_slope_at(value, low, high)


forward_and_log_det = verb.forward_and_log_det(forward, forward_log_det)
is_increasing, domain, image = interval.is_increasing, interval.domain, interval.image
